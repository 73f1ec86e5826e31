"""PostgreSQL's backup manifest: which files, how long, with which checksum.

Format: https://www.postgresql.org/docs/current/backup-manifest-files.html. Its last line holds the SHA-256 of
everything before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import crc32c

from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.postgres.wal import parse_lsn

_HINT = "this backup cannot be proven; use another one and take a new backup"
EXEMPT = frozenset({"backup_manifest", "postgresql.auto.conf", "standby.signal", "recovery.signal"})
"""Not in the manifest, or changed on purpose after the backup (pg_verifybackup exempts the same)."""


class Checksum(Protocol):
    """A running checksum."""

    def update(self, data: memoryview) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """The checksum so far, as the manifest writes it."""
        ...


class Crc32c:
    """CRC-32C (Castagnoli) as PostgreSQL writes it: the four bytes in memory order, little-endian first."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview) -> None:
        """Take more bytes."""
        self._value = crc32c.crc32c(data, self._value)

    def hexdigest(self) -> str:
        """Eight hex digits."""
        return self._value.to_bytes(4, "little").hex()


class Nothing:
    """For files without a checksum (`--manifest-checksums=NONE`): their size is all that can be held against them."""

    def update(self, data: memoryview) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Always the empty string."""
        return ""


def checksum(algorithm: str | None) -> Checksum:
    """A fresh checksum for a manifest's algorithm name. Raises DamagedError for a name that no PostgreSQL writes."""
    makers: dict[str, Callable[[], Any]] = {
        "": Nothing,
        "NONE": Nothing,
        "CRC32C": Crc32c,
        "SHA224": hashlib.sha224,
        "SHA256": hashlib.sha256,
        "SHA384": hashlib.sha384,
        "SHA512": hashlib.sha512,
    }
    maker = makers.get((algorithm or "").upper())
    if maker is None:
        raise DamagedError(
            f"the manifest names the unknown checksum {algorithm!r}",
            code="manifest_corrupt",
            subject="manifest",
        )
    return maker()


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file of the backup: path relative to the data directory, size in bytes, checksum as hex."""

    path: str
    size: int
    algorithm: str | None
    checksum: str


@dataclass(frozen=True, slots=True)
class WalRange:
    """WAL that a restore of this backup needs, as LSNs."""

    timeline: int
    start_lsn: int
    end_lsn: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A parsed manifest. `system_identifier` is None before PostgreSQL 17."""

    files: dict[str, ManifestFile]
    wal: tuple[WalRange, ...]
    system_identifier: str | None


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest in `data`; raises DamagedError naming `where` if its own checksum or form is wrong."""

    def damaged(what: str) -> DamagedError:
        return DamagedError(
            f"the backup manifest {where} cannot be trusted: {what}",
            code="manifest_corrupt",
            subject=where,
            hint=_HINT,
        )

    head, mark, _ = data.rpartition(b'"Manifest-Checksum"')
    if not mark:
        raise damaged("it has no checksum line")
    try:
        document = json.loads(data)
        if hashlib.sha256(head).hexdigest() != document["Manifest-Checksum"]:
            raise damaged("its checksum differs")
        files = {}
        for row in document["Files"]:
            path = (
                row["Path"]
                if "Path" in row
                else bytes.fromhex(row["Encoded-Path"]).decode("utf-8", "surrogateescape")
            )
            files[path] = ManifestFile(
                path, row["Size"], row.get("Checksum-Algorithm"), row.get("Checksum", "").lower()
            )
        wal = tuple(
            WalRange(row["Timeline"], parse_lsn(row["Start-LSN"]), parse_lsn(row["End-LSN"]))
            for row in document["WAL-Ranges"]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(f"it cannot be read: {error}") from error
    system = document.get("System-Identifier")
    return Manifest(files, wal, None if system is None else str(system))
