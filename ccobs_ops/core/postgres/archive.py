"""The archive as it lies in the store: its catalogue, its WAL, and what a listing alone shows to be wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import zstandard

from ccobs_ops.core.archive import Part, StoredArchive, critical, decompress
from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.exercise import Finding, Severity
from ccobs_ops.core.postgres import layout
from ccobs_ops.core.postgres.layout import Entry
from ccobs_ops.core.postgres.wal import History, only, parse_history, segment_number
from ccobs_ops.core.storage import MissingObjectError, ObjectStore, StoredObject


@dataclass(frozen=True, slots=True)
class Segment:
    """One WAL file in the archive; `key` is relative to the store. `md5` is None for a running segment."""

    name: str
    key: str
    md5: str | None

    @property
    def partial(self) -> bool:
        """Whether it was still running when it was stored."""
        return self.md5 is None


class Archive(StoredArchive):
    """One PostgreSQL cluster's archive."""

    def catalogue(self) -> tuple[list[Entry], list[Finding]]:
        """Every backup on record, oldest first, and a finding for each entry that cannot be trusted."""
        entries: list[Entry] = []
        findings: list[Finding] = []
        for stored in self.store.list(self.key("catalogue/")):
            try:
                entries.append(layout.load_entry(self.store.get(stored.key), self.store.locate(stored.key)))
            except MissingObjectError:
                continue  # removed by retention since it was listed
            except DamagedError as error:
                findings.append(critical(error))
        return sorted(entries, key=lambda entry: (entry.stopped_at, entry.id)), findings

    def wal(self) -> WalListing:
        """All WAL in the archive, from one listing."""
        segments: dict[str, Segment] = {}
        histories: dict[int, str] = {}
        findings: list[Finding] = []
        for stored in self.store.list(self.key("wal/")):
            relative = stored.key.removeprefix(self.prefix)
            timeline = layout.parse_history_key(relative)
            if timeline is not None:
                histories[timeline] = stored.key
                continue
            parsed = layout.parse_wal_key(relative)
            if parsed is None:
                continue
            if parsed.md5 is not None and self.store.etag_matches(stored, parsed.md5) is False:
                findings.append(_changed(self.store, stored, parsed.name, parsed.md5))
                continue
            known = segments.get(parsed.name)
            if known is not None and not known.partial and not parsed.partial:
                findings.append(self._twice(known, stored.key, parsed.name))
            if known is None or known.partial:
                segments[parsed.name] = Segment(parsed.name, stored.key, parsed.md5)
        return WalListing(segments, histories, tuple(f for f in findings if f.code != "same"))

    def has_segment(self, name: str) -> bool:
        """Whether the finished segment `name` is in the archive, as it was stored."""
        for stored in self.store.list(self.key(f"wal/{name[:8]}/{name}-")):
            parsed = layout.parse_wal_key(stored.key.removeprefix(self.prefix))
            if parsed is not None and parsed.md5 and self.store.etag_matches(stored, parsed.md5) is not False:
                return True
        return False

    def _twice(self, known: Segment, key: str, name: str) -> Finding:
        if self.read(known.key) == self.read(key):
            return Finding("same", Severity.INFO, name, "stored twice with the same content")
        return Finding(
            "wal_ambiguous",
            Severity.CRITICAL,
            name,
            f"segment {name} is in the archive twice, with different content",
            "two servers write the same timeline into one archive; give each its own prefix and take a new backup",
        )

    def history(self, listing: WalListing, timeline: int) -> History:
        """The line of timelines that leads to `timeline`; raises DamagedError if its history file is missing."""
        if timeline == 1:
            return only(1)
        key = listing.histories.get(timeline)
        if key is None:
            where = f"{timeline:08X}.history"
            raise DamagedError(
                f"the history file of timeline {timeline} is missing: {self.locate(layout.history_key(timeline))}",
                code="timeline_history_missing",
                subject=where,
                hint="copy it from the server's pg_wal folder or the agent's spool; until then only backups taken on "
                "this timeline can be used",
            )
        try:
            return parse_history(timeline, self.read(key).decode())
        except ValueError as error:
            raise DamagedError(
                f"the history file of timeline {timeline} cannot be read: {error}",
                code="timeline_history_corrupt",
                subject=self.store.locate(key),
            ) from error

    def read(self, key: str, *, md5: str | None = None, limit: int = 1 << 31) -> bytes:
        """A compressed object, checked and decompressed."""
        return decompress(self.store.get(key, md5=md5), self.store.locate(key), limit)

    def read_part(self, part: Part) -> bytes:
        """One part of a backup, decompressed, exactly as long as the catalogue says."""
        where = self.store.locate(self.key(part.key))
        data = decompress(self.store.get(self.key(part.key), md5=part.md5), where, part.raw_bytes)
        if len(data) != part.raw_bytes:
            raise DamagedError(
                f"{where} holds {len(data)} bytes, the catalogue says {part.raw_bytes}",
                code="object_corrupt",
                subject=where,
            )
        return data

    def fetch_part(self, part: Part) -> bytes:
        """One part of a backup as it is stored, whose MD5 is the one on record."""
        return self.store.get(self.key(part.key), md5=part.md5)

    def inflate(self, fetched: Iterable[tuple[Part, bytes]]) -> Inflow:
        """The stream that fetched parts hold together, for `read_ahead`."""
        return Inflow(self, fetched)

    def check_parts(self, entry: Entry) -> list[Finding]:
        """Findings for objects of a backup that are missing or changed, from one listing."""
        stored = {item.key: item for item in self.store.list(self.key(layout.folder_key(entry.id)))}
        findings: list[Finding] = []
        for part in (entry.manifest, *entry.parts):
            item = stored.get(self.key(part.key))
            where = self.locate(part.key)
            what = "manifest" if part is entry.manifest else "part"
            if item is None:
                findings.append(
                    Finding(
                        f"{'manifest' if part is entry.manifest else 'backup_part'}_missing",
                        Severity.CRITICAL,
                        where,
                        f"the {what} {where} of backup {entry.id} is missing",
                        "bring the object back from its other region or an older version, or take a new backup",
                    )
                )
            elif item.bytes != part.bytes or self.store.etag_matches(item, part.md5) is False:
                findings.append(
                    Finding(
                        f"{'manifest' if part is entry.manifest else 'backup_part'}_corrupt",
                        Severity.CRITICAL,
                        where,
                        f"the {what} {where} of backup {entry.id} is not what was stored: "
                        f"{item.bytes} bytes with ETag {item.etag}, on record {part.bytes} with {part.md5}",
                        "bring the object back from its other region or an older version, or take a new backup",
                    )
                )
        return findings


