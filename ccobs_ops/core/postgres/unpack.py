"""From the store to a data directory: download in parallel, unpack in order, verify every byte against the manifest.

Each file is checked (length and checksum) while it is written, and a backup is complete only when every file of its manifest
was seen. An incremental chain is verified link by link *before* pg_combinebackup touches it: a damaged link would give a
combined backup that verifies against its own new manifest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ccobs_ops.core.archive import Part
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError, OpsError
from ccobs_ops.core.exercise import Phase, Recorder
from ccobs_ops.core.postgres.archive import Archive
from ccobs_ops.core.postgres.layout import Entry
from ccobs_ops.core.postgres.manifest import EXEMPT, Manifest, ManifestFile, checksum, parse_manifest
from ccobs_ops.core.postgres.outlet import OutFile, Outlet
from ccobs_ops.core.postgres.server import Tools
from ccobs_ops.core.postgres.tarstream import TarError, TarReader
from ccobs_ops.core.process import User, run
from ccobs_ops.core.read_ahead import read_ahead
from ccobs_ops.core.storage import in_order
from ccobs_ops.core.units import format_bytes

_IN_FLIGHT_BYTES = 64 * 1024 * 1024
_COMBINE_SECONDS = 6 * 3600.0
_SPARE_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class _Seconds:
    """Where the writing thread's time went, in seconds: waiting for what is fetched and decompressed, writing, checking."""

    fetch: float = 0.0
    unpack: float = 0.0
    verify: float = 0.0


def unpack_chain(
    ctx: Context,
    rec: Recorder,
    archive: Archive,
    links: tuple[Entry, ...],
    target: Path,
    tools: Tools,
    user: User | None,
    *,
    durable: bool = False,
) -> None:
    """Put the data directory that `links` (full backup first) stand for into the empty folder `target`.

    With `durable`, large files are flushed to disk on the way, and the rest is left to a sync afterwards. Adds the phases
    `fetch`, `unpack`, `verify` and, for a chain, `combine`. `user` owns the result when we are root.
    Raises DamagedError naming the object or file that is not what it was, OpsError when the disk is too small.
    """
    _room(target, links)
    spent = _Seconds()
    moved = sum(link.raw_bytes for link in links)
    first = len(rec.phases)
    ctx.progress.begin("restore", moved)
    try:
        if len(links) == 1:
            _unpack(ctx, archive, links[0], target, spent, user, durable=durable)
        else:
            _combine(ctx, rec, archive, links, target, tools, spent, user)
    finally:
        rec.phases[first:first] = [
            Phase("fetch", spent.fetch, sum(link.stored_bytes for link in links)),
            Phase("unpack", spent.unpack, moved),
            Phase("verify", spent.verify, moved),
        ]


def _combine(
    ctx: Context,
    rec: Recorder,
    archive: Archive,
    links: tuple[Entry, ...],
    target: Path,
    tools: Tools,
    spent: _Seconds,
    user: User | None,
) -> None:
    staging = target.parent / f"{target.name}.chain"
    staging.mkdir(mode=0o700)
    if user is not None:
        os.chown(staging, user.uid, user.gid)
    try:
        folders = [staging / f"{number:03d}" for number in range(len(links))]
        for link, folder in zip(links, folders, strict=True):
            folder.mkdir(mode=0o700)
            if user is not None:
                os.chown(folder, user.uid, user.gid)
            _unpack(ctx, archive, link, folder, spent, user, durable=False)
        with rec.phase("combine"):
            option = ["--link"] if tools.supports("pg_combinebackup", "--link") else []
            run(
                [tools["pg_combinebackup"], *option, *folders, "-o", target],
                deadline=_COMBINE_SECONDS,
                user=user,
                cwd=staging,
            )
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unpack(
    ctx: Context,
    archive: Archive,
    entry: Entry,
    folder: Path,
    spent: _Seconds,
    user: User | None,
    *,
    durable: bool,
) -> None:
    where = archive.locate(entry.manifest.key)
    manifest = parse_manifest(archive.read_part(entry.manifest), where)
    if manifest.system_identifier not in (None, entry.system_identifier):
        raise DamagedError(
            f"the manifest {where} is of another cluster ({manifest.system_identifier})",
            code="manifest_corrupt",
            subject=where,
        )
    with Outlet(flush=durable) as outlet:
        writer = _Writer(folder, manifest, archive.locate(f"backups/{entry.id}/"), spent, user, outlet)
        _pour(ctx, archive, entry, writer, spent)
        began = time.monotonic()
        outlet.finish()
        spent.unpack += time.monotonic() - began


