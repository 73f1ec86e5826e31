"""Base backups: from pg_basebackup's stream to the store, without a local copy of the database.

The stream is compressed in frames on all cores and stored in parts of whole frames, side by side, with a bound on what is
in flight. The catalogue entry is written last, after every part is listed with the right size and ETag and the WAL that the
backup needs is in the archive: what the catalogue shows can be restored.
"""

from __future__ import annotations

import contextlib
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path

from ccobs_ops.core.archive import Part, amounts, compress, in_time
from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError, UnknownError
from ccobs_ops.core.exercise import Exercise, Recorder, Severity, passed
from ccobs_ops.core.folders import only_one
from ccobs_ops.core.guard import permit
from ccobs_ops.core.postgres import layout
from ccobs_ops.core.postgres.archive import Archive, chain
from ccobs_ops.core.postgres.layout import Entry
from ccobs_ops.core.postgres.manifest import Manifest, parse_manifest
from ccobs_ops.core.postgres.server import Cluster, ServerFacts, Tools
from ccobs_ops.core.postgres.tarstream import TarReader
from ccobs_ops.core.postgres.upload import upload
from ccobs_ops.core.postgres.wal import format_lsn, segment_name
from ccobs_ops.core.process import Child, ProcessError, spawn
from ccobs_ops.core.scratch import scratch
from ccobs_ops.core.storage import md5_hex
from ccobs_ops.core.units import format_bytes, format_seconds

_WAL_WAIT_SECONDS = 120.0


def back_up(ctx: Context, name: str, *, incremental: bool | None = None) -> Exercise:
    """Take a base backup of cluster `name`: full, incremental, or (None) as `backup.full_every` says.

    Claims `complete` (every part stored and listed, manifest kept, its WAL archived) and `in_time`
    (`objectives.backup_duration`). Measures duration, raw and stored bytes. Raises UsageError for an unknown cluster.
    """
    cluster = Cluster(ctx.inventory, name)
    archive = Archive(cluster.store(), cluster.prefix)
    exercise = attempt(
        ctx,
        cluster.target,
        "backup",
        "complete",
        lambda rec: _back_up(ctx, rec, cluster, archive, incremental=incremental),
    )
    if "retention" in cluster.config.allow:
        from ccobs_ops.core.postgres.retention import prune  # noqa: PLC0415 - it imports this package's archive

        prune(ctx, name, dry_run=False, confirmation=cluster.target)
    return exercise


def _back_up(
    ctx: Context, rec: Recorder, cluster: Cluster, archive: Archive, *, incremental: bool | None
) -> str | None:
    busy = f"a backup of {cluster.target} is running already"
    with (
        only_one(cluster.state / "backup.lock", busy, hint="wait for it to end"),
        contextlib.ExitStack() as stack,
    ):
        with rec.phase("prepare"):
            facts = cluster.facts()
            tools = cluster.tools(facts.major)
            _preconditions(ctx, rec, cluster, facts)
            parent = _parent(cluster, archive, facts, incremental=incremental)
        kind = "full" if parent is None else "incr"
        started = ctx.clock()
        backup_id = f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{kind}"
        undo = stack.enter_context(contextlib.ExitStack())
        undo.callback(_discard, archive, backup_id)
        with rec.phase("stream") as meter:
            manifest, data, parts = _stream(ctx, cluster, archive, tools, backup_id, parent)
            meter.add(sum(part.raw_bytes for part in parts))
        with rec.phase("wal"):
            stopped, xmax = _end_marks(cluster)
            wal = manifest.wal[-1]
            _await_wal(ctx, archive, wal.timeline, manifest.wal[0].start_lsn, wal.end_lsn, facts.segment_size)
        with rec.phase("catalogue"):
            packed = compress(data, 9)
            stored = archive.store.put(archive.key(layout.manifest_key(backup_id)), packed, lock=True)
            entry = Entry(
                id=backup_id,
                parent=None if parent is None else parent.id,
                system_identifier=facts.system_identifier,
                server_version=facts.version,
                timeline=wal.timeline,
                segment_size=facts.segment_size,
                start_lsn=manifest.wal[0].start_lsn,
                stop_lsn=wal.end_lsn,
                started_at=started,
                stopped_at=stopped,
                stop_xmax=xmax,
                raw_bytes=sum(part.raw_bytes for part in parts),
                stored_bytes=sum(part.bytes for part in parts),
                manifest=Part(layout.manifest_key(backup_id), stored.bytes, len(data), md5_hex(packed)),
                parts=tuple(parts),
            )
            wrong = archive.check_parts(entry)
            if wrong:
                rec.findings.extend(wrong)
                raise OpsError(f"backup {backup_id} is not listed as it was stored: {wrong[0].message}")
            archive.store.put(archive.key(layout.catalogue_key(backup_id)), entry.dump(), lock=True)
        undo.pop_all()
    return _account(ctx, rec, cluster, entry)


