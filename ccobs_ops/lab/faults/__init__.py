"""Every fault that the lab can inject, and the two verbs.

`inject` keeps what healing needs in the lab's folder `faults/NAME/` before it breaks anything; `heal` puts it back: the
same key, bytes and metadata.
"""

from __future__ import annotations

import contextlib
import shutil
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING

from ccobs_ops.core.errors import OpsError, UsageError
from ccobs_ops.lab.faults import etcd, objects, replication, services, terraform
from ccobs_ops.lab.faults.base import Damage, Fault, Site
from ccobs_ops.lab.plan import ETCD_MEMBERS, ETCD_TARGET, PAIRS, REGIONS, TARGET
from ccobs_ops.lab.state import locked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ccobs_ops.lab.lab import Lab

_PG = (TARGET,)
_TF = ("terraform/production", "terraform/dr")
_STATES = ("terraform/production", "terraform/dr", "terraform/staging")
_ETCD = (ETCD_TARGET,)
_MEMBERS = (ETCD_TARGET, *ETCD_MEMBERS)
_PAIRS = tuple(f"replication/{name}" for name in PAIRS)

REGISTRY: tuple[Fault, ...] = (
    Fault("archiver-stopped", _PG, "stop the agent: no WAL reaches the store", services.archiver_stopped),
    Fault("wal-gap", _PG, "delete a finished WAL segment from the middle", objects.wal_gap),
    Fault("wal-corrupt", _PG, "flip one bit in a stored WAL segment", objects.wal_corrupt),
    Fault("backup-corrupt", _PG, "flip one bit in a part of the newest backup", objects.backup_corrupt),
    Fault("backup-missing", _PG, "delete a part of the newest backup", objects.backup_missing),
    Fault(
        "timeline-history-missing",
        _PG,
        "delete the newest timeline's history (promotes first)",
        objects.timeline_history_missing,
    ),
    Fault("manifest-missing", _PG, "delete the newest backup's manifest", objects.manifest_missing),
    Fault("store-down", REGIONS, "kill -9 a region's S3 servers", services.store_down),
    Fault("canary-stopped", _PG, "commit no more canaries; WAL streaming goes on", services.canary_stopped),
    Fault("drift-change", _TF, "suspend a bucket's versioning by hand", terraform.drift_change),
    Fault("drift-delete", _TF, "delete a bucket by hand", terraform.drift_delete),
    Fault("drift-retention", _TF, "lower the vault's retention by hand", terraform.drift_retention),
    Fault("drift-untag", _TF, "take the backup tag from the vault by hand", terraform.drift_untag),
    Fault("drift-unmanaged", _TF[:1], "create a bucket that no root knows", terraform.drift_unmanaged),
    Fault("state-locked", _STATES, "leave a lock on the state", terraform.state_locked),
    Fault("state-corrupt", _STATES, "cut the state off in the middle", terraform.state_corrupt),
    Fault("provider-crash", _STATES, "the provider ends when it reads a bucket", terraform.provider_crash),
    Fault(
        "credentials-expired",
        _STATES,
        "the keys that Terraform is given are refused",
        terraform.credentials_expired,
    ),
    Fault("snapshot-truncated", _ETCD, "cut the newest etcd snapshot off", etcd.snapshot_truncated),
    Fault("snapshot-bitflip", _ETCD, "flip one bit in the newest etcd snapshot", etcd.snapshot_bitflip),
    Fault("snapshot-missing", _ETCD, "delete a part of the newest etcd snapshot", etcd.snapshot_missing),
    Fault("etcd-member-down", _MEMBERS, "kill -9 one member of etcd", etcd.member_down),
    Fault("etcd-quorum-lost", _ETCD, "kill -9 two members of etcd", etcd.quorum_lost),
    Fault("etcd-nospace", _ETCD, "raise the alarm NOSPACE: etcd refuses writes", etcd.nospace),
    Fault("etcd-lagging", _ETCD, "cut etcd-3 off from the others; it still answers", etcd.lagging),
    Fault(
        "certificate-expired",
        _MEMBERS,
        "one etcd member shows an expired certificate",
        etcd.certificate_expired,
    ),
    Fault("replication-stopped", ("eu",), "stop the replicator", replication.stopped),
    Fault(
        "replication-wedged",
        ("eu",),
        "kill -9 the replica while objects are on their way",
        replication.wedged,
    ),
    Fault("replica-delete", _PAIRS, "delete an object in the replica", replication.deleted),
    Fault("replica-corrupt", _PAIRS, "other bytes of the same size in the replica", replication.corrupted),
    Fault("replica-extra", _PAIRS, "an object that only the replica has", replication.extra),
    Fault(
        "replica-stale-version", _PAIRS[1:], "the replica goes back to an older version", replication.stale
    ),
    Fault(
        "replica-throttled",
        ("eu",),
        "the replica answers 503 SlowDown to 3 requests of 10",
        replication.throttled,
    ),
    Fault("replica-down", ("eu",), "kill -9 the replica's S3 servers", replication.down),
    Fault("clock-skewed", ("eu", "us"), "a region's clock is seven minutes ahead", replication.skewed),
)


