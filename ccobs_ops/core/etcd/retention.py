"""What may go from an archive of etcd snapshots, and what must not.

Invariant: after any number of deletions, also when broken off half-way, every moment of the window has the snapshot that
it had. Therefore a snapshot leaves the catalogue first and its objects after.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.etcd import layout
from ccobs_ops.core.etcd.archive import Archive
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.etcd.layout import Entry
from ccobs_ops.core.exercise import Exercise, Recorder, passed, rfc3339
from ccobs_ops.core.guard import Permit
from ccobs_ops.core.retention import Choice, oldest_needed, only_if_trusted, permitted


def choose(
    entries: Sequence[Entry], *, usable: Collection[str], snapshots: int, window: timedelta, now: datetime
) -> Choice[Entry]:
    """Keep the newest `snapshots` and what restoring to any moment of `window` needs. Pure.

    A moment rests on the newest snapshot that was finished by then, so the newest one older than the window stays too. Only a
    snapshot whose id is in `usable` counts: what is damaged protects nothing. `entries` are oldest first.
    """
    good = [entry for entry in entries if entry.id in usable]
    edge = now - window
    oldest = oldest_needed(good, newest=snapshots, edge=edge)
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
    allowed = permitted(
        cluster.target, allowed=cluster.config.allow, dry_run=dry_run, confirmation=confirmation
    )
    return attempt(
        ctx, cluster.target, "retention", "pruned", lambda rec: _prune(ctx, rec, cluster, archive, allowed)
    )


def _prune(
    ctx: Context, rec: Recorder, cluster: EtcdCluster, archive: Archive, allowed: Permit | None
) -> str:
    entries, findings = archive.catalogue()
    only_if_trusted(rec, findings)
    usable: set[str] = set()
    for entry in entries:
        wrong = archive.check_parts(entry)
        rec.findings.extend(wrong)
        if not wrong:
            usable.add(entry.id)
    rules = cluster.config.retention
    choice = choose(entries, usable=usable, snapshots=rules.snapshots, window=rules.window, now=ctx.clock())
    left = archive.unfinished("snapshots/", {entry.id for entry in entries}, ctx.clock())
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
                archive.remove(layout.catalogue_key(entry.id), layout.folder_key(entry.id), allowed)
            for key in left:
                archive.store.delete(key, allowed)
    verb = "would go" if allowed is None else "deleted"
    told = f"{len(choice.drop)} snapshots {verb}, {len(choice.keep)} kept"
    rec.claim(passed("pruned", told))
    return told
