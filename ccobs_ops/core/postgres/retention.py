"""What may go from an archive, and what must not.

Invariant: after any number of deletions, in any order, also when broken off half-way, every moment of the window can be
restored as before, and so can every kept backup. Therefore a backup leaves the catalogue first and its objects after, and WAL
goes only when no kept backup and no moment of the window needs it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.exercise import Exercise, Recorder, passed, rfc3339
from ccobs_ops.core.guard import Permit
from ccobs_ops.core.postgres import layout
from ccobs_ops.core.postgres.archive import Archive, WalListing, chain
from ccobs_ops.core.postgres.layout import Entry
from ccobs_ops.core.postgres.server import Cluster
from ccobs_ops.core.postgres.view import restorable
from ccobs_ops.core.postgres.wal import only, segment_number
from ccobs_ops.core.retention import Choice, oldest_needed, only_if_trusted, permitted


def choose(
    entries: Sequence[Entry], *, usable: Collection[str], backups: int, window: timedelta, now: datetime
) -> Choice[Entry]:
    """Keep the newest `backups` full backups, those that the window rests on, and every incremental one whose chain is
    kept. Pure.

    The window rests on the newest full backup that is older than it, and on every full one inside it; while none is that old,
    on all of them. Only a backup whose id is in `usable` counts as one: what is damaged, or lies on a timeline that was
    left, protects nothing. `entries` are oldest first.
    """
    full = [entry for entry in entries if not entry.incremental]
    good = [entry for entry in full if entry.id in usable]
    edge = now - window
    oldest = oldest_needed(good, newest=backups, edge=edge)
    if oldest is None:
        return Choice(tuple(entries), (), "there is no full backup that could be restored")
    kept_ids = {entry.id for entry in full if entry.stopped_at >= oldest.stopped_at}
    keep: list[Entry] = []
    drop: list[Entry] = []
    for entry in entries:
        try:
            root = chain(entries, entry)[0]
        except DamagedError:
            root = entry  # its root is gone: nothing can be restored from it
        (keep if root.id in kept_ids else drop).append(entry)
    why = f"{oldest.id} is the oldest needed: {backups} full backups, and every moment since {rfc3339(edge)}"
    drop.sort(key=lambda e: _depth(entries, e), reverse=True)  # no chain is ever seen without its root
    return Choice(tuple(keep), tuple(drop), why)


def _depth(entries: Sequence[Entry], entry: Entry) -> int:
    try:
        return len(chain(entries, entry))
    except DamagedError:
        return 0


def prune(ctx: Context, name: str, *, dry_run: bool = True, confirmation: str | None = None) -> Exercise:
    """Delete what retention no longer needs from the archive of cluster `name`; a dry run (default) says what would go.

    `confirmation` must be the target, `postgres/<name>`, and the inventory must allow `retention`. Claims `pruned`.
    Raises RefusedError when the guard refuses, UsageError for an unknown cluster.
    """
    cluster = Cluster(ctx.inventory, name)
    archive = Archive(cluster.store(), cluster.prefix)
    allowed = permitted(
        cluster.target, allowed=cluster.config.allow, dry_run=dry_run, confirmation=confirmation
    )
    return attempt(
        ctx, cluster.target, "retention", "pruned", lambda rec: _prune(ctx, rec, cluster, archive, allowed)
    )


def _prune(ctx: Context, rec: Recorder, cluster: Cluster, archive: Archive, allowed: Permit | None) -> str:
    entries, findings = archive.catalogue()
    only_if_trusted(rec, findings)
    rules = cluster.config.retention
    listing = archive.wal()
    history = (
        archive.history(listing, max([*listing.timelines, entries[-1].timeline])) if entries else only(1)
    )
    usable = {entry.id for entry in restorable(archive, entries, history, rec.findings)}
    choice = choose(entries, usable=usable, backups=rules.backups, window=rules.window, now=ctx.clock())
    wal = _unneeded_wal(listing, choice.keep)
    left = archive.unfinished("backups/", {entry.id for entry in entries}, ctx.clock())
    rec.details |= {
        "kept": [entry.id for entry in choice.keep],
        "dropped": [entry.id for entry in choice.drop],
        "wal_segments": len(wal),
        "unfinished_objects": len(left),
        "reason": choice.reason,
        "dry_run": allowed is None,
    }
    rec.measurements |= {
        "backups_kept": float(len(choice.keep)),
        "backups_dropped": float(len(choice.drop)),
        "wal_segments_dropped": float(len(wal)),
    }
    if allowed is not None:
        with rec.phase("delete"):
            for entry in choice.drop:
                archive.remove(layout.catalogue_key(entry.id), layout.folder_key(entry.id), allowed)
            for key in (*wal, *left):
                archive.store.delete(key, allowed)
    verb = "would go" if allowed is None else "deleted"
    told = f"{len(choice.drop)} backups and {len(wal)} WAL segments {verb}, {len(choice.keep)} backups kept"
    rec.claim(passed("pruned", told))
    return told


def _unneeded_wal(listing: WalListing, keep: Sequence[Entry]) -> list[str]:
    """Keys of WAL before the oldest start of a kept backup. History files always stay: they are small and irreplaceable."""
    if not keep:
        return []
    size = keep[0].segment_size
    first = min(entry.start_lsn // size for entry in keep)
    return [s.key for s in listing.segments.values() if segment_number(s.name, size) < first]
