"""The archive as it lies in the store: its catalogue, what a listing shows to be wrong, and a snapshot's bytes, checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime

from ccobs_ops.core.archive import Part, StoredArchive, critical, decompress
from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.etcd import layout
from ccobs_ops.core.etcd.boltdb import BoltFile
from ccobs_ops.core.etcd.layout import TRAILER_BYTES, Entry
from ccobs_ops.core.exercise import Finding, Severity, rfc3339
from ccobs_ops.core.storage import MissingObjectError, in_order

_IN_FLIGHT_BYTES = 64 * 1024 * 1024
_BACK = "bring the object back from its other region or an older version; until then use another snapshot"


class Archive(StoredArchive):
    """One etcd cluster's archive."""

    def catalogue(self) -> tuple[list[Entry], list[Finding]]:
        """Every snapshot on record, oldest first, and a finding for each entry that cannot be trusted."""
        entries: list[Entry] = []
        findings: list[Finding] = []
        keys = [stored.key for stored in self.store.list(self.key("catalogue/"))]
        for answer in in_order(iter(keys), self._entry, workers=self.store.concurrency, ahead=64):
            if isinstance(answer, Finding):
                findings.append(answer)
            elif answer is not None:
                entries.append(answer)
        return sorted(entries, key=lambda entry: (entry.stopped_at, entry.id)), findings

    def _entry(self, key: str) -> Entry | Finding | None:
        try:
            return layout.load_entry(self.store.get(key), self.store.locate(key))
        except MissingObjectError:
            return None  # removed by retention since it was listed
        except DamagedError as error:
            return critical(error)

    def check_parts(self, entry: Entry) -> list[Finding]:
        """Findings for objects of a snapshot that are missing or changed, from one listing."""
        stored = {item.key: item for item in self.store.list(self.key(layout.folder_key(entry.id)))}
        findings: list[Finding] = []
        for part in entry.parts:
            item = stored.get(self.key(part.key))
            where = self.locate(part.key)
            if item is None:
                findings.append(
                    Finding(
                        "snapshot_missing",
                        Severity.CRITICAL,
                        where,
                        f"the part {where} of snapshot {entry.id} is missing",
                        _BACK,
                    )
                )
            elif item.bytes != part.bytes or self.store.etag_matches(item, part.md5) is False:
                code = "snapshot_truncated" if item.bytes < part.bytes else "snapshot_corrupt"
                findings.append(
                    Finding(
                        code,
                        Severity.CRITICAL,
                        where,
                        f"the part {where} of snapshot {entry.id} is not what was stored: {item.bytes} bytes with "
                        f"ETag {item.etag}, on record {part.bytes} with {part.md5}",
                        _BACK,
                    )
                )
        return findings

    def read_part(self, part: Part) -> bytes:
        """One part, decompressed, exactly as long as the catalogue says. Raises DamagedError."""
        where = self.locate(part.key)
        try:
            data = self.store.get(self.key(part.key), md5=part.md5, limit=part.bytes)
            raw = decompress(data, where, part.raw_bytes)
        except MissingObjectError as error:
            raise DamagedError(error.message, code="snapshot_missing", subject=where, hint=_BACK) from error
        except DamagedError as error:
            raise DamagedError(error.message, code="snapshot_corrupt", subject=where, hint=_BACK) from error
        if len(raw) != part.raw_bytes:
            raise DamagedError(
                f"{where} holds {len(raw)} bytes, the catalogue says {part.raw_bytes}",
                code="snapshot_corrupt",
                subject=where,
                hint=_BACK,
            )
        return raw

    def blocks(self, entry: Entry) -> Iterator[bytes]:
        """The snapshot's bytes in order, fetched side by side; after the last one the trailer is checked.

        Raises DamagedError, at the latest at the end: what was yielded may be used only when the iterator is exhausted.
        """
        check = TrailerCheck()
        largest = max((part.raw_bytes for part in entry.parts), default=1)
        ahead = max(2, _IN_FLIGHT_BYTES // max(largest, 1))
        workers = min(ahead, self.store.concurrency)
        for raw in in_order(iter(entry.parts), self.read_part, workers=workers, ahead=ahead):
            check.feed(raw)
            yield raw
        problem = check.problem()
        if not problem and check.digest != entry.sha256:
            problem = f"its trailer is {check.digest}, on record {entry.sha256}"
        if problem:
            where = self.locate(layout.folder_key(entry.id))
            raise DamagedError(
                f"snapshot {entry.id} is damaged: {problem}",
                code="snapshot_corrupt",
                subject=where,
                hint=_BACK,
            )

    def open(self, entry: Entry) -> BoltFile:
        """The snapshot as a file that is read in the store: only the parts that are looked at are fetched."""
        return BoltFile(
            _reader(list(entry.parts), self.read_part),
            entry.raw_bytes - TRAILER_BYTES,
            self.locate(layout.folder_key(entry.id)),
        )


class TrailerCheck:
    """Compares the SHA-256 of a stream with its own last 32 bytes, in constant memory.

    etcd appends it to a snapshot that it sends; `etcdctl snapshot status` does not look at it.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._held = b""
        self.bytes = 0

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the stream."""
        view = memoryview(data)
        self.bytes += len(view)
        if len(view) >= TRAILER_BYTES:
            self._digest.update(self._held)
            self._digest.update(view[:-TRAILER_BYTES])
            self._held = bytes(view[-TRAILER_BYTES:])
        else:
            joined = self._held + bytes(view)
            cut = max(0, len(joined) - TRAILER_BYTES)
            self._digest.update(joined[:cut])
            self._held = joined[cut:]

    @property
    def digest(self) -> str:
        """The SHA-256 of all but the trailer, in hexadecimal."""
        return self._digest.hexdigest()

    def problem(self) -> str:
        """What is wrong with the stream, or "". Sizes: etcd's files are whole pages of 512 bytes at least."""
        if self.bytes % 512 != TRAILER_BYTES or self.bytes < 512:
            return f"{self.bytes} bytes cannot be a snapshot with its checksum: it was cut off"
        if self._held.hex() != self.digest:
            return f"its SHA-256 is {self.digest}, its trailer says {self._held.hex()}"
        return ""


def pick(
    entries: list[Entry],
    *,
    snapshot: str | None = None,
    at: datetime | None = None,
    where: str = "the archive",
) -> Entry:
    """The snapshot called `snapshot`, or the newest that was begun no later than `at`, or the newest of all.

    A snapshot holds everything committed before it was begun, and perhaps some of what came while it ran; so `at` is compared
    with the end. Raises DamagedError when there is none.
    """
    if snapshot is not None:
        found = [entry for entry in entries if entry.id == snapshot] or [
            entry for entry in entries if entry.id.startswith(snapshot)
        ]
        if len(found) == 1:
            return found[0]
        told = "is not in the catalogue" if not found else f"is ambiguous: {len(found)} begin with it"
        raise DamagedError(
            f"snapshot {snapshot} {told}",
            code="no_snapshot",
            subject=where,
            hint="see them: ccobs-ops etcd snapshots",
        )
    found = [entry for entry in entries if at is None or entry.stopped_at <= at]
    if found:
        return found[-1]
    if entries and at is not None:
        oldest = entries[0]
        raise DamagedError(
            f"no snapshot was finished by {rfc3339(at)}; the oldest is {oldest.id} of {rfc3339(oldest.stopped_at)}",
            code="no_snapshot",
            subject=where,
            hint="choose a later moment",
        )
    raise DamagedError(
        f"there is no snapshot in {where}",
        code="no_snapshot",
        subject=where,
        hint="take one: ccobs-ops etcd snapshot; or look in the other region: --store",
    )


def _reader(parts: list[Part], read: Callable[[Part], bytes]) -> Callable[[int, int], bytes]:
    """Random access to the decompressed stream, with the last part kept in memory."""
    starts: list[int] = []
    total = 0
    for part in parts:
        starts.append(total)
        total += part.raw_bytes
    kept: tuple[int, bytes] = (-1, b"")

    def fetch(offset: int, length: int) -> bytes:
        nonlocal kept
        out = b""
        while len(out) < length:
            here = offset + len(out)
            index = max((n for n, start in enumerate(starts) if start <= here), default=-1)
            if index < 0 or here >= total:
                break
            if kept[0] != index:
                kept = (-1, b"")
                kept = (index, read(parts[index]))
            begin = here - starts[index]
            out += kept[1][begin : begin + length - len(out)]
        return out

    return fetch
