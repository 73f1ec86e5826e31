"""Ends a sandbox on its own: run as a script, it outlives the validator and needs nothing but the standard library.

`reaper.py FOLDER SECONDS` reads its standard input. The word `done` means that the validator cleans up by itself; an end of
file without it means that the validator was killed. In that case, or after SECONDS, the server is killed and the folder
removed.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

SERVERS = ("postgres", "etcd")
"""Programs that are started in sandboxes."""


def destroy(folder: Path) -> None:
    """Kill the servers that run in `folder`, if any, and remove the folder."""
    for _ in range(100):
        pids = _servers(folder)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            break
        time.sleep(0.05)
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def _servers(folder: Path) -> list[int]:
    """Servers whose working folder lies in `folder`: a postmaster and all its children, members of etcd."""
    found: list[int] = []
    inside = os.path.realpath(folder)
    for entry in Path("/proc").iterdir() if Path("/proc/self").exists() else []:
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                here = str((entry / "cwd").readlink()).removesuffix(" (deleted)")
                ours = here == inside or here.startswith(inside + os.sep)
                if ours and (entry / "comm").read_text().strip() in SERVERS:
                    found.append(int(entry.name))
    with contextlib.suppress(OSError, ValueError):
        pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])
        if pid not in found and not Path("/proc/self").exists():
            os.kill(pid, 0)
            found.append(pid)
    return found


def main(folder: Path, seconds: float) -> None:
    """Wait for the validator's word, its end, or the end of the time."""
    deadline = time.monotonic() + seconds
    word = b""
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([sys.stdin], [], [], min(left, 60.0))
        if ready:
            block = os.read(sys.stdin.fileno(), 64)
            if not block:
                break
            word += block
    if word != b"done":
        destroy(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