def named(name: str) -> Fault:
    """The fault called `name`. Raises UsageError when there is none."""
    for fault in REGISTRY:
        if fault.name == name:
            return fault
    raise UsageError(f"there is no fault {name!r}", hint="see them: ccobs-ops lab break --list")


def active(lab: Lab) -> tuple[Damage, ...]:
    """The faults that are in, oldest first."""
    files = lab.plan.faults.glob("*/damage.json")
    return tuple(sorted((Damage.model_validate_json(file.read_text()) for file in files), key=lambda d: d.at))


def inject(lab: Lab, name: str, *, at: str | None = None, seed: int = 1) -> Damage:
    """Break it for real and return what exactly was broken; `seed` decides the choice.

    Raises UsageError for a fault that is in already or does not apply `at` that target, OpsError when there is
    nothing to break or it cannot be reached.
    """
    fault = named(name)
    target = at or fault.targets[0]
    if target not in fault.targets:
        raise UsageError(
            f"{name} does not apply at {target!r}", hint=f"it applies at: {', '.join(fault.targets)}"
        )
    lab.plan.faults.mkdir(mode=0o700, exist_ok=True)
    with locked(lab.plan.faults):
        earlier = active(lab)
        if any(damage.fault == name for damage in earlier):
            raise UsageError(f"{name} is in already", hint=f"heal it first: ccobs-ops lab heal {name}")
        folder = _folder(lab, name)
        shutil.rmtree(
            folder, ignore_errors=True
        )  # what a break that was cut short had kept, and not yet used
        folder.mkdir(mode=0o700)
        spoiled = frozenset(key for damage in earlier for key in damage.keys)
        try:
            with _reached():
                actions = fault.choose(Site(lab, target, Random(seed), folder, spoiled))
            damage = Damage(fault=name, target=target, seed=seed, at=datetime.now(UTC), actions=actions)
        except BaseException:
            shutil.rmtree(folder)
            raise
        fresh = folder / "damage.json.new"
        fresh.write_text(damage.model_dump_json(indent=2))
        fresh.replace(folder / "damage.json")
        on_record(lab, damage, "fault_injected")
        with _reached():
            for action in damage.actions:
                action.apply(lab, folder)
        return damage


def heal(lab: Lab, name: str | None = None) -> tuple[Damage, ...]:
    """Undo the fault `name`, or every one, newest first; returns what was undone. What is not broken stays alone.

    What needs something that an older fault took away is put back once that is there again. Raises UsageError when there is
    no such fault, OpsError when something cannot be put back; healing can be repeated.
    """
    if name is not None:
        named(name)
    if not lab.plan.faults.is_dir():
        return ()
    healed: list[Damage] = []
    with locked(lab.plan.faults):
        left = [damage for damage in reversed(active(lab)) if name in (None, damage.fault)]
        while left:
            again: list[Damage] = []
            first: OpsError | None = None
            for damage in left:
                try:
                    _undo(lab, damage)
                except OpsError as error:
                    first = first or error
                    again.append(damage)
                else:
                    healed.append(damage)
            if first is not None and len(again) == len(left):
                raise first
            left = again
    return tuple(healed)


def _undo(lab: Lab, damage: Damage) -> None:
    folder = _folder(lab, damage.fault)
    with _reached():
        for action in reversed(damage.actions):
            action.undo(lab, folder)
    shutil.rmtree(folder)
    on_record(lab, damage, "fault_healed")


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    """Turn what boto3 says of a region that another fault has taken away into an OpsError."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise OpsError(
            f"a region cannot be reached: {str(error).splitlines()[0]}",
            hint="see what is broken already: ccobs-ops lab status",
        ) from error


def on_record(lab: Lab, damage: Damage, kind: str) -> None:
    """Put into the lab's ledger that `damage` was `fault_injected` or `fault_healed`: incidents tell from it when it began.

    A ledger that cannot be written stops no fault: breaking the place where it lies is one of them.
    """
    from ccobs_ops.core.ledger import Event, Ledger  # noqa: PLC0415 - a lab without a fault needs no database
    from ccobs_ops.inventory_load import load  # noqa: PLC0415

    with contextlib.suppress(OpsError), Ledger.of(load(lab.inventory_path)) as ledger:
        details = {"lines": list(damage.lines), "seed": damage.seed}
        ledger.record_event(Event(damage.target, kind, damage.fault, datetime.now(UTC), details))


def _folder(lab: Lab, name: str) -> Path:
    return lab.plan.faults / name


__all__ = ["REGISTRY", "Damage", "Fault", "active", "heal", "inject", "named"]