def _pour(ctx: Context, archive: Archive, entry: Entry, writer: _Writer, spent: _Seconds) -> None:
    """Every part of a backup, in order, through `writer`: some threads fetch, one decompresses, this one writes."""
    reader = TarReader(writer)
    largest = max((part.bytes for part in entry.parts), default=1)
    ahead = max(2, min(_IN_FLIGHT_BYTES // max(largest, 1), 2 * archive.store.concurrency))

    def fetch(part: Part) -> tuple[Part, bytes]:
        return part, archive.fetch_part(part)

    parts = in_order(iter(entry.parts), fetch, workers=min(ahead, archive.store.concurrency), ahead=ahead)
    try:
        with contextlib.closing(parts), read_ahead(archive.inflate(parts).readinto) as blocks:
            began = time.monotonic()
            for block in blocks:
                now = time.monotonic()
                spent.fetch += now - began
                checked = spent.verify
                reader.feed(block)
                ctx.progress.advance(len(block))
                began = time.monotonic()
                spent.unpack += began - now - (spent.verify - checked)
        reader.finish()
        writer.complete()
    except TarError as error:
        raise DamagedError(
            f"backup {entry.id} cannot be unpacked: {error.message}",
            code="backup_part_corrupt",
            subject=entry.id,
        ) from error


class _Writer:
    """Writes the members of a backup's tar stream below a folder and holds each against the manifest."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        where: str,
        spent: _Seconds,
        user: User | None,
        outlet: Outlet,
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._where = where
        self._spent = spent
        self._owner = (user.uid, user.gid) if user is not None and os.geteuid() == 0 else None
        self._seen: set[str] = set()
        self._outlet = outlet
        self._file: OutFile | None = None
        self._expected: ManifestFile | None = None
        self._name = ""
        self._sum = checksum(None)

    def begin(self, member: tarfile.TarInfo) -> None:
        """Make the folder, or open the file."""
        self._name = member.name.removeprefix("./").rstrip("/")
        path = self._inside(self._name)
        if member.isdir():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._own(path)
            return
        if not member.isreg():
            raise DamagedError(
                f"{self._name} in {self._where} is neither a file nor a folder",
                code="backup_part_corrupt",
                subject=self._name,
            )
        expected = self._manifest.files.get(self._name)
        if expected is None and self._name not in EXEMPT:
            raise self._wrong("is not in the manifest")
        self._expected = expected if self._name not in EXEMPT else None
        self._sum = checksum(self._expected.algorithm if self._expected else None)
        self._seen.add(self._name)
        self._file = self._outlet.create(path, self._owner)

    def data(self, block: memoryview) -> None:
        """Write some bytes, and take them into the checksum."""
        assert self._file is not None
        self._outlet.write(self._file, block)
        began = time.monotonic()
        self._sum.update(block)
        self._spent.verify += time.monotonic() - began

    def end(self) -> None:
        """Close the file and hold it against the manifest."""
        if self._file is None:
            return
        written = self._file.size
        self._outlet.close(self._file)
        self._file = None
        if self._expected is None:
            return
        if written != self._expected.size:
            raise self._wrong(f"has {written} bytes, the manifest says {self._expected.size}")
        if self._expected.checksum and self._sum.hexdigest() != self._expected.checksum:
            raise self._wrong(
                f"has the checksum {self._sum.hexdigest()}, the manifest says {self._expected.checksum}"
            )

    def complete(self) -> None:
        """Raise DamagedError unless every file of the manifest was in the stream."""
        missing = sorted(set(self._manifest.files) - self._seen - EXEMPT)
        if missing:
            self._name = missing[0]
            raise self._wrong(f"is in the manifest but not in the backup ({len(missing)} such files)")

    def _inside(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts:
            raise self._wrong("would be written outside the data directory")
        return self._folder.joinpath(*parts)

    def _own(self, path: Path) -> None:
        if self._owner:
            os.chown(path, *self._owner)

    def _wrong(self, what: str) -> DamagedError:
        return DamagedError(
            f"file {self._name} of {self._where} {what}",
            code="backup_file_corrupt",
            subject=self._name,
            hint="this backup is not to be trusted; restore from another one and take a new backup",
        )


def _room(target: Path, links: tuple[Entry, ...]) -> None:
    needed = (
        sum(link.raw_bytes for link in links) + (links[0].raw_bytes if len(links) > 1 else 0) + _SPARE_BYTES
    )
    free = shutil.disk_usage(target).free
    if free < needed:
        raise OpsError(
            f"{target} has {format_bytes(free)} free, and {format_bytes(needed)} are needed",
            hint="name a folder on a larger disk",
        )
