"""kill -9 at random moments: no acknowledged segment is lost, no backup is listed that cannot be restored, nothing remains.

CCOBS_SWEEP sets how many kills of each kind (default 3; `make soak` runs more).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.postgres.sandbox import sweep
from tests.postgres_support import Estate, estate_in, wait_for, why

SWEEP = int(os.environ.get("CCOBS_SWEEP", "3"))


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A lab under write load with one backup."""
    with estate_in(
        tmp_path_factory.mktemp("crashes") / "lab", "us", "postgres", "writer", "agent", scale=0.2
    ) as estate:
        yield estate


def _command(estate: Estate, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ccobs_ops.cli.main", "--inventory", str(estate.lab.inventory_path), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _kill_after(process: subprocess.Popen[bytes], seconds: float) -> None:
    time.sleep(seconds)
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    _gone, alive = psutil.wait_procs(family, timeout=10)
    assert not alive, f"children outlived kill -9: {[p.cmdline() for p in alive]}"


def test_killed_agents_lose_no_segment_and_no_canary(estate: Estate) -> None:
    dice = random.Random(11)
    for _ in range(SWEEP):
        receivers = _receivers(estate)
        assert receivers, "the agent streams"
        estate.sql("select pg_switch_wal()")
        time.sleep(dice.uniform(0.0, 1.5))
        estate.lab.kill_service("agent")
        wait_for(
            lambda old=receivers: not any(psutil.pid_exists(pid) for pid in old), 10, "pg_receivewal to end"
        )
        estate.sql("select pg_switch_wal()")
        estate.lab.start_service("agent")
        wait_for(lambda: bool(_receivers(estate)), 20, "the new agent to stream")
    at = estate.now()
    estate.await_archived(at)
    window = estate.window(deep=True)
    assert window.verdict is Verdict.PASSED, why(window)
    validation = estate.validate()
    assert validation.verdict is Verdict.PASSED, why(validation)
    assert not [e for e in estate.ctx.ledger.events(estate.cluster.target) if e.kind == "wal_gap"]


def _receivers(estate: Estate) -> list[int]:
    rows = estate.sql("select active_pid from pg_replication_slots where active")
    spool = str(estate.cluster.spool)
    return [
        p.pid
        for p in psutil.process_iter(["name", "cmdline"])  # leaves out what ends meanwhile
        if rows
        and p.info["name"] == "pg_receivewal"
        and any(spool in word for word in p.info["cmdline"] or ())
    ]


def test_killed_backups_are_never_listed_half(estate: Estate) -> None:
    dice = random.Random(12)
    for _ in range(SWEEP):
        known = {entry.id for entry in estate.archive.catalogue()[0]}
        _kill_after(_command(estate, "postgres", "backup", "observatory"), dice.uniform(0.5, 2.5))
        for entry in estate.archive.catalogue()[0]:
            assert entry.id in known or not estate.archive.check_parts(entry)
    done = estate.backup()
    assert done.verdict is Verdict.PASSED, why(done)
    window = estate.window(deep=True)
    assert window.verdict is Verdict.PASSED, why(window)
    assert _temporary() == []


def test_killed_validations_leave_no_server_and_no_sandbox(estate: Estate) -> None:
    dice = random.Random(13)
    for _ in range(SWEEP):
        _kill_after(_command(estate, "postgres", "validate", "observatory"), dice.uniform(0.8, 3.0))
        wait_for(lambda: estate.sandboxes() == [], 15, "the reaper to remove the sandbox")
    assert _servers_below(estate.lab.plan.home / "postgres" / "sandbox") == []
    validation = estate.validate()
    assert validation.verdict is Verdict.PASSED, why(validation)
    assert estate.sandboxes() == []


def test_a_sandbox_whose_reaper_died_too_is_swept_by_the_next_validation(estate: Estate) -> None:
    process = _command(estate, "postgres", "validate", "observatory")
    wait_for(lambda: bool(estate.sandboxes()) or process.poll() is not None, 20, "a sandbox")
    for child in psutil.Process(process.pid).children(recursive=True):
        if any("reaper.py" in word for word in child.cmdline()):
            child.kill()
    process.kill()
    process.wait(10)
    (left,) = estate.sandboxes()
    assert sweep(left.parent) == [left]
    assert estate.sandboxes() == []


def test_killed_restores_leave_no_server_behind(estate: Estate, tmp_path: Path) -> None:
    dice = random.Random(14)
    folder = estate.lab.plan.home / "killed"
    folder.mkdir(mode=0o711, exist_ok=True)
    for number in range(SWEEP):
        target = folder / str(number)
        _kill_after(
            _command(estate, "postgres", "restore", "observatory", "--latest", "--to", str(target)),
            dice.uniform(0.3, 2.0),
        )
        assert _servers_below(target) == []
        if target.exists() and any(target.iterdir()):  # what is half is refused, not gone on with
            again = _command(estate, "postgres", "restore", "observatory", "--latest", "--to", str(target))
            assert again.wait(60) == 2
    interrupted = folder / "interrupted"
    process = _command(estate, "postgres", "restore", "observatory", "--latest", "--to", str(interrupted))
    wait_for(interrupted.exists, 20, "the restore to begin")
    process.send_signal(signal.SIGINT)
    process.wait(30)
    assert not interrupted.exists() or process.returncode == 0


def _servers_below(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == "postgres" and process.cwd().startswith(str(folder)):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def _temporary() -> list[Path]:
    import tempfile

    return sorted(Path(tempfile.gettempdir(), f"ccobs-ops-{os.geteuid()}").glob("*-backup-*"))
