"""A dispatcher that is killed (-9) at any moment loses no alert, and sends one twice at most for each kill."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path

from ccobs_ops.core.alerts import outbox
from ccobs_ops.core.alerts.dispatch import dispatch
from tests.alerts_support import NOON, Clock, Webhook, closed, context, estate, happened, incident, keep
from tests.ledger_support import server, url

__all__ = ["server", "url"]

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import sys
from datetime import datetime, timedelta
import apprise
from ccobs_ops.core.alerts.dispatch import dispatch
from tests.alerts_support import context
from ccobs_ops.inventory_load import load

moment = datetime.fromisoformat(sys.argv[2])
with context(load(sys.argv[1]), lambda: moment) as ctx:
    print("ready", flush=True)
    sys.stdin.readline()
    dispatch(ctx)
"""
ROUNDS = int(os.environ.get("CCOBS_SWEEP", "3"))
COUNT = 6


def void(_: object) -> None:
    pass


def killed(inventory: Path, moment: str, hook: Webhook, *, after: float, at: int | None, taken: bool) -> bool:
    """Run a dispatcher and kill it: after `after` seconds, or when the receiver gets its `at`-th message of this run, which
    the receiver keeps if it is `taken` and never answers. True if it was killed, False if it had ended before.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, inventory, moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"ready\n"
        reached = threading.Event()
        seen = len(hook.bodies)

        def struck(taken: int) -> bool:
            if at is None or reached.is_set() or len(hook.bodies) - seen + (not taken) != at:
                return False
            os.kill(child.pid, signal.SIGKILL)
            reached.set()
            return True

        if taken:
            hook.before_answer = lambda: void(struck(1))
        else:
            hook.refuse = lambda: struck(0)
        child.stdin.write(b"go\n")
        child.stdin.flush()
        if at is None:
            reached.wait(after)
            child.kill()
        child.wait(60)
        return child.returncode == -signal.SIGKILL
    finally:
        hook.before_answer = lambda: None
        hook.refuse = lambda: False
        child.kill()
        child.wait(20)
        child.stdin.close()
        child.stdout.close()


def test_no_alert_is_lost_and_none_doubled_but_by_a_kill(tmp_path: Path, url: str) -> None:
    dice = random.Random(20261123)
    hook = Webhook()
    alerts = (
        "  channels: {hook: {apprise: file:secrets/hook, timeout: 2s, heartbeat: false}}\n"
        "  storm: {size: 1000}\n"
    )
    inventory = estate(tmp_path, alerts, {"hook": hook.url}, ledger=url)
    clock = Clock()
    kills = 0
    expected: set[tuple[str, str]] = set()
    try:
        with context(inventory, clock) as ctx:
            dispatch(ctx)
            for turn in range(ROUNDS):
                found = [incident(100 * turn + n, claim=f"c{turn}_{n}") for n in range(COUNT)]
                keep(ctx.ledger, *(happened("opened", each, clock.now) for each in found))
                keep(
                    ctx.ledger,
                    *(happened("verified", closed(each, clock.now), clock.now) for each in found[::2]),
                )
                expected |= {("opened", each.key) for each in found}
                expected |= {("resolved", each.key) for each in found[::2]}
                # by turns between sending and marking, and anywhere, also while the outbox is being written
                at = dice.randrange(1, COUNT) if turn % 3 != 1 else None
                after = dice.uniform(0, 0.15)
                kills += killed(
                    inventory.path, clock.now.isoformat(), hook, after=after, at=at, taken=turn % 3 == 0
                )
                clock.forward(timedelta(minutes=1))
            for _ in range(3):
                dispatch(ctx)
                clock.forward(timedelta(minutes=1))
            with ctx.ledger.reading() as connection:
                assert outbox.waiting(connection) == []
    finally:
        hook.close()

    assert kills >= ROUNDS // 2
    numbers = Counter(body["number"] for body in hook.bodies)
    named = {(body["number"], body["kind"], body["key"]) for body in hook.bodies}
    assert {(kind, key) for _, kind, key in named} == expected, "one was lost"
    assert len(named) == len(expected), "one was planned twice"
    assert sum(count - 1 for count in numbers.values()) <= kills
    assert max(numbers.values()) <= 1 + kills
    for each in (key for kind, key in expected if kind == "resolved"):
        order = [kind for kind, key in hook.told if key == each]
        assert order.index("opened") < order.index("resolved"), each


def test_two_dispatchers_at_once_send_nothing_twice(tmp_path: Path, url: str) -> None:
    hook = Webhook()
    alerts = "  channels: {hook: {apprise: file:secrets/hook, heartbeat: false}}\n  storm: {size: 1000}\n"
    inventory = estate(tmp_path, alerts, {"hook": hook.url}, ledger=url)
    try:
        with context(inventory, Clock(NOON)) as ctx, context(inventory, Clock(NOON)) as other:
            dispatch(ctx)
            found = [incident(n, claim=f"c{n}") for n in range(COUNT)]
            keep(ctx.ledger, *(happened("opened", each) for each in found))
            threads = [
                threading.Thread(target=lambda one=one: [dispatch(one) for _ in range(3)])
                for one in (ctx, other)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            dispatch(ctx)
    finally:
        hook.close()
    assert sorted(hook.told) == sorted(("opened", each.key) for each in found)