def _account(ctx: Context, rec: Recorder, cluster: Cluster, entry: Entry) -> str:
    seconds = (ctx.clock() - rec.started_at).total_seconds()
    rec.measurements |= amounts(entry, seconds)
    rec.details |= {
        "backup_id": entry.id,
        "parent": entry.parent,
        "timeline": entry.timeline,
        "start_lsn": format_lsn(entry.start_lsn),
        "stop_lsn": format_lsn(entry.stop_lsn),
        "parts": len(entry.parts),
        "server_version": entry.server_version,
    }
    size = f"{format_bytes(entry.raw_bytes)} stored as {format_bytes(entry.stored_bytes)}"
    summary = f"backup {entry.id}: {size} in {format_seconds(seconds)}"
    rec.claim(passed("complete", f"{summary}, {len(entry.parts)} parts and manifest listed, WAL archived"))
    rec.claim(in_time(seconds, cluster.config.objectives.backup_duration))
    return summary


def _preconditions(ctx: Context, rec: Recorder, cluster: Cluster, facts: ServerFacts) -> None:
    with cluster.connect() as connection:
        spaces = connection.execute(
            "select string_agg(spcname, ', ') from pg_tablespace where spcname not in ('pg_default', 'pg_global')"
        ).fetchone()
        slot = connection.execute(
            "select active, wal_status from pg_replication_slots where slot_name = %s", [cluster.slot]
        ).fetchone()
        allowed = connection.execute(
            "select rolreplication or rolsuper from pg_roles where rolname = current_user"
        ).fetchone()
    if not (allowed and allowed[0]):
        raise OpsError(
            f"replication is not allowed for the role that {cluster.target} is reached with",
            hint="alter role … replication; and let it in by a `replication` line of pg_hba.conf",
        )
    if spaces and spaces[0]:
        raise OpsError(
            f"{cluster.target} has tablespaces ({spaces[0]}): pg_basebackup streams a cluster with one only",
            hint="move their tables back to pg_default; tablespaces are not supported",
        )
    if slot is None:
        raise OpsError(
            f"the replication slot {cluster.slot!r} is missing: nobody archives the WAL that a backup needs",
            hint=f"start the agent: ccobs-ops postgres agent {cluster.name}",
        )
    if slot[1] == "lost":
        raise OpsError(
            f"the replication slot {cluster.slot!r} is lost: the server has removed WAL that was not archived",
            hint="restart the agent; it makes a new slot and records the gap",
        )
    if not slot[0]:
        rec.find(
            "archiver_stopped",
            Severity.WARNING,
            cluster.slot,
            f"nobody streams from the replication slot {cluster.slot!r}",
            f"start the agent: ccobs-ops postgres agent {cluster.name}",
        )
    if not facts.data_checksums:
        rec.find(
            "no_data_checksums",
            Severity.WARNING,
            cluster.target,
            "the cluster has no data checksums: damage on its disk is backed up unnoticed",
            "pg_checksums --enable in a maintenance window",
        )
    if ctx.ledger.heartbeat(cluster.target, "wal") is None:
        ctx.progress.note(f"no agent has reported for {cluster.target} yet")


def _parent(
    cluster: Cluster, archive: Archive, facts: ServerFacts, *, incremental: bool | None
) -> Entry | None:
    every = cluster.config.backup.full_every
    if incremental is False or (incremental is None and every == 1):
        return None
    entries = [e for e in archive.catalogue()[0] if e.system_identifier == facts.system_identifier]
    if not entries:
        if incremental:
            raise OpsError(
                "there is no backup to build an incremental one on", hint="take a full backup first"
            )
        return None
    if facts.major < 17 or not facts.summarize_wal:
        if incremental:
            raise OpsError(
                f"an incremental backup needs PostgreSQL 17 and summarize_wal = on; {cluster.target} has "
                f"{facts.version} and {'on' if facts.summarize_wal else 'off'}",
                hint="set summarize_wal = on, or take a full backup",
            )
        return None
    links = chain(entries, entries[-1])
    return entries[-1] if incremental or len(links) < every else None


