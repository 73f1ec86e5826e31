"""The exercise `archive`: which snapshots there are, whether all of each is there, and how old the newest is."""

from __future__ import annotations

from datetime import datetime

from ccobs_ops.core.archive import critical
from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.etcd.archive import Archive
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.exercise import Exercise, Finding, Recorder, failed, passed, rfc3339
from ccobs_ops.core.units import format_seconds


def look_over(ctx: Context, name: str, *, deep: bool = False, store: str | None = None) -> Exercise:
    """List the snapshots of cluster `name` and check that every object of each is there, as it was stored.

    `deep` also reads every byte and checks every trailer; `store` looks at the copy there. Claims `intact` and `fresh`
    (`objectives.backup_age`). Raises UsageError for an unknown cluster or store.
    """
    cluster = EtcdCluster(ctx.inventory, name)
    archive = Archive(cluster.store(store, read_only=True), cluster.prefix)
    return attempt(
        ctx,
        cluster.target,
        "archive",
        "intact",
        lambda rec: _look(ctx, rec, cluster, archive, deep=deep),
        must_record=False,
    )


def _look(ctx: Context, rec: Recorder, cluster: EtcdCluster, archive: Archive, *, deep: bool) -> str:
    with rec.phase("list"):
        entries, findings = archive.catalogue()
        damaged: dict[str, list[Finding]] = {}
        for entry in entries:
            if wrong := archive.check_parts(entry):
                damaged[entry.id] = wrong
    if deep:
        ctx.progress.begin("read", sum(entry.raw_bytes for entry in entries))
        with rec.phase("read") as meter:
            for entry in entries:
                try:
                    for block in archive.blocks(entry):
                        meter.add(len(block))
                        ctx.progress.advance(len(block))
                except DamagedError as error:
                    damaged.setdefault(entry.id, []).append(critical(error))
    for wrong in damaged.values():
        findings += wrong
    rec.findings.extend(dict.fromkeys(findings))
    rec.details |= {
        "snapshots": [
            {
                "id": entry.id,
                "finished_at": rfc3339(entry.stopped_at),
                "revision": entry.revision,
                "keys": entry.counts.get(""),
                "raw_bytes": entry.raw_bytes,
                "stored_bytes": entry.stored_bytes,
                "member": entry.member,
                "hash": entry.hash,
                "intact": entry.id not in damaged,
            }
            for entry in entries
        ],
    }
    rec.measurements |= {
        "snapshots": float(len(entries)),
        "stored_bytes": float(sum(entry.stored_bytes for entry in entries)),
    }
    whole = [entry for entry in entries if entry.id not in damaged]
    told = f"{len(whole)} of {len(entries) + sum(f.code == 'catalogue_corrupt' for f in findings)} snapshots whole"
    how = "every byte and trailer read" if deep else "every object listed as it was stored"
    if findings:
        rec.claim(failed("intact", f"{told}: {findings[0].message}"))
    else:
        rec.claim(passed("intact", f"{told}, {how}") if entries else failed("intact", "there is no snapshot"))
    _fresh(ctx, rec, cluster, whole[-1].started_at if whole else None)
    newest = f"; the newest is {whole[-1].id} of revision {whole[-1].revision}" if whole else ""
    return told + newest


def _fresh(ctx: Context, rec: Recorder, cluster: EtcdCluster, newest: datetime | None) -> None:
    limit = cluster.config.objectives.backup_age.total_seconds()
    if newest is None:
        rec.claim(failed("fresh", "there is no whole snapshot"))
        return
    age = (ctx.clock() - newest).total_seconds()
    rec.measurements["snapshot_age_seconds"] = age
    told = f"the newest whole snapshot is {format_seconds(age)} old, promised at most {format_seconds(limit)}"
    rec.claim(passed("fresh", told) if age <= limit else failed("fresh", told))
