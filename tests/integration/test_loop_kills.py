"""Readers of the chain are killed (-9) at any moment, several at once, while exercises come in: each link counts once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ccobs_ops.core import incidents, loop
from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Claim, Exercise, Verdict, conclude
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.inventory_load import loads
from tests.ledger_support import server, url

__all__ = ["server", "url"]

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROUNDS = 3 * max(1, int(os.environ.get("CCOBS_SWEEP", "1")))
EXERCISES = 150
READER = """
import sys
from datetime import UTC, datetime
from ccobs_ops.core import loop
from ccobs_ops.core.context import Context
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.inventory_load import loads
loop.BATCH, loop.TURN_SECONDS = 7, 0.0
inventory = loads("version: 1\\nenvironment: lab\\n")
with Ledger.open(sys.argv[1]) as ledger:
    ctx = Context(inventory, ledger, clock=lambda: datetime(2026, 11, 23, 12, tzinfo=UTC))
    print("ready", flush=True)
    while True:
        loop.catch_up(ctx)
"""


def exercise(number: int, rng: random.Random) -> Exercise:
    target = rng.choice(("postgres/a", "postgres/b"))
    claims = tuple(
        Claim(name, rng.choices(list(Verdict), (5, 3, 1))[0], "why") for name in ("fresh", "rpo", "intact")
    )
    end = NOON + timedelta(minutes=number + rng.choice((0, 0, 0, -2)))
    start = end - timedelta(seconds=rng.choice((1, 20, 90)))
    return Exercise(f"E{number:05d}", target, "window", conclude(claims), "why", start, end, claims)


def kept(ledger: Ledger) -> list[str]:
    """Everything that happened, in order, without what differs from ledger to ledger."""
    return [
        json.dumps([each.name, each.cause, incidents.to_json(each.incident), each.details])
        for each in incidents.transitions(ledger, after=0, limit=100_000)
    ]


def spawn(url: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", READER, url], stdout=subprocess.PIPE, text=True)


@pytest.mark.timeout(240)
def test_readers_killed_at_any_moment_do_everything_once(url: str, tmp_path: Path) -> None:
    rng = random.Random(20261123)
    exercises = [exercise(number, rng) for number in range(EXERCISES)]
    context = loads("version: 1\nenvironment: lab\n")
    with Ledger.open(f"sqlite:///{tmp_path}/alone.db") as alone:
        for each in exercises:
            alone.record(each)
        loop.catch_up(Context(context, alone, clock=lambda: NOON))
        expected = kept(alone)
    assert len(expected) > EXERCISES // 2

    readers: list[subprocess.Popen[str]] = []
    kills = 0
    try:
        with Ledger.open(url) as ledger:
            readers = [spawn(url), spawn(url)]
            for reader in readers:
                assert reader.stdout is not None
                assert reader.stdout.readline() == "ready\n"
            for number, each in enumerate(exercises):
                ledger.record(each)
                if kills < ROUNDS and number % (EXERCISES // (ROUNDS + 1)) == 5:
                    time.sleep(rng.uniform(0, 0.02))
                    victim = readers.pop(0)
                    victim.send_signal(signal.SIGKILL)
                    victim.wait(timeout=30)
                    assert victim.stdout is not None
                    victim.stdout.close()
                    kills += 1
                    readers.append(spawn(url))
            deadline = time.monotonic() + 60
            while not loop._up_to_date(ledger):
                assert time.monotonic() < deadline, "the readers do not get on"
                time.sleep(0.1)
            assert kills == ROUNDS
            found = kept(ledger)
    finally:
        for reader in readers:
            reader.kill()
            reader.wait(timeout=30)
            if reader.stdout is not None:
                reader.stdout.close()
    assert Counter(found) == Counter(expected)
    assert found == expected
