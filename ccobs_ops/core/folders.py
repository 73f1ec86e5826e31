"""Folders and locks of this host: private, and held by one process at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ccobs_ops.core.errors import BusyError, UnknownError


def private(folder: Path) -> Path:
    """`folder`, made with mode 0700 if it is not there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnknownError(
            f"folder {folder} cannot be made: {error.strerror}",
            hint="name a state_dir in the inventory that this account may write to",
        ) from error
    return folder


@contextmanager
def only_one(path: Path, message: str, *, hint: str) -> Iterator[None]:
    """Hold the lock file `path` for the length of the block; raises BusyError(message) when another process holds it.

    The kernel lets go of it when its holder dies, however that happens.
    """
    private(path.parent)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BusyError(message, hint=hint) from None
        yield


@contextmanager
def try_only_one(path: Path) -> Iterator[bool]:
    """Like `only_one`, but yields whether the lock was free (and is held for the length of the block)."""
    private(path.parent)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
