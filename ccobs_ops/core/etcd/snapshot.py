"""Snapshots: from a healthy member's stream to the store, without a local copy.

The stream is cut into parts, each compressed, checked and stored by itself, with a bound on what is in flight; its trailer is
checked on the way. Then the snapshot is opened where it lies, to learn its exact revision from its own pages, and the member
is asked for hash and key counts at that revision. The catalogue entry is written last: what the catalogue shows is whole.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from queue import SimpleQueue

from ccobs_ops.core.archive import Part, amounts, compress, in_time
from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError, OpsError, UnknownError
from ccobs_ops.core.etcd import layout
from ccobs_ops.core.etcd.access import Access, Block, CompactedError, EndpointError, MemberStatus, View
from ccobs_ops.core.etcd.archive import Archive, TrailerCheck
from ccobs_ops.core.etcd.boltdb import Facts
from ccobs_ops.core.etcd.choose import candidates
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.etcd.layout import Entry
from ccobs_ops.core.exercise import Exercise, Recorder, Severity, failed, passed, unknown
from ccobs_ops.core.folders import only_one
from ccobs_ops.core.guard import permit
from ccobs_ops.core.storage import in_order, md5_hex
from ccobs_ops.core.units import format_bytes, format_seconds

_IN_FLIGHT_BYTES = 48 * 1024 * 1024
_BUSY = "a snapshot of {} is being taken already"


def take_snapshot(ctx: Context, name: str) -> Exercise:
    """Take a snapshot of cluster `name` from a healthy, caught-up member, a follower if there is one.

    Claims `complete` (every part stored and listed, the trailer right, its revision read back from the store) and `in_time`
    (`objectives.backup_duration`). Where the inventory allows `retention`, prunes afterwards. Raises UsageError for an
    unknown cluster.
    """
    cluster = EtcdCluster(ctx.inventory, name)
    archive = Archive(cluster.store(), cluster.prefix)
    exercise = attempt(
        ctx, cluster.target, "snapshot", "complete", lambda rec: _take(ctx, rec, cluster, archive)
    )
    if (
        "retention" in cluster.config.allow
        and (done := exercise.claim("complete"))
        and done.verdict == "PASSED"
    ):
        from ccobs_ops.core.etcd.retention import prune  # noqa: PLC0415 - it needs the archive of this package

        prune(ctx, name, dry_run=False, confirmation=cluster.target)
    return exercise


def _take(ctx: Context, rec: Recorder, cluster: EtcdCluster, archive: Archive) -> str:
    with (
        only_one(cluster.state / "snapshot.lock", _BUSY.format(cluster.target), hint="wait for it to end"),
        cluster.access() as access,
    ):
        with rec.phase("prepare"):
            view = access.look()
            chosen = candidates(view, max_lag=cluster.config.snapshot.max_lag)
            rec.findings.extend(chosen.findings)
        if not chosen.usable:
            why = "; ".join(each.message for each in chosen.findings) or "no endpoint is named"
            raise UnknownError(
                f"no member of {cluster.target} may give a snapshot: {why}",
                hint=next((each.hint for each in chosen.findings if each.hint), "see etcd health"),
            )
        for last, member in ((each is chosen.usable[-1], each) for each in chosen.usable):
            try:
                entry = _from(ctx, rec, cluster, archive, access, view, member)
                return _account(ctx, rec, cluster, entry)
            except EndpointError as error:
                rec.find("member_failed", Severity.WARNING, member.endpoint, error.message, error.hint)
                if last:
                    raise
                ctx.progress.note(f"{error.message}; trying the next member")
    raise AssertionError("the last candidate either gave a snapshot or raised")


def _from(
    ctx: Context,
    rec: Recorder,
    cluster: EtcdCluster,
    archive: Archive,
    access: Access,
    view: View,
    member: MemberStatus,
) -> Entry:
    started = ctx.clock()
    snapshot_id = f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    with contextlib.ExitStack() as undo:
        undo.callback(_discard, archive, snapshot_id)
        ctx.progress.begin("stream", member.db_bytes)
        check = TrailerCheck()
        with rec.phase("stream") as meter:
            deadline = cluster.config.snapshot.deadline.total_seconds()
            with access.snapshot(member.endpoint, deadline) as stream:
                parts = _store(ctx, cluster, archive, snapshot_id, stream, check)
            meter.add(check.bytes)
        stopped = ctx.clock()
        if problem := check.problem():
            raise DamagedError(
                f"{member.endpoint} sent a snapshot that is damaged: {problem}",
                code="snapshot_corrupt",
                subject=member.endpoint,
                hint="see whether that member still runs; nothing was kept of it, take another one",
            )
        with rec.phase("examine"):
            entry = _examine(archive, snapshot_id, view, member, parts, check, (started, stopped))
            entry = _measured(rec, cluster, access, member, entry)
        _keep_material(rec, cluster, archive, snapshot_id)
        with rec.phase("catalogue"):
            wrong = archive.check_parts(entry)
            if wrong:
                rec.findings.extend(wrong)
                raise OpsError(f"snapshot {entry.id} is not listed as it was stored: {wrong[0].message}")
            archive.store.put(archive.key(layout.catalogue_key(entry.id)), entry.dump(), lock=True)
        undo.pop_all()
    return entry


def _store(
    ctx: Context,
    cluster: EtcdCluster,
    archive: Archive,
    snapshot_id: str,
    stream: Iterator[Block],
    check: TrailerCheck,
) -> list[Part]:
    config = cluster.config.snapshot
    ahead = max(2, min(archive.store.concurrency, _IN_FLIGHT_BYTES // config.part_size))
    free: SimpleQueue[bytearray] = SimpleQueue()  # the same few buffers go round
    for _ in range(ahead + 1):
        free.put(bytearray(config.part_size))

    def numbered() -> Iterator[tuple[int, bytearray, int]]:
        for number, (buffer, filled) in enumerate(_cut(stream, free)):
            check.feed(memoryview(buffer)[:filled])
            ctx.progress.advance(filled)
            yield number, buffer, filled

    def store(item: tuple[int, bytearray, int]) -> Part:
        number, buffer, size = item
        try:
            packed = compress(memoryview(buffer)[:size], config.compression_level)
        finally:
            free.put(buffer)
        key = layout.part_key(snapshot_id, number)
        archive.store.put(archive.key(key), packed, lock=True)
        return Part(key, len(packed), size, md5_hex(packed))

    return list(in_order(numbered(), store, workers=min(ahead, 4), ahead=ahead))


def _cut(stream: Iterator[Block], free: SimpleQueue[bytearray]) -> Iterator[tuple[bytearray, int]]:
    """The stream in buffers taken from `free`, each full but the last, with the number of bytes in it."""
    buffer, filled = free.get(), 0
    for block in stream:
        view = memoryview(block)
        while len(view):
            taken = min(len(view), len(buffer) - filled)
            buffer[filled : filled + taken] = view[:taken]
            filled += taken
            view = view[taken:]
            if filled == len(buffer):
                yield buffer, filled
                buffer, filled = free.get(), 0
    if filled:
        yield buffer, filled


def _examine(
    archive: Archive,
    snapshot_id: str,
    view: View,
    member: MemberStatus,
    parts: list[Part],
    check: TrailerCheck,
    span: tuple[datetime, datetime],
) -> Entry:
    """The catalogue entry, as far as the snapshot itself tells it."""
    entry = Entry(
        id=snapshot_id,
        cluster_id=f"{member.cluster_id:x}",
        member=view.name_of(member.member_id),
        etcd_version=member.version,
        revision=0,
        compact_revision=0,
        raft_term=0,
        raft_index=0,
        members=view.members,
        db_bytes=check.bytes - layout.TRAILER_BYTES,
        hash=None,
        hash_compact_revision=None,
        counts={},
        alarms=(),
        sha256=check.digest,
        started_at=span[0],
        stopped_at=span[1],
        raw_bytes=check.bytes,
        stored_bytes=sum(part.bytes for part in parts),
        parts=tuple(parts),
    )
    facts: Facts = archive.open(entry).facts()
    return _replace(
        entry,
        revision=facts.revision,
        compact_revision=facts.compact_revision,
        raft_term=facts.raft_term,
        raft_index=facts.consistent_index,
    )


def _measured(
    rec: Recorder, cluster: EtcdCluster, access: Access, member: MemberStatus, entry: Entry
) -> Entry:
    """`entry` with hash and key counts at its revision, which the member that gave it still has."""
    alarms: tuple[str, ...] = ()
    with contextlib.suppress(UnknownError):
        alarms = tuple(sorted({alarm.kind for alarm in access.alarms(member.endpoint)}))
    for kind in alarms:
        rec.find(
            "alarm",
            Severity.CRITICAL,
            kind,
            f"the alarm {kind} is on, and is in this snapshot: a restored cluster has it too",
            "see docs/runbooks/etcd.md",
        )
    counts: dict[str, int] = {}
    found = None
    try:
        for prefix in ("", *cluster.config.count_prefixes):
            counts[prefix] = access.count(member.endpoint, prefix, entry.revision)
        found = access.hash_kv(member.endpoint, entry.revision)
    except CompactedError as error:
        rec.find(
            "not_hashed",
            Severity.WARNING,
            entry.id,
            f"key counts and hash at revision {entry.revision} could not be had: {error.message}",
            "it was compacted while the snapshot ran; the next one will have them",
        )
    return _replace(
        entry,
        alarms=alarms,
        counts=counts,
        hash=found.hash if found else None,
        hash_compact_revision=found.compact_revision if found else None,
    )


def _keep_material(rec: Recorder, cluster: EtcdCluster, archive: Archive, snapshot_id: str) -> None:
    """Claim `material`, where the inventory asks for it; a snapshot is one without it, so that nothing of it stops one."""
    if cluster.config.material is None:
        return
    from ccobs_ops.core.etcd.material import collect  # noqa: PLC0415 - off by default

    try:
        with rec.phase("material"):
            sealed = collect(cluster, archive, layout.folder_key(snapshot_id))
    except OpsError as error:
        rec.find("material_missing", Severity.CRITICAL, cluster.target, error.message, error.hint)
        made = unknown if isinstance(error, UnknownError) else failed
        rec.claim(made("material", error.message.splitlines()[0]))
        return
    if sealed is not None:
        rec.measurements["material_bytes"] = float(sealed.stored_bytes)
        rec.details["material"] = sealed.how
        rec.claim(passed("material", f"{sealed.files} files stored, encrypted to {sealed.how}"))


def _replace(entry: Entry, **changes: object) -> Entry:
    from dataclasses import replace  # noqa: PLC0415

    return replace(entry, **changes)  # pyright: ignore[reportArgumentType]


def _account(ctx: Context, rec: Recorder, cluster: EtcdCluster, entry: Entry) -> str:
    seconds = (ctx.clock() - rec.started_at).total_seconds()
    keys = entry.counts.get("", 0)
    rec.measurements |= amounts(entry, seconds) | {
        "keys": float(keys),
        "revision": float(entry.revision),
    }
    rec.details |= {
        "snapshot_id": entry.id,
        "member": entry.member,
        "revision": entry.revision,
        "compact_revision": entry.compact_revision,
        "raft_term": entry.raft_term,
        "hash": entry.hash,
        "members": ", ".join(each.name or f"{each.id:x}" for each in entry.members),
        "counts": {prefix or "all": count for prefix, count in entry.counts.items()},
        "parts": len(entry.parts),
        "etcd_version": entry.etcd_version,
    }
    size = f"{format_bytes(entry.raw_bytes)} stored as {format_bytes(entry.stored_bytes)}"
    summary = f"snapshot {entry.id} of revision {entry.revision} from {entry.member}: {size} in {format_seconds(seconds)}"
    rec.claim(passed("complete", f"{summary}, trailer right, {len(entry.parts)} parts listed"))
    rec.claim(in_time(seconds, cluster.config.objectives.backup_duration))
    return summary


def _discard(archive: Archive, snapshot_id: str) -> None:
    """Take back a snapshot that did not come to an end, its entry first. What stays is removed by retention later."""
    allowed = permit("discard", snapshot_id, allowed={"discard"}, dry_run=False, confirmation=snapshot_id)
    with contextlib.suppress(OpsError):
        archive.remove(layout.catalogue_key(snapshot_id), layout.folder_key(snapshot_id), allowed)
