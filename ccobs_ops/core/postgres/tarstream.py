"""A tar stream taken apart as it flows by, in constant memory.

pg_basebackup writes one; the same reader watches it go up (to keep the manifest) and unpacks it coming down.
"""

from __future__ import annotations

import tarfile
from typing import Protocol

from ccobs_ops.core.errors import OpsError

_BLOCK = 512


class TarError(OpsError):
    """The stream is no tar archive, or ends in the middle of a member."""


class Sink(Protocol):
    """Receives the members of a tar stream in order."""

    def begin(self, member: tarfile.TarInfo) -> None:
        """A member starts."""

    def data(self, block: memoryview) -> None:
        """Some bytes of the running member; valid only during the call."""

    def end(self) -> None:
        """The running member is complete."""


class TarReader:
    """Feed it blocks of any size; it calls `sink`. `finish` raises TarError unless the archive was complete."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._header = bytearray()
        self._left = 0
        self._padding = 0
        self._open = False
        self._zero_blocks = 0

    def feed(self, block: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the stream."""
        view = memoryview(block)
        at, size = 0, len(view)
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                self._sink.data(view[at : at + step])
                self._left -= step
                at += step
                if not self._left:
                    self._close()
            elif self._padding:
                step = min(self._padding, size - at)
                self._padding -= step
                at += step
            else:
                step = min(_BLOCK - len(self._header), size - at)
                self._header += view[at : at + step]
                at += step
                if len(self._header) == _BLOCK:
                    self._member(bytes(self._header))
                    self._header.clear()

    def finish(self) -> None:
        """The stream is over: raises TarError if a member or the end mark is missing."""
        if self._open or self._left or self._header:
            raise TarError("the tar stream ends in the middle of a file")
        if self._zero_blocks < 1:
            raise TarError("the tar stream ends without an end mark")

    def _member(self, header: bytes) -> None:
        if header.count(0) == _BLOCK:
            self._zero_blocks += 1
            return
        try:
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise TarError(f"the stream holds no tar header where one is due: {error}") from error
        if member.size and not member.isreg():
            raise TarError(
                f"the tar stream holds an entry of type {member.type!r} with content, as no base backup does"
            )
        self._zero_blocks = 0
        self._sink.begin(member)
        self._open = True
        self._left = member.size if member.isreg() else 0
        self._padding = -self._left % _BLOCK
        if not self._left:
            self._close()

    def _close(self) -> None:
        self._open = False
        self._sink.end()
