"""Ships WAL from the spool to the store.

pg_receivewal writes into the spool; what it has finished is compressed, stored, and removed here; the segment that it is
writing is stored again and again as far as it got. A file leaves the spool only after the store has confirmed it, and the
newest finished segment stays: it is where pg_receivewal goes on after a restart, also on a server that has never seen
our slot.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ccobs_ops.core.archive import compress
from ccobs_ops.core.guard import permit
from ccobs_ops.core.postgres import layout
from ccobs_ops.core.postgres.archive import Archive
from ccobs_ops.core.postgres.wal import SEGMENT_NAME
from ccobs_ops.core.storage import md5_hex

_HISTORY = re.compile(r"[0-9A-F]{8}\.history")
_SHIPPED = ".shipped"
_PAGE = 8192
"""The smallest page of WAL in use; every page that was written begins with a header."""
_BLOCK = 128 * _PAGE


def written_of(path: Path, known: int = 0) -> bytes:
    """What is written of the segment at `path`, without the zeros that it is padded with; `known` bytes of it at least.

    It is read up to its first empty page, and not to its end: a segment may be a gigabyte. Raises FileNotFoundError.
    """
    with path.open("rb") as file:
        parts = [file.read(known - known % _PAGE)]
        while block := file.read(_BLOCK):
            parts.append(block)
            if not block[-_PAGE:].strip(b"\0"):
                break
    return b"".join(parts).rstrip(b"\0")


@dataclass(frozen=True, slots=True)
class Shipment:
    """What one pass did: finished segments, whether the running one went up, and what is in the archive by now.

    `reached` is the running or last segment's name and `offset` how many of its bytes are in the store.
    """

    segments: tuple[str, ...]
    partial: bool
    reached: str | None
    offset: int


class Shipper:
    """One cluster's way from spool to archive. Not thread-safe; one agent at a time has the spool's lock."""

    def __init__(self, spool: Path, archive: Archive, *, level: int) -> None:
        self._spool = spool
        self._archive = archive
        self._level = level
        self._partial_seen: tuple[str, int, int] | None = None
        self._delete = permit(
            "supersede", archive.prefix, allowed={"supersede"}, dry_run=False, confirmation=archive.prefix
        )

    def ship(self, *, partial: bool) -> Shipment:
        """Store every finished segment and history file, and with `partial` the running segment.

        Raises UnknownError when the store cannot be reached; then everything unshipped is still in the spool.
        """
        self._ship_histories()
        done = [name for name in self._finished() if self._ship_segment(name)]
        running = self._running()
        shipped_partial = bool(running and partial and self._ship_partial(running[-1]))
        self._sweep(running)
        if running and self._partial_seen and self._partial_seen[0] == running[-1].name:
            return Shipment(tuple(done), shipped_partial, running[-1].name[:24], self._partial_seen[1])
        finished = self._finished()
        last = finished[-1] if finished else None
        return Shipment(
            tuple(done), shipped_partial, last, (self._spool / last).stat().st_size if last else 0
        )

    def backlog_bytes(self) -> int:
        """Bytes in the spool that are not in the store yet."""
        return sum(
            path.stat().st_size
            for path in self._spool.iterdir()
            if SEGMENT_NAME.fullmatch(path.name) and not self._mark(path.name).exists()
        )

    def _finished(self) -> list[str]:
        return sorted(path.name for path in self._spool.iterdir() if SEGMENT_NAME.fullmatch(path.name))

    def _running(self) -> list[Path]:
        return sorted(
            path
            for path in self._spool.iterdir()
            if path.suffix == ".partial" and SEGMENT_NAME.fullmatch(path.stem)
        )

    def _mark(self, name: str) -> Path:
        return self._spool / f"{name}{_SHIPPED}"

    def _ship_histories(self) -> None:
        for path in sorted(self._spool.iterdir()):
            if not _HISTORY.fullmatch(path.name) or self._mark(path.name).exists():
                continue
            key = self._archive.key(layout.history_key(int(path.name[:8], 16)))
            self._archive.store.put(key, compress(path.read_bytes(), 9), lock=True)
            self._mark(path.name).touch()

    def _ship_segment(self, name: str) -> bool:
        if self._mark(name).exists():
            return False
        data = (self._spool / name).read_bytes()
        packed = compress(data, self._level)
        key = self._archive.key(layout.segment_key(name, md5_hex(packed)))
        self._archive.store.put(key, packed, metadata={"raw-bytes": str(len(data))}, lock=True)
        self._mark(name).touch()
        self._archive.store.delete(self._archive.key(layout.partial_key(name)), self._delete)
        return True

    def _ship_partial(self, path: Path) -> bool:
        known = self._partial_seen[1] if self._partial_seen and self._partial_seen[0] == path.name else 0
        try:
            written = written_of(path, known)
        except FileNotFoundError:
            return False  # finished since we looked; the next pass ships it whole
        seen = (path.name, len(written), hash(written[-8192:]))
        if not written or seen == self._partial_seen:
            return False
        key = self._archive.key(layout.partial_key(path.stem))
        packed = compress(written, self._level)
        self._archive.store.put(key, packed, metadata={"raw-bytes": str(len(written))})
        self._partial_seen = seen
        return True

    def _sweep(self, running: list[Path]) -> None:
        finished = [name for name in self._finished() if self._mark(name).exists()]
        for name in finished[:-1]:
            (self._spool / name).unlink()
            self._mark(name).unlink()
        for path in running[
            :-1
        ]:  # left behind by a promotion; its content went on in the new timeline's first segment
            if self._ship_old_partial(path):
                path.unlink()

    def _ship_old_partial(self, path: Path) -> bool:
        written = path.read_bytes().rstrip(b"\0")
        if written:
            key = self._archive.key(layout.partial_key(path.stem))
            self._archive.store.put(
                key, compress(written, self._level), metadata={"raw-bytes": str(len(written))}
            )
        return True
