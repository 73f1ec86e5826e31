"""What may go from an archive of etcd snapshots, and what must not.

Invariant: after any number of deletions, also when broken off half-way, every moment of the window has the snapshot that
it had. Therefore a snapshot leaves the catalogue first and its objects after.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.etcd import layout
from ccobs_ops.core.etcd.archive import Archive
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.etcd.layout import Entry
from ccobs_ops.core.exercise import Exercise, Recorder, passed, rfc3339
from ccobs_ops.core.guard import Permit, permit

_UNFINISHED_AGE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Choice:
    """What is kept, oldest first, what may go, and why the oldest kept one is kept."""

    keep: tuple[Entry, ...]
    drop: tuple[Entry, ...]
    reason: str


def choose(
    entries: Sequence[Entry], *, usable: Collection[str], snapshots: int, window: timedelta, now: datetime
) -> Choice:
    """Keep the newest `snapshots` and what restoring to any moment of `window` needs. Pure.

    A moment rests on the newest snapshot that was finished by then, so the newest one older than the window stays too. Only a
    snapshot whose id is in `usable` counts: what is damaged protects nothing. `entries` are oldest first.
    """
    good = [entry for entry in entries if entry.id in usable]
    edge = now - window
    before = [entry for entry in good if entry.stopped_at <= edge]
    far_end = before[-1:] or good[:1]
    oldest = min([*good[-snapshots:], *far_end], key=lambda each: each.stopped_at, default=None)
    if oldest is None:
        return Choice(tuple(entries), (), "there is no snapshot that could be restored")
    keep = tuple(entry for entry in entries if entry.stopped_at >= oldest.stopped_at)
    drop = tuple(entry for entry in entries if entry.stopped_at < oldest.stopped_at)
    why = f"{oldest.id} is the oldest needed: {snapshots} snapshots, and every moment since {rfc3339(edge)}"
    return Choice(keep, drop, why)


def prune(ctx: Context, name: str, *, dry_run: bool = True, confirmation: str | None = None) -> Exercise:
    """Delete what retention no longer needs from the archive of cluster `name`; a dry run (default) says what would go.

    `confirmation` must be the target, `etcd/<name>`, and the inventory must allow `retention`. Claims `pruned`. Raises
    RefusedError when the guard refuses, UsageError for an unknown cluster.
    """
    cluster = EtcdCluster(ctx.inventory, name)
    archive = Archive(cluster.store(), cluster.prefix)
    allowed = (
        None
        if dry_run
        else permit(
            "retention",
            cluster.target,
            allowed=cluster.config.allow,
            dry_run=dry_run,
            confirmation=confirmation,
        )
    )
    return attempt(
        ctx, cluster.target, "retention", "pruned", lambda rec: _prune(ctx, rec, cluster, archive, allowed)
    )


def _prune(
    ctx: Context, rec: Recorder, cluster: EtcdCluster, archive: Archive, allowed: Permit | None
) -> str:
    entries, findings = archive.catalogue()
    if findings:
        rec.findings.extend(findings)
        raise OpsError(
            f"nothing is deleted while the catalogue cannot be trusted: {findings[0].message}",
            hint=findings[0].hint,
        )
    usable: set[str] = set()
    for entry in entries:
        wrong = archive.check_parts(entry)
        rec.findings.extend(wrong)
        if not wrong:
            usable.add(entry.id)
    rules = cluster.config.retention
    choice = choose(entries, usable=usable, snapshots=rules.snapshots, window=rules.window, now=ctx.clock())
    left = _unfinished(ctx, archive, entries)
    rec.details |= {
        "kept": [entry.id for entry in choice.keep],
        "dropped": [entry.id for entry in choice.drop],
        "unfinished_objects": len(left),
        "reason": choice.reason,
        "dry_run": allowed is None,
    }
    rec.measurements |= {
        "snapshots_kept": float(len(choice.keep)),
        "snapshots_dropped": float(len(choice.drop)),
    }
    if allowed is not None:
        with rec.phase("delete"):
            for entry in choice.drop:
                archive.store.delete(archive.key(layout.catalogue_key(entry.id)), allowed)
                for stored in list(archive.store.list(archive.key(layout.folder_key(entry.id)))):
                    archive.store.delete(stored.key, allowed)
            for key in left:
                archive.store.delete(key, allowed)
    verb = "would go" if allowed is None else "deleted"
    told = f"{len(choice.drop)} snapshots {verb}, {len(choice.keep)} kept"
    rec.claim(passed("pruned", told))
    return told


def _unfinished(ctx: Context, archive: Archive, entries: Sequence[Entry]) -> list[str]:
    """Keys of parts that no entry names, a day old at least: what a snapshot that was killed has left."""
    known = {entry.id for entry in entries}
    prefix = archive.key("snapshots/")
    return [
        stored.key
        for stored in archive.store.list(prefix)
        if stored.key.removeprefix(prefix).split("/")[0] not in known
        and ctx.clock() - stored.modified > _UNFINISHED_AGE
    ]