class Inflow:
    """Parts of a backup, decompressed one after another into the caller's buffers, each exactly as long as on record."""

    def __init__(self, archive: Archive, fetched: Iterable[tuple[Part, bytes]]) -> None:
        self._archive = archive
        self._fetched = iter(fetched)
        self._part: Part | None = None
        self._reader: zstandard.ZstdDecompressionReader | None = None
        self._decompressor = zstandard.ZstdDecompressor()
        self._left = 0

    def readinto(self, buffer: memoryview) -> int:
        """The next bytes, as many as come at once; 0 at the end. Raises DamagedError naming the part."""
        while True:
            if self._reader is None:
                following = next(self._fetched, None)
                if following is None:
                    return 0
                self._part, data = following
                self._left = self._part.raw_bytes
                self._reader = self._decompressor.stream_reader(data, read_across_frames=True)
            try:
                count = self._reader.readinto(buffer)
            except zstandard.ZstdError as error:
                raise self._damaged(f"cannot be decompressed: {error}") from error
            self._left -= count
            if self._left < 0:
                raise self._damaged("holds more than the catalogue says")
            if count:
                return count
            if self._left:
                raise self._damaged(f"ends {self._left} bytes before what the catalogue says")
            self._reader = None

    def _damaged(self, what: str) -> DamagedError:
        assert self._part is not None
        where = self._archive.locate(self._part.key)
        return DamagedError(f"{where} {what}", code="object_corrupt", subject=where)


@dataclass(frozen=True, slots=True)
class WalListing:
    """The WAL of an archive: the best file for each segment name, the keys of history files, what is wrong."""

    segments: dict[str, Segment]
    histories: dict[int, str]
    findings: tuple[Finding, ...]

    @property
    def timelines(self) -> list[int]:
        """Every timeline that a segment or a history file shows."""
        return sorted({int(name[:8], 16) for name in self.segments} | set(self.histories))

    def last_number(self, timeline: int, size: int) -> int | None:
        """The highest segment number on `timeline`; None if there is none."""
        prefix = f"{timeline:08X}"
        return max((segment_number(n, size) for n in self.segments if n.startswith(prefix)), default=None)


def chain(entries: Iterable[Entry], entry: Entry) -> list[Entry]:
    """`entry` and the backups that it rests on, the full one first; raises DamagedError if one is missing."""
    by_id = {known.id: known for known in entries}
    links = [entry]
    while (parent := links[-1].parent) is not None:
        if parent not in by_id or len(links) > len(by_id):
            raise DamagedError(
                f"backup {links[-1].id} rests on {parent}, which is not in the catalogue",
                code="backup_missing",
                subject=parent,
                hint="use an older backup; take a new full backup",
            )
        links.append(by_id[parent])
    return links[::-1]


def _changed(store: ObjectStore, stored: StoredObject, name: str, md5: str) -> Finding:
    return Finding(
        "wal_corrupt",
        Severity.CRITICAL,
        name,
        f"segment {name} is not what was archived: {store.locate(stored.key)} has ETag {stored.etag}, on record {md5}",
        "bring the object back from its other region or an older version; else take a new backup now: times from this "
        "segment to the next backup cannot be restored",
    )
