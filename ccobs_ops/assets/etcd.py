"""The three assets of an etcd cluster: snapshot → restore_drill, and health.

What each materialization stands for is decided as for PostgreSQL, in docs/adr/0002-what-a-materialization-proves.md.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import dagster as dg
from pydantic import Field

from ccobs_ops.assets.declaring import RESTORE_POOL, exercise_asset, fresh_within
from ccobs_ops.assets.reporting import (
    Event,
    check_result,
    failures_for_people,
    proven,
    report,
)
from ccobs_ops.assets.running import RETRY_AFTER_SECONDS, Asked, run_exercise
from ccobs_ops.core.etcd import drill, health, listing, snapshot
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.forecast import after_restore
from ccobs_ops.core.units import format_duration
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_etcd import Etcd
from ccobs_ops.resources.core import CoreResource

GROUP = "etcd"


@dataclass(frozen=True)
class Core:
    """The functions of the core that the assets call; a test of the translation puts others here."""

    snapshot: Callable[..., Exercise] = snapshot.take_snapshot
    look_over: Callable[..., Exercise] = listing.look_over
    health: Callable[..., Exercise] = health.examine
    drill: Callable[..., Exercise] = drill.drill


class SnapshotConfig(Asked):
    """A snapshot has no choices: it is taken from the member that is fit for it."""


class HealthConfig(Asked):
    """A look has no choices."""


class DrillConfig(Asked):
    """How to restore the newest snapshot. The default is what the night does; an older one is drilled from the terminal."""

    members: Literal["inventory", "three"] = Field(
        default="inventory",
        description="The restored cluster's size. three also kills its leader and sees that writes go on.",
    )
    bump_revision: int | None = Field(
        default=None,
        description="Also restore it with its revision raised by this much and marked as compacted, as Kubernetes needs it, "
        "and see that a watch from an old revision is told so. Needs etcdutl 3.6.",
        ge=1,
    )


def etcd_assets(
    inventory: Inventory,
    *,
    note: str = "",
    core: Core | None = None,
    retry_after: float = RETRY_AFTER_SECONDS,
) -> list[dg.AssetsDefinition]:
    """Snapshot, health and restore drill of every etcd cluster in `inventory`.

    `note` goes before each description; `retry_after` are the seconds before a transient UNKNOWN is tried again, once.
    """
    core = core or Core()
    return [
        asset
        for name, target in inventory.etcd.items()
        for asset in (
            _snapshot(name, target, inventory, note, core, retry_after),
            _health(name, target, inventory, note, core, retry_after),
            _drill(name, target, inventory, note, core, retry_after),
        )
    ]


def asset_key(name: str, capability: str) -> dg.AssetKey:
    """The key of a capability of the cluster called `name`."""
    return dg.AssetKey([GROUP, name, capability])


def snapshot_claims(target: Etcd) -> dict[str, str]:
    """The claims that a snapshot of `target` makes, and what each says when it PASSED."""
    promised = target.objectives
    claims = {
        "complete": "Every part is stored, its SHA-256 trailer is right, and the catalogue entry was written after them.",
        "in_time": f"Taken within {format_duration(promised.backup_duration)}.",
    }
    if target.material is not None:
        claims["material"] = (
            "The control plane's certificates and manifests were encrypted and stored with it."
        )
    return claims


def archive_claims(target: Etcd) -> dict[str, str]:
    """The claims about all snapshots of `target` together, checked after each one."""
    return {
        "intact": "Every object of every snapshot is there, with the size and checksum it was stored with.",
        "fresh": f"The newest snapshot is younger than {format_duration(target.objectives.backup_age)}.",
    }


def health_claims(target: Etcd) -> dict[str, str]:
    """The claims that a look at `target` makes."""
    claims = {
        "members": "Every member answers, and none says it is in trouble.",
        "quorum": "A majority of the members follows one leader.",
        "no_alarms": "Neither NOSPACE nor CORRUPT is on.",
        "within_quota": f"No member's file uses {target.health.quota_ratio:.0%} of its quota or more.",
        "caught_up": f"No member is more than {target.health.max_lag} raft entries behind.",
    }
    if target.health.hash:
        claims["consistent"] = "All members have the same hash at the same revision."
    return claims


def drill_claims(target: Etcd) -> dict[str, str]:
    """The claims that a drill of `target` makes, as the inventory asks for it."""
    promised = target.objectives
    claims = {
        "restorable": "The snapshot was restored and started as a real cluster, which answers.",
        "identical": "Its HashKV at the snapshot's revision is production's, or the one recorded when it was taken.",
        "exact": "Every canary written up to the snapshot is there at its revision, and none from later.",
        "counts": "Its revision and key counts are those of the catalogue.",
        "readable": "Every sampled key is served with the value and revision that the file has.",
        "writable": "It takes writes.",
        "isolated": "It listened on unix sockets in a private folder only.",
        "rto": f"Ready within {format_duration(promised.rto)}, measured from the first byte fetched.",
        "rpo": f"No more than {format_duration(promised.rpo)} of writes would be lost.",
    }
    if target.drill.members == 3:
        claims["quorum"] = "The leader of three was killed, and writes went on."
    return claims


def _snapshot(
    name: str, target: Etcd, inventory: Inventory, note: str, core: Core, retry_after: float
) -> dg.AssetsDefinition:
    claims, of_archive = snapshot_claims(target), archive_claims(target)

    @exercise_asset(
        asset_key(name, "snapshot"),
        target,
        inventory,
        claims | of_archive,
        kinds=_kinds(target),
        description=f"{note}A snapshot of `{name}` in store `{target.store}`, from a healthy member. PASSED proves that all "
        "of it is stored and that its checksum is right, not yet that it restores: that is `restore_drill`.",
        freshness_policy=fresh_within(target.objectives.backup_age),
        pool=f"snapshot_{name}",
    )
    def etcd_snapshot(
        context: dg.AssetExecutionContext, config: SnapshotConfig, core_context: CoreResource
    ) -> Iterator[Event]:
        def run() -> Exercise:
            with core_context.open(context.log) as ctx:
                return core.snapshot(ctx, name)

        exercise = run_exercise(context, config, run, retry_after)
        # said also when no snapshot was taken: then it matters how old the newest one is
        with failures_for_people(), core_context.open(context.log) as ctx:
            archive = core.look_over(ctx, name)
        yield from (check_result(archive, claim) for claim in of_archive)
        yield from report(context, exercise, claims=list(claims), stands=proven(exercise, "complete"))

    return etcd_snapshot


def _health(
    name: str, target: Etcd, inventory: Inventory, note: str, core: Core, retry_after: float
) -> dg.AssetsDefinition:
    claims = health_claims(target)

    @exercise_asset(
        asset_key(name, "health"),
        target,
        inventory,
        claims,
        kinds=_kinds(target),
        description=f"{note}The cluster `{name}` as its members see it: quorum, alarms, room, lag, and whether all of them "
        "hold the same. Changes nothing.",
        freshness_policy=fresh_within(target.objectives.time_to_detect),
    )
    def etcd_health(
        context: dg.AssetExecutionContext, config: HealthConfig, core_context: CoreResource
    ) -> Iterator[Event]:
        def run() -> Exercise:
            with core_context.open(context.log) as ctx:
                return core.health(ctx, name)

        exercise = run_exercise(context, config, run, retry_after)
        # a look is one whatever it saw: the checks are red, and the next asset is not held up
        yield from report(context, exercise, claims=list(claims), stands=True)

    return etcd_health


def _drill(
    name: str, target: Etcd, inventory: Inventory, note: str, core: Core, retry_after: float
) -> dg.AssetsDefinition:
    claims = drill_claims(target)

    @exercise_asset(
        asset_key(name, "restore_drill"),
        target,
        inventory,
        claims,
        kinds=_kinds(target),
        deps=[asset_key(name, "snapshot")],
        description=f"{note}Proof by restoring: the newest snapshot of `{name}` was started as a real cluster and held "
        f"exactly what production held: within {format_duration(target.objectives.rto)} (RTO), losing at most "
        f"{format_duration(target.objectives.rpo)} (RPO).",
        freshness_policy=fresh_within(target.objectives.drill_age),
        pool=RESTORE_POOL,
    )
    def etcd_restore_drill(
        context: dg.AssetExecutionContext, config: DrillConfig, core_context: CoreResource
    ) -> Iterator[Event]:
        def run() -> Exercise:
            members = 3 if config.members == "three" else None
            with core_context.open(context.log) as ctx:
                exercise = core.drill(ctx, name, members=members, bump_revision=config.bump_revision)
                after_restore(ctx, f"{GROUP}/{name}")
                return exercise

        exercise = run_exercise(context, config, run, retry_after)
        stands = exercise.verdict is Verdict.PASSED
        yield from report(context, exercise, claims=list(claims), stands=stands)

    return etcd_restore_drill


def _kinds(target: Etcd) -> set[str]:
    return {"etcd", "s3"} | ({"kubernetes"} if target.access == "kubernetes" else set())
