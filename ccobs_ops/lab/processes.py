"""Processes by identity: a pid alone is reused, so a process is known by its pid *and* the moment it was created.

Safety invariant: nothing is signalled unless it is a process that the lab recorded (pid and creation time), a
descendant of one, or a process that carries the lab's mark in its environment or runs as a PostgreSQL below the lab's
own folder; and never ourselves or a process above us.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ccobs_ops.core.errors import OpsError

CLOCK_TOLERANCE = 2.0
"""Creation times are derived from the wall clock, which may be set between two looks; seconds."""
SWEEPS = 20


@dataclass(frozen=True, slots=True)
class Identity:
    """A process: `created` is the moment of its creation in seconds since the epoch."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The identity of a process that was just started; one that is gone already gets a time that matches none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return cls(pid, 0.0)

    def process(self) -> psutil.Process | None:
        """The living process, or None: gone, a zombie, or the pid is somebody else's now."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.created) <= CLOCK_TOLERANCE
        except psutil.Error:
            return None
        return found if same and not gone(found) else None


def gone(process: psutil.Process) -> bool:
    """Whether `process` has ended; a zombie has, and is reaped here if it is our child."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def family(process: psutil.Process) -> list[psutil.Process]:
    """`process` and all that descend from it."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]


def end(
    process: psutil.Process,
    *,
    first: signal.Signals,
    grace: float,
    timer: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """End `process` and its descendants: `first` to it alone, SIGKILL to whoever is left after `grace` seconds.

    Returns whether all of them went without SIGKILL.
    """
    members = family(process)
    _send(process, first)
    _send(process, signal.SIGCONT)  # a frozen process cannot hear the first one
    if wait_gone(members, grace, timer=timer, sleep=sleep):
        return True
    for member in members:
        _send(member, signal.SIGKILL)
    wait_gone(members, 10.0, timer=timer, sleep=sleep)
    return False


def wait_gone(
    processes: Iterable[psutil.Process],
    timeout: float,
    *,
    timer: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait up to `timeout` seconds for all of them to end; returns whether they did."""
    left = list(processes)
    deadline = timer() + timeout
    while left := [process for process in left if not gone(process)]:
        if timer() > deadline:
            return False
        sleep(0.02)
    return True


def leftovers(mark: str, value: str, home: Path | None) -> list[psutil.Process]:
    """Every living process that carries `mark`=`value`, or is a PostgreSQL that works in a folder below `home`.

    PostgreSQL's children overwrite the memory that their environment lay in; they are known by their folder.
    """
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        if process.pid in spared:
            continue
        with contextlib.suppress(psutil.Error, OSError):
            marked = process.environ().get(mark) == value
            if not marked and home is not None and process.name() == "postgres":
                marked = Path(process.cwd()).is_relative_to(home)
            if marked and not gone(process):
                found.append(process)
    return found


def kill_all(processes: Sequence[psutil.Process]) -> None:
    """SIGKILL to each of them."""
    for process in processes:
        _send(process, signal.SIGKILL)


def sweep(mark: str, value: str, home: Path | None) -> int:
    """SIGKILL every one of the `leftovers` until none is left; returns how many there were.

    Raises OpsError when some cannot be ended.
    """
    total = 0
    left: list[psutil.Process] = []
    for _ in range(SWEEPS):
        left = leftovers(mark, value, home)
        if not left:
            return total
        total += len(left)
        kill_all(left)
        wait_gone(left, 5.0)
    raise OpsError(
        f"processes of the lab in {value} could not be ended: {', '.join(str(one.pid) for one in left)}",
        hint="they may belong to another account; end them as that account or as root",
    )


def memory_bytes(process: psutil.Process) -> int:
    """Memory of `process` and its descendants: proportional set size where the kernel tells, else resident size.

    Shared pages count once over all processes, which matters for PostgreSQL.
    """
    total = 0
    for member in family(process):
        with contextlib.suppress(psutil.Error):
            try:
                total += member.memory_full_info().pss
            except (psutil.AccessDenied, AttributeError):
                total += member.memory_info().rss
    return total


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
