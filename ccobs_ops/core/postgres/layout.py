"""How a PostgreSQL archive lies in a store. The formats are open: `zstd -d` and `tar` read everything.

```
<prefix>/catalogue/<backup id>.json                       written last; what is not in here is no backup
<prefix>/backups/<backup id>/part-000000.tar.zst …        `cat part-* | zstd -d | tar x` gives the data directory
<prefix>/backups/<backup id>/manifest.zst                 PostgreSQL's own backup manifest
<prefix>/wal/<timeline>/<segment>-<md5 of the object>.zst a finished WAL segment
<prefix>/wal/<timeline>/<segment>.partial.zst             the running segment, as far as it is written
<prefix>/wal/<timeline>.history.zst                       a timeline's history file
```
A finished segment's name carries the MD5 of the stored object, so that a listing (whose ETag is that MD5) shows a
changed segment without reading it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ccobs_ops.core.archive import Part
from ccobs_ops.core.catalogue import seal, unseal
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.postgres.wal import format_lsn, parse_lsn

FORMAT = 1
_WAL = re.compile(
    r"wal/(?P<tli>[0-9A-F]{8})/(?P<name>[0-9A-F]{24})(?:-(?P<md5>[0-9a-f]{32})|(?P<partial>\.partial))\.zst"
)
_HISTORY = re.compile(r"wal/(?P<tli>[0-9A-F]{8})\.history\.zst")


def segment_key(name: str, md5: str) -> str:
    """Key of a finished WAL segment, relative to the target's prefix."""
    return f"wal/{name[:8]}/{name}-{md5}.zst"


def partial_key(name: str) -> str:
    """Key of a running WAL segment."""
    return f"wal/{name[:8]}/{name}.partial.zst"


def history_key(timeline: int) -> str:
    """Key of a timeline's history file."""
    return f"wal/{timeline:08X}.history.zst"


def catalogue_key(backup_id: str) -> str:
    """Key of a backup's catalogue entry."""
    return f"catalogue/{backup_id}.json"


def folder_key(backup_id: str) -> str:
    """What the keys of a backup's objects begin with."""
    return f"backups/{backup_id}/"


def part_key(backup_id: str, number: int) -> str:
    """Key of one part of a backup's tar stream."""
    return f"{folder_key(backup_id)}part-{number:06d}.tar.zst"


def manifest_key(backup_id: str) -> str:
    """Key of a backup's manifest."""
    return f"{folder_key(backup_id)}manifest.zst"


@dataclass(frozen=True, slots=True)
class WalKey:
    """What the key of a WAL object says. `md5` is None for a running segment."""

    name: str
    md5: str | None

    @property
    def partial(self) -> bool:
        """Whether the segment was still running when it was stored."""
        return self.md5 is None


def parse_wal_key(key: str) -> WalKey | None:
    """The segment that `key` (relative to the target's prefix) holds; None if it is no WAL object."""
    match = _WAL.fullmatch(key)
    if match is None or match["name"][:8] != match["tli"]:
        return None
    return WalKey(match["name"], match["md5"])


def parse_history_key(key: str) -> int | None:
    """The timeline whose history `key` holds; None if it is no history object."""
    match = _HISTORY.fullmatch(key)
    return int(match["tli"], 16) if match else None


@dataclass(frozen=True, slots=True)
class Entry:
    """A catalogue entry: one complete base backup. LSNs are byte positions; times aware UTC.

    `stop_xmax` is the 64-bit transaction id that was next when the backup ended: whatever has an id from here on
    committed after it.
    """

    id: str
    parent: str | None
    system_identifier: str
    server_version: str
    timeline: int
    segment_size: int
    start_lsn: int
    stop_lsn: int
    started_at: datetime
    stopped_at: datetime
    stop_xmax: int
    raw_bytes: int
    stored_bytes: int
    manifest: Part
    parts: tuple[Part, ...]

    @property
    def incremental(self) -> bool:
        """Whether it needs its parent to be restored."""
        return self.parent is not None

    @property
    def major(self) -> int:
        """The server's major version."""
        return int(self.server_version.split(".")[0])

    def dump(self) -> bytes:
        """The entry as stored, with a SHA-256 of itself."""
        return seal(self._body(), "sha256")

    def _body(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "id": self.id,
            "parent": self.parent,
            "system_identifier": self.system_identifier,
            "server_version": self.server_version,
            "timeline": self.timeline,
            "segment_size": self.segment_size,
            "start_lsn": format_lsn(self.start_lsn),
            "stop_lsn": format_lsn(self.stop_lsn),
            "started_at": rfc3339(self.started_at),
            "stopped_at": rfc3339(self.stopped_at),
            "stop_xmax": self.stop_xmax,
            "raw_bytes": self.raw_bytes,
            "stored_bytes": self.stored_bytes,
            "manifest": self.manifest.row(),
            "parts": [part.row() for part in self.parts],
        }


def load_entry(data: bytes, where: str) -> Entry:
    """The entry that `dump` wrote; raises DamagedError naming `where` if a single bit of it differs."""
    hint = "this backup is not used; take a new backup, or bring the object back from its other region"
    return unseal(data, where, field="sha256", newest=FORMAT, build=_entry, hint=hint)


def _entry(body: dict[str, Any]) -> Entry:
    return Entry(
        id=body["id"],
        parent=body["parent"],
        system_identifier=body["system_identifier"],
        server_version=body["server_version"],
        timeline=body["timeline"],
        segment_size=body["segment_size"],
        start_lsn=parse_lsn(body["start_lsn"]),
        stop_lsn=parse_lsn(body["stop_lsn"]),
        started_at=datetime.fromisoformat(body["started_at"]),
        stopped_at=datetime.fromisoformat(body["stopped_at"]),
        stop_xmax=body["stop_xmax"],
        raw_bytes=body["raw_bytes"],
        stored_bytes=body["stored_bytes"],
        manifest=Part(*body["manifest"]),
        parts=tuple(Part(*row) for row in body["parts"]),
    )
