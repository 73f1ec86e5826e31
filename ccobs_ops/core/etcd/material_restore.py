"""The exercise `material`: open what was stored of a control plane's files, into a folder of this host."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.etcd import layout
from ccobs_ops.core.etcd.archive import Archive, pick
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.etcd.layout import Entry
from ccobs_ops.core.etcd.material import LABEL, extract
from ccobs_ops.core.exercise import Exercise, Recorder, passed
from ccobs_ops.core.secrets import resolve


def restore_material(
    ctx: Context,
    name: str,
    *,
    to: Path,
    snapshot: str | None = None,
    at: datetime | None = None,
    store: str | None = None,
    identity: str | None = None,
) -> Exercise:
    """Decrypt the control plane's files of cluster `name` into `to`, a new or empty directory (0700).

    Of `snapshot`, or of the newest finished by `at` that has them, or of the newest that has them. `identity` refers to an
    age identity (`file:PATH`, `env:NAME`, `secretsmanager:ARN`); not needed for what a KMS key sealed. Claim `opened`. A
    ledger that cannot be reached stops nothing. Raises UsageError for an unknown cluster or a reference to no secret.
    """
    cluster = EtcdCluster(ctx.inventory, name)
    archive = Archive(cluster.store(store, read_only=True), cluster.prefix)
    secret = resolve(identity, base=ctx.inventory.path.parent) if identity else None

    def body(rec: Recorder) -> str:
        with rec.phase("plan"):
            entry = _chosen(archive, snapshot, at)
        rec.details |= {"snapshot_id": entry.id, "directory": str(to)}
        with rec.phase("open") as meter:
            sealed, names = extract(cluster, archive, layout.folder_key(entry.id), to, identity=secret)
            meter.add(sealed.raw_bytes)
        rec.details |= {"encrypted_to": sealed.how, "files": list(names)}
        rec.measurements["files"] = float(sealed.files)
        told = f"{sealed.files} files stored with snapshot {entry.id} are in {to}"
        rec.claim(passed("opened", told))
        return told

    return attempt(ctx, cluster.target, "material", "opened", body, must_record=False)


def _chosen(archive: Archive, snapshot: str | None, at: datetime | None) -> Entry:
    entries, _ = archive.catalogue()
    where = archive.locate("catalogue/")
    if snapshot is not None:
        return pick(entries, snapshot=snapshot, where=where)
    newest = pick(entries, at=at, where=where)
    for entry in reversed(entries[: entries.index(newest) + 1]):
        if any(archive.store.list(archive.key(layout.folder_key(entry.id) + LABEL))):
            return entry
    raise DamagedError(
        f"no snapshot in {where} has the control plane's files with it",
        code="material_missing",
        subject=where,
        hint="they are collected only where the inventory has `material`; look for another copy of /etc/kubernetes/pki",
    )
