"""An intruder destroyed or encrypted what can be written: restore from the newest immutable and verified backup before that.

Immutable is an object version under object lock; verified is a backup that a restore has proven before. Both are required: a
backup that nobody restored may have been encrypted already when it was taken.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from ccobs_ops.core.drill.immutable import CODE, LockedStore
from ccobs_ops.core.drill.scenarios.base import Scenario
from ccobs_ops.core.drill.situation import Aim, Point, Situation, by
from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.exercise import Finding, Verdict, rfc3339
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.postgres.target import RecoveryTarget
from ccobs_ops.core.postgres.view import View
from ccobs_ops.core.rehearsal import CAPABILITY as REHEARSED

PROOFS = {
    "postgres": ("validation", "replica_validation", REHEARSED),
    "etcd": ("restore_drill", REHEARSED),
}
"""Exercises that restored a backup; which one stands in their details."""
_NAMED = {"postgres": "backup_id", "etcd": "snapshot_id"}
_PROVE = {"postgres": "postgres validate", "etcd": "etcd drill"}
_LOOK_BACK = 10_000


def settle(situation: Situation) -> Point:
    """The newest backup of each layer that is immutable, verified, and older than the moment of the disaster."""
    ctx, lost_at = situation.ctx, situation.lost_at
    aims: dict[str, Aim] = {}
    snapshots: dict[str, str] = {}
    told: list[str] = []
    for layer in situation.plan.layers:
        chosen, taken_at = _newest(situation, layer.noun, layer.name, layer.store)
        told.append(f"{chosen} of {rfc3339(taken_at)}")
        if layer.noun == "postgres":
            aims[layer.name] = _from_backup(chosen, lost_at)
        else:
            snapshots[layer.name] = chosen
    return Point(
        told=f"immutable and verified before {rfc3339(lost_at)}: {', '.join(told)}",
        inventory=ctx.inventory,
        lost_at=lost_at,
        aims=aims,
        snapshots=snapshots,
        opened=lambda store: LockedStore(store, as_of=lost_at, clock=ctx.clock),
    )


def _newest(situation: Situation, noun: str, name: str, store: str) -> tuple[str, datetime]:
    """Id and end of the newest backup that is immutable and verified. Raises DamagedError saying which of both is lacking."""
    immutable, findings, where = _catalogue(situation, noun, name, store)
    if not immutable:
        unlocked = next((each for each in findings if each.code == CODE), None)
        raise DamagedError(
            f"no backup in store {store!r} is immutable: {unlocked.message}"
            if unlocked
            else f"there was no backup in {where} at {rfc3339(situation.lost_at)}",
            code=CODE if unlocked else "backup_missing",
            subject=f"{noun}/{name}",
            hint=unlocked.hint if unlocked else "choose another moment, or restore from another store",
        )
    verified = _verified(situation.ctx.ledger, noun, name)
    fitting = [each for each in immutable if each[0] in verified]
    if not fitting:
        raise DamagedError(
            f"{len(immutable)} backups in store {store!r} are immutable, and none of them was ever restored and proven",
            code="backup_not_verified",
            subject=f"{noun}/{name}",
            hint=f"prove one first: ccobs-ops {_PROVE[noun]} {name} --store {store}",
        )
    return max(fitting, key=lambda each: each[1])


def _catalogue(
    situation: Situation, noun: str, name: str, store: str
) -> tuple[list[tuple[str, datetime]], list[Finding], str]:
    """Ids and ends of the immutable backups, what was found wrong, and where that is."""
    inventory = situation.ctx.inventory
    if noun == "postgres":
        from ccobs_ops.core.postgres.archive import Archive  # noqa: PLC0415
        from ccobs_ops.core.postgres.server import Cluster  # noqa: PLC0415

        cluster = Cluster(inventory, name)
        archive = Archive(_locked(situation, cluster.store(store, read_only=True)), cluster.prefix)
    else:
        from ccobs_ops.core.etcd.archive import Archive  # noqa: PLC0415
        from ccobs_ops.core.etcd.cluster import EtcdCluster  # noqa: PLC0415

        cluster = EtcdCluster(inventory, name)
        archive = Archive(_locked(situation, cluster.store(store, read_only=True)), cluster.prefix)
    entries, findings = archive.catalogue()
    ends = [(each.id, each.stopped_at) for each in entries if each.stopped_at <= situation.lost_at]
    return ends, findings, archive.locate("catalogue/")


def _locked(situation: Situation, store: object) -> LockedStore:
    return LockedStore(store, as_of=situation.lost_at, clock=situation.ctx.clock)  # pyright: ignore[reportArgumentType]


def _verified(ledger: Ledger, noun: str, name: str) -> set[str]:
    """Ids of the backups that a restore has proven."""
    return {
        str(exercise.details[_NAMED[noun]])
        for capability in PROOFS[noun]
        for exercise in ledger.exercises(
            target=f"{noun}/{name}", capability=capability, verdict=Verdict.PASSED, limit=_LOOK_BACK
        )
        if _NAMED[noun] in exercise.details
    }


def _from_backup(chosen: str, lost_at: datetime) -> Aim:
    """From that backup alone, replayed as far as immutable WAL goes and the disaster had not begun."""

    def aim(view: View) -> tuple[View, RecoveryTarget]:
        usable = tuple(entry for entry in view.usable if entry.id == chosen)
        if not usable:
            first = view.findings[0] if view.findings else None
            raise DamagedError(
                f"backup {chosen} cannot be used: {first.message if first else 'it is not whole'}",
                code=first.code if first else "backup_missing",
                subject=chosen,
                hint=first.hint if first else "",
            )
        entry = usable[0]
        narrowed = replace(
            view, usable=usable, spans=tuple(span for span in view.spans if chosen in span.backups)
        )
        span = narrowed.spans[-1] if narrowed.spans else None
        if span is None or span.end is None or min(span.end.at, lost_at) < entry.stopped_at:
            return narrowed, RecoveryTarget(lsn=entry.stop_lsn)
        return narrowed, by(narrowed, lost_at)

    return aim


SCENARIO = Scenario(
    "ransomware",
    "What can be written was destroyed: restore from the newest immutable and verified backup before that.",
    settle,
    proves=("immutable", "Every byte came from a version under object lock, written before the disaster."),
)
