"""What every archive in a store is made of: compressed parts below one prefix, each on record with sizes and checksum."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import zstandard

from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.exercise import Claim, Finding, Severity, failed, passed
from ccobs_ops.core.units import format_seconds

if TYPE_CHECKING:
    from ccobs_ops.core.guard import Permit
    from ccobs_ops.core.storage import ObjectStore

_UNFINISHED_AGE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Part:
    """One stored object of a backup or snapshot: `bytes` as stored, `raw_bytes` after decompression."""

    key: str
    bytes: int
    raw_bytes: int
    md5: str

    def row(self) -> list[str | int]:
        """The part as a catalogue entry has it."""
        return [self.key, self.bytes, self.raw_bytes, self.md5]


class Sized(Protocol):
    """A catalogue entry: how much it holds, before compression and as stored."""

    @property
    def raw_bytes(self) -> int:
        """Before compression."""
        ...

    @property
    def stored_bytes(self) -> int:
        """As stored."""
        ...


class StoredArchive:
    """One cluster's archive in one store. Every method asks the store; nothing is cached."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self.store = store
        self.prefix = prefix

    def key(self, relative: str) -> str:
        """A key relative to the store."""
        return self.prefix + relative

    def locate(self, relative: str) -> str:
        """`s3://…` of a key relative to the archive."""
        return self.store.locate(self.key(relative))

    def remove(self, entry: str, folder: str, allowed: Permit) -> None:
        """Delete the catalogue entry, and after it the objects of its folder: none is ever listed without them."""
        self.store.delete(self.key(entry), allowed)
        for stored in list(self.store.list(self.key(folder))):
            self.store.delete(stored.key, allowed)

    def unfinished(self, folder: str, known: Collection[str], now: datetime) -> list[str]:
        """Keys below `folder` that belong to no id in `known`, a day old at least: what was killed has left them."""
        prefix = self.key(folder)
        return [
            stored.key
            for stored in self.store.list(prefix)
            if stored.key.removeprefix(prefix).split("/")[0] not in known
            and now - stored.modified > _UNFINISHED_AGE
        ]


def decompress(data: bytes, where: str, limit: int) -> bytes:
    """Zstd frames to bytes, at most `limit`; the frame's own checksum is checked. Raises DamagedError."""
    try:
        reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
        out = reader.read(limit + 1)
    except zstandard.ZstdError as error:
        raise DamagedError(
            f"{where} cannot be decompressed: {error}", code="object_corrupt", subject=where
        ) from error
    if len(out) > limit:
        raise DamagedError(f"{where} holds more than {limit} bytes", code="object_corrupt", subject=where)
    return out


def compress(data: bytes | bytearray | memoryview, level: int) -> bytes:
    """One zstd frame with its size and a checksum in it."""
    return zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True).compress(data)


def critical(error: DamagedError) -> Finding:
    """The finding that a DamagedError stands for."""
    return Finding(error.code, Severity.CRITICAL, error.subject, error.message, error.hint)


def amounts(entry: Sized, seconds: float) -> dict[str, float]:
    """The measurements of a backup that was stored within `seconds`."""
    return {
        "backup_duration_seconds": seconds,
        "raw_bytes": float(entry.raw_bytes),
        "stored_bytes": float(entry.stored_bytes),
        "compression_ratio": entry.raw_bytes / max(entry.stored_bytes, 1),
        "bytes_per_second": entry.raw_bytes / max(seconds, 1e-9),
    }


def in_time(seconds: float, promised: timedelta) -> Claim:
    """The claim that a backup was taken within what its target promises."""
    limit = promised.total_seconds()
    told = f"took {format_seconds(seconds)}, promised within {format_seconds(limit)}"
    return passed("in_time", told) if seconds <= limit else failed("in_time", told)
