"""Temporary folders that do not outlive their maker by long: what a killed process left is removed by the next one."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from ccobs_ops.core.errors import UnknownError


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """A private folder for the length of the block, below this account's own folder in the temporary folder."""
    root = _root()
    _sweep(root)
    me = psutil.Process()
    folder = root / f"{me.pid}-{int(me.create_time())}-{purpose}-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _root() -> Path:
    root = Path(tempfile.gettempdir()) / f"ccobs-ops-{os.geteuid()}"
    with contextlib.suppress(FileExistsError):
        root.mkdir(mode=0o700)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise UnknownError(
            f"{root} is not a private folder of this account",
            hint="see who made it, remove it, or set TMPDIR",
        )
    return root


def _sweep(root: Path) -> None:
    for folder in root.iterdir():
        pid, _, rest = folder.name.partition("-")
        created = rest.partition("-")[0]
        with contextlib.suppress(ValueError):
            if not _alive(int(pid), int(created)):
                shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int, created: int) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - created) < 2
    except psutil.Error:
        return False
