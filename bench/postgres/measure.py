"""Run one command and measure it: wall time, CPU time and memory of its whole process tree.

CPU is what the kernel charged the command and every descendant that was waited for (wait4), so a short-lived child is
not missed. Memory is sampled: `own` is the high-water mark of the command's own process (VmHWM, kept by the kernel),
`tree` the largest sum of resident sets seen, in which a page shared by two processes counts twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.process import User, environment, launch
from ccobs_ops.lab import processes

SAMPLE_SECONDS = 0.03
LIMIT_SECONDS = 4 * 3600.0
QUIET = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "LC_ALL")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run cost. `servers_cpu_seconds` is what the servers that the command talked to spent meanwhile."""

    wall_seconds: float
    cpu_seconds: float
    servers_cpu_seconds: float
    own_peak_bytes: int
    tree_peak_bytes: int
    load_before: float

    def to_json(self) -> dict[str, float]:
        """As it is written to the JSON document."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the command printed, and what it cost."""

    stdout: str
    usage: Usage


def measure(
    argv: Sequence[str | Path],
    *,
    scratch: Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    user: User | None = None,
    servers: Callable[[], float] = lambda: 0.0,
    ok: Sequence[int] = (0,),
) -> Outcome:
    """Run `argv` to its end and measure it. `servers` gives the CPU seconds that the servers have used so far.

    Output goes to files in `scratch`. Raises OpsError with the end of what it wrote when its exit status is not in `ok`.
    """
    os.sync()  # what an earlier run left to be written is not charged to this one
    out, err = scratch / "stdout", scratch / "stderr"
    load, before = os.getloadavg()[0], servers()
    with out.open("wb") as stdout, err.open("wb") as stderr:
        began = time.monotonic()
        child = launch(
            argv, env=environment() | dict(env or {}), cwd=cwd, stdout=stdout, stderr=stderr, user=user
        )
        watch = _Memory(child.pid)
        try:
            status, cpu = _wait(child.pid, watch, began + LIMIT_SECONDS)
        except BaseException:
            processes.kill_all(processes.family(psutil.Process(child.pid)))
            child.wait(10)
            raise
        seconds = time.monotonic() - began
        child.returncode = status
    if status not in ok:
        said = err.read_text(errors="replace") or out.read_text(errors="replace")
        tail = "\n".join(said.splitlines()[-15:])
        raise OpsError(f"{Path(os.fspath(argv[0])).name} ended with exit status {status}:\n{tail}")
    usage = Usage(seconds, cpu, servers() - before, watch.own, watch.tree, load)
    return Outcome(out.read_text(errors="replace"), usage)


def _wait(pid: int, watch: _Memory, deadline: float) -> tuple[int, float]:
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        if time.monotonic() > deadline:
            raise OpsError(f"it was still running after {LIMIT_SECONDS:.0f} s")
        watch.look()
        time.sleep(SAMPLE_SECONDS)


class _Memory:
    """Largest memory seen of one process and of its tree, in bytes."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.own = 0
        self.tree = 0

    def look(self) -> None:
        """Take one sample."""
        total = 0
        for pid in _tree(self._pid):
            total += _field(pid, "VmRSS:")
        self.tree = max(self.tree, total)
        self.own = max(self.own, _field(self._pid, "VmHWM:"))


def _tree(root: int) -> list[int]:
    """`root` and its descendants, read from /proc: a fraction of what psutil's walk over all processes costs."""
    found, pending = [], [root]
    while pending:
        pid = pending.pop()
        found.append(pid)
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                pending += [int(word) for word in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def _field(pid: int, name: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def cpu_of(roots: Sequence[int]) -> float:
    """CPU seconds of the processes `roots`, their living descendants, and the descendants that those have reaped."""
    total = 0.0
    for root in roots:
        for pid in _tree(root):
            try:
                times: Any = psutil.Process(pid).cpu_times()
            except psutil.Error:
                continue
            total += times.user + times.system + times.children_user + times.children_system
    return total
