"""Many write into one ledger at once, open it first at once, or are killed: every row is whole, and none is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

from ccobs_ops.core.ledger import Ledger
from tests.ledger_support import NOON, TARGET, exercise, ledger, server, url

__all__ = ["ledger", "server", "url"]

WRITER = """
import sys
from datetime import timedelta
from tests.ledger_support import canary, exercise, NOON, TARGET
from ccobs_ops.core.ledger import Event, Ledger
url, number = sys.argv[1], int(sys.argv[2])
with Ledger.open(url) as ledger:
    for n in range(50):
        unique = number * 50 + n
        ledger.record(exercise(unique))
        ledger.record_canary(canary(unique))
        ledger.beat(TARGET, f"writer{number}", NOON + timedelta(seconds=n), {})
"""


def writer(url: str, number: int) -> subprocess.Popen[bytes]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, url, str(number)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def test_eight_processes_open_it_first_and_write_at_once(url: str) -> None:
    processes = [writer(url, number) for number in range(8)]
    try:
        assert [process.wait(120) for process in processes] == [0] * 8
    finally:
        for process in processes:
            process.kill()
            process.wait()
    with Ledger.open(url) as ledger:
        assert {each.id for each in ledger.exercises(limit=1000)} == {f"x-{n:06d}" for n in range(400)}
        assert [each.seq for each in ledger.canaries(TARGET)] == list(range(400))
        for number in range(8):
            beat = ledger.heartbeat(TARGET, f"writer{number}")
            assert beat is not None
            assert beat.at == NOON + timedelta(seconds=49)


OPENER = """
import sys
import alembic.command, alembic.config
from ccobs_ops.core import ledger_engine
from ccobs_ops.core.ledger import Ledger
look = ledger_engine._revision
def look_and_wait(connection):
    found = look(connection)
    ledger_engine._revision = look
    print("no schema" if found is None else found, flush=True)
    sys.stdin.readline()
    return found
ledger_engine._revision = look_and_wait
Ledger.open(sys.argv[1]).close()
"""


def test_first_openers_at_the_same_instant(url: str) -> None:
    """All have seen that there is no schema, and wait for the word, so that they meet in the migration."""
    root = Path(__file__).parents[2]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [
        subprocess.Popen([sys.executable, "-c", OPENER, url], cwd=root, text=True, **pipes)  # type: ignore[call-overload]
        for _ in range(6)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "no schema\n"
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        told = [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * 6, told
    with Ledger.open(url) as ledger:
        ledger.record(exercise(1))


def test_a_writer_that_is_killed_leaves_whole_rows(url: str) -> None:
    Ledger.open(url).close()
    process = writer(url, 0)
    with Ledger.open(url) as ledger:
        until = time.monotonic() + 60
        while len(ledger.canaries(TARGET)) < 10:
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = [each.seq for each in ledger.canaries(TARGET)]
        assert found == list(range(len(found)))
        assert len(ledger.exercises(limit=1000)) in (len(found), len(found) + 1)
        ledger.record(exercise(999_999))
        assert ledger.find("x-999999") == [exercise(999_999)]


def test_many_threads_share_one_ledger(ledger: Ledger) -> None:
    threads = [
        threading.Thread(
            target=lambda first=first: [ledger.record(exercise(n)) for n in range(first, first + 10)]
        )
        for first in range(0, 80, 10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ledger.exercises(limit=1000)) == 80
