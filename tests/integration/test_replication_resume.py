"""A comparison that was killed goes on where it was, and its report is that of one which never stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.replication.rows import Row
from bench.replication.server import Trouble
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.replication.journal import Journal
from ccobs_ops.core.replication.merge import Found, Suspect
from ccobs_ops.core.replication.order import Order
from tests.replication_support import Pair, paired

ROUNDS = int(os.environ.get("CCOBS_SWEEP", "2"))
COUNT = 60_000


def command(pair: Pair, *options: str) -> list[str]:
    path = pair.inventory.path
    main = [sys.executable, "-m", "ccobs_ops.cli.main", "--inventory", str(path)]
    return [*main, "replication", "compare", "--json", *options]


def kill_after(pair: Pair, stretches: int, *options: str) -> int:
    """Start a comparison in a process of its own, kill -9 it once its journal has so many stretches."""
    journal = pair.directory / ".ccobs/replication/pair/running.jsonl"
    process = subprocess.Popen(
        command(pair, *options),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > stretches):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    return process.wait(10)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_resumed_after_kill_9_the_report_is_the_same(tmp_path: Path, seed: int) -> None:
    source = [Row.of(f"d{n // 9000}/{n:06d}", b"%d" % n) for n in range(COUNT)]
    lost = set(range(seed, COUNT, 4999))
    replica = [row for n, row in enumerate(source) if n not in lost]
    with paired(tmp_path, source, replica, Trouble(delay=0.01), concurrency=3) as pair:
        straight = pair.compare()
        expected = pair.differences()
        assert len(expected) == len(lost)
        assert kill_after(pair, 1 + seed % 2) == -signal.SIGKILL
        assert kill_after(pair, 2 + seed % 2, "--resume") == -signal.SIGKILL
        finished = subprocess.run(
            command(pair, "--resume"),
            capture_output=True,
            timeout=120,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        resumed = Exercise.from_json(json.loads(finished.stdout))
        assert pair.differences() == expected
    assert (resumed.verdict, resumed.reason) == (straight.verdict, straight.reason)
    for name in ("source_objects", "replica_objects", "missing", "missing_bytes"):
        assert resumed.measurements[name] == straight.measurements[name]
    assert resumed.details["resumed"] is True
    before = int(finished.stderr.partition(b"going on after ")[2].split()[0].replace(b",", b""))
    assert 16_000 <= before < COUNT


def test_another_comparison_is_not_resumed(tmp_path: Path) -> None:
    rows = [Row.of(f"{n:05d}", b"1") for n in range(40_000)]
    with paired(tmp_path, rows, rows, Trouble(delay=0.02), concurrency=1) as pair:
        assert kill_after(pair, 1) == -signal.SIGKILL
        pair.trouble.delay = 0.0
        exercise = pair.compare(resume=True, prefix="00")
        assert exercise.measurements["source_objects"] == 1000
        assert "resumed" not in exercise.details
        assert "resumed" not in pair.compare(resume=True).details, "nothing is left to resume"


def test_a_torn_last_line_is_listed_again(tmp_path: Path) -> None:
    path = tmp_path / "running.jsonl"
    journal = Journal.begin(path, {"seed": 1})
    journal.add(None, b"f", Found(source_objects=3, replica_objects=2, suspects=[Suspect("a", None, None)]))
    journal.add(b"p", None, Found(source_objects=1))
    journal.add(b"f", b"h", Found(source_objects=5))
    journal.close()
    whole = path.read_bytes()
    for cut in range(len(whole.rstrip(b"\n").rpartition(b"\n")[0]) + 2, len(whole)):
        path.write_bytes(whole[:cut])
        found = Journal.resume(path)
        assert found is not None
        assert found.gaps(Order.BYTES) == [(b"f", b"p")]
        found.add(b"f", b"p", Found())
        assert found.gaps(Order.BYTES) == []
        assert [len(suspects) for _, suspects in found.suspects(Order.BYTES)] == [1]
        found.close()


def test_a_killed_comparison_leaves_no_lock(tmp_path: Path) -> None:
    rows = [Row.of(f"{n:05d}", b"1") for n in range(9000)]
    with paired(tmp_path, rows, rows, Trouble(delay=0.02)) as pair:
        assert kill_after(pair, 0) == -signal.SIGKILL
        pair.trouble.delay = 0.0
        assert pair.compare().verdict is Verdict.PASSED