def _stream(
    ctx: Context, cluster: Cluster, archive: Archive, tools: Tools, backup_id: str, parent: Entry | None
) -> tuple[Manifest, bytes, list[Part]]:
    config = cluster.config.backup
    argv: list[str | Path] = [
        tools["pg_basebackup"],
        f"--dbname={cluster.config.dsn}",
        "--pgdata=-",
        "--format=tar",
        "--wal-method=none",
        f"--checkpoint={config.checkpoint}",
        f"--manifest-checksums={config.manifest_checksums}",
        f"--label=ccobs-ops {backup_id}",
        "--no-password",
    ]
    if config.max_rate is not None:
        argv.append(f"--max-rate={max(config.max_rate // 1024, 32)}k")
    with scratch("backup") as folder:
        if parent is not None:
            path = folder / "backup_manifest"
            path.write_bytes(archive.read_part(parent.manifest))
            argv.append(f"--incremental={path}")
        keeper = _ManifestKeeper()
        reader = TarReader(keeper)
        estimate = _size(cluster) if parent is None else None
        ctx.progress.begin("stream", estimate)
        with spawn(argv, env=cluster.client_environment(), stdout=subprocess.PIPE) as child:
            parts = upload(ctx, cluster, archive, backup_id, child, reader)
            _finish(child, cluster)
    reader.finish()
    where = archive.locate(layout.manifest_key(backup_id))
    return parse_manifest(bytes(keeper.manifest), where), bytes(keeper.manifest), parts


def _finish(child: Child, cluster: Cluster) -> None:
    try:
        child.check(60)
    except ProcessError as error:
        hints = {
            "pg_hba.conf": "let the role in by a `replication` line of pg_hba.conf",
            "max_wal_senders": "raise max_wal_senders, or end a connection that is not needed",
            "No space left": "free space on the server",
            "WAL summar": "WAL summaries do not reach back to the last backup; take a full one",
            "manifest": "the last backup does not fit this server any more; take a full one",
        }
        hint = next((text for word, text in hints.items() if word in error.tail), "see the server's log")
        raise OpsError(f"the backup of {cluster.target} broke off: {error.message}", hint=hint) from error


def _end_marks(cluster: Cluster) -> tuple[datetime, int]:
    with cluster.connect() as connection:
        row = connection.execute(
            "select clock_timestamp(), pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        ).fetchone()
    assert row is not None
    return row[0].astimezone(UTC), row[1]


def _await_wal(ctx: Context, archive: Archive, timeline: int, start: int, stop: int, size: int) -> None:
    ctx.progress.begin("wal")
    waiting = [segment_name(timeline, n, size) for n in range(start // size, (stop - 1) // size + 1)]
    began = ctx.timer()
    while True:
        missing = [name for name in waiting if not archive.has_segment(name)]
        if not missing:
            return
        waiting = missing
        if ctx.timer() - began > _WAL_WAIT_SECONDS:
            raise OpsError(
                f"segment {missing[0]}, which the backup needs, was not archived within "
                f"{format_seconds(_WAL_WAIT_SECONDS)}",
                hint="see whether the agent runs and what it says; on a standby, switch WAL on the primary",
            )
        ctx.sleep(0.25)


def _size(cluster: Cluster) -> int | None:
    with cluster.connect() as connection:
        row = connection.execute("select sum(pg_database_size(oid))::bigint from pg_database").fetchone()
    return row[0] if row else None


def _discard(archive: Archive, backup_id: str) -> None:
    """Take back the parts of a backup that did not come to an end; whatever stays is removed by retention later."""
    allowed = permit("discard", backup_id, allowed={"discard"}, dry_run=False, confirmation=backup_id)
    with contextlib.suppress(UnknownError):
        for stored in list(archive.store.list(archive.key(layout.folder_key(backup_id)))):
            archive.store.delete(stored.key, allowed)


class _ManifestKeeper:
    """Keeps the manifest that pg_basebackup appends to the stream, and lets everything else pass by."""

    def __init__(self) -> None:
        self.manifest = bytearray()
        self._keep = False

    def begin(self, member: tarfile.TarInfo) -> None:
        """A member starts."""
        self._keep = member.name == "backup_manifest"

    def data(self, block: memoryview) -> None:
        """Some of its bytes."""
        if self._keep:
            self.manifest += block

    def end(self) -> None:
        """It is complete."""
        self._keep = False
