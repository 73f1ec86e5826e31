"""Writes the files of a data directory, and has large ones flushed to disk while others are still being written.

Each block is written at once by the thread that has just decompressed and checked it, while the block is in the processor's
cache: handing it to other threads cost more than the writing did. Only the flushing waits for the disk, and has a thread.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ccobs_ops.core.errors import OpsError

WRITE_BYTES = 256 * 1024
"""One write call. Many megabytes at once cost the kernel 4 to 10 times the CPU time (measured: ext4, Linux 6.18)."""
_FLUSH_BYTES = 8 * 1024 * 1024
_FLUSH_EACH_BYTES = 128 * 1024 * 1024


@dataclass(slots=True)
class OutFile:
    """A file being written; `size` is how long it is so far."""

    path: Path
    fd: int
    size: int = 0
    flushed: int = 0


class Outlet:
    """Use as a context manager: leaving it waits for what is being flushed, and closes everything.

    Raises OpsError when a file cannot be written. `flush` makes large files durable on the way.
    """

    def __init__(self, *, flush: bool) -> None:
        self._flush = flush
        self._open: set[int] = set()
        self._flushes: list[Future[None]] = []
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="flush")

    def __enter__(self) -> Outlet:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._flusher.shutdown(wait=True)
        for fd in self._open:
            with contextlib.suppress(OSError):
                os.close(fd)

    def create(self, path: Path, owner: tuple[int, int] | None) -> OutFile:
        """A new file with mode 0600, owned by `owner` if given."""
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._open.add(fd)
            if owner is not None:
                os.fchown(fd, *owner)
        except OSError as error:
            raise _refused(path, error) from error
        return OutFile(path, fd)

    def write(self, file: OutFile, block: memoryview) -> None:
        """Append `block`."""
        try:
            at = 0
            while at < len(block):
                at += os.write(file.fd, block[at : at + WRITE_BYTES])
        except OSError as error:
            raise _refused(file.path, error) from error
        file.size += at
        if self._flush and file.size - file.flushed >= _FLUSH_EACH_BYTES:
            file.flushed = file.size
            self._later(file, close=False)

    def close(self, file: OutFile) -> None:
        """The file is whole; a large one is closed when it is on disk."""
        if self._flush and file.size >= _FLUSH_BYTES:
            self._later(file, close=True)
        else:
            self._open.discard(file.fd)
            os.close(file.fd)

    def finish(self) -> None:
        """Wait until everything is flushed; raises OpsError if anything was not."""
        for future in self._flushes:
            future.result()

    def _later(self, file: OutFile, *, close: bool) -> None:
        self._flushes = [future for future in self._flushes if not future.done() or future.exception()]
        self._flushes.append(self._flusher.submit(self._sync, file, close=close))

    def _sync(self, file: OutFile, *, close: bool) -> None:
        try:
            os.fdatasync(file.fd)
            if close:
                self._open.discard(file.fd)
                os.close(file.fd)
        except OSError as error:
            raise _refused(file.path, error) from error


def _refused(path: Path, error: OSError) -> OpsError:
    return OpsError(
        f"{path} cannot be written: {error.strerror}",
        hint="see whether the disk is full; name another folder",
    )
