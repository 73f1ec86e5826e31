"""The three assets of a PostgreSQL cluster: backup → window → validation.

What each materialization stands for, and what happens when an exercise does not pass, is decided in
docs/adr/0002-what-a-materialization-proves.md.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from ccobs_ops.assets.declaring import RESTORE_POOL, exercise_asset, fresh_within
from ccobs_ops.assets.reporting import (
    Event,
    proven,
    report,
)
from ccobs_ops.assets.running import RETRY_AFTER_SECONDS, Asked, run_exercise
from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.forecast import after_restore
from ccobs_ops.core.postgres import backup, validate, window
from ccobs_ops.core.postgres.strategy import Strategy, strategy_for
from ccobs_ops.core.units import format_seconds, parse_moment
from ccobs_ops.inventory import Inventory, Postgres
from ccobs_ops.resources.core import CoreResource

GROUP = "postgres"
KINDS = frozenset({"postgres", "s3"})


@dataclass(frozen=True)
class Core:
    """The functions of the core that the assets call; a test of the translation puts others here."""

    back_up: Callable[..., Exercise] = backup.back_up
    examine: Callable[..., Exercise] = window.examine
    validate: Callable[..., Exercise] = validate.validate


class BackupConfig(Asked):
    """How to take the base backup. The default is what the schedule does."""

    incremental: bool | None = Field(
        default=None,
        description="true: only what changed since the last backup; false: everything; "
        "left out: as the inventory's backup.full_every says.",
    )


class WindowConfig(Asked):
    """How closely to look at the archive."""

    deep: bool = Field(
        default=False,
        description="Also read every stored object and compare its checksum. As many bytes as the archive has.",
    )


class ValidationConfig(Asked):
    """Which moment inside the partition's day to restore to. The default is what the schedule does."""

    strategy: Literal["automatic", "newest", "random", "after-backup", "segment-boundary"] = Field(
        default="automatic",
        description="How the moment is chosen. automatic: the newest commit for today's partition; for older days "
        "random, after-backup and segment-boundary take turns by date.",
    )
    at: str | None = Field(
        default=None,
        description="Restore to exactly this moment instead, for example 2026-11-23T02:14:07Z. It must lie inside "
        "the partition's day (UTC).",
    )
    seed: int | None = Field(
        default=None,
        description="Repeat the choices of an earlier validation: its seed stands in the exercise.",
    )


def postgres_assets(
    inventory: Inventory,
    *,
    note: str = "",
    core: Core | None = None,
    retry_after: float = RETRY_AFTER_SECONDS,
) -> list[dg.AssetsDefinition]:
    """Backup, window and validation of every PostgreSQL cluster in `inventory`.

    `note` goes before each description; `retry_after` are the seconds before a transient UNKNOWN is
    tried again, once.
    """
    core = core or Core()
    return [
        asset
        for name, target in inventory.postgres.items()
        for asset in (
            _backup(name, target, inventory, note, core, retry_after),
            _window(name, target, inventory, note, core, retry_after),
            _validation(name, target, inventory, note, core, retry_after),
        )
    ]


def asset_key(name: str, capability: str) -> dg.AssetKey:
    """The key of a capability of the cluster called `name`."""
    return dg.AssetKey([GROUP, name, capability])


def days(inventory: Inventory) -> dg.DailyPartitionsDefinition:
    """The days that can be proven, today included: from the earliest that any cluster promises.

    One definition for all clusters, since a job takes one.
    """
    since = min(target.validation.since for target in inventory.postgres.values())
    return dg.DailyPartitionsDefinition(start_date=since.isoformat(), timezone="UTC", end_offset=1)


def validation_claims(target: Postgres) -> dict[str, str]:
    """The claims that a validation of `target` makes, and what each says when it PASSED."""
    proofs = target.validation
    claims = {
        "exact": "Every canary committed up to the target time came back, and none from later.",
        "rto": f"Ready for queries within {_told(target.objectives.rto)}, measured from the first byte fetched.",
        "rpo": f"No more than {_told(target.objectives.rpo)} of commits would have been lost.",
        "isolated": "The copy could reach nothing: no network, no archiving, no replication, read-only store keys.",
    }
    if proofs.checksums or proofs.amcheck or proofs.logical_read:
        claims["intact"] = "Page checksums, every index (amcheck) and a full logical read found no damage."
    if target.checks:
        names = ", ".join(check.name for check in target.checks)
        claims["data_checks"] = f"The inventory's own SQL checks agree: {names}."
    if proofs.promote:
        claims["writable"] = "The copy was promoted and took a write."
    return claims


def _backup(
    name: str, target: Postgres, inventory: Inventory, note: str, core: Core, retry_after: float
) -> dg.AssetsDefinition:
    claims = {
        "complete": "Every object of the backup is stored with its checksum, and the catalogue entry after them.",
        "in_time": f"Taken within {_told(target.objectives.backup_duration)}.",
    }

    @exercise_asset(
        asset_key(name, "backup"),
        target,
        inventory,
        claims,
        kinds=KINDS,
        description=f"{note}A base backup of `{name}` in store `{target.store}`. PASSED proves that all of it is "
        "stored and described by its manifest, not yet that it restores: that is `validation`.",
        freshness_policy=fresh_within(target.objectives.backup_age),
        pool=f"backup_{name}",
    )
    def postgres_backup(
        context: dg.AssetExecutionContext, config: BackupConfig, core_context: CoreResource
    ) -> Iterator[Event]:
        def run() -> Exercise:
            with core_context.open(context.log) as ctx:
                return core.back_up(ctx, name, incremental=config.incremental)

        exercise = run_exercise(context, config, run, retry_after)
        yield from report(context, exercise, claims=list(claims), stands=proven(exercise, "complete"))

    return postgres_backup


def _window(
    name: str, target: Postgres, inventory: Inventory, note: str, core: Core, retry_after: float
) -> dg.AssetsDefinition:
    claims = {
        "no_wal_gap": "Every WAL segment from the oldest kept backup on is there, across all timelines.",
        "backups_intact": "Every object of every backup is there, with the size and checksum it was stored with.",
        "fresh": f"The newest backup is younger than {_told(target.objectives.backup_age)}.",
        "rpo": f"The newest recoverable commit is younger than {_told(target.objectives.rpo)}.",
    }

    @exercise_asset(
        asset_key(name, "window"),
        target,
        inventory,
        claims,
        kinds=KINDS,
        deps=[asset_key(name, "backup")],
        description=f"{note}The recovery window of `{name}`: the times that it can be restored to, read from the "
        "archive itself. PASSED proves an unbroken chain of WAL from the oldest backup to the newest commit.",
    )
    def postgres_window(
        context: dg.AssetExecutionContext, config: WindowConfig, core_context: CoreResource
    ) -> Iterator[Event]:
        def run() -> Exercise:
            with core_context.open(context.log) as ctx:
                return core.examine(ctx, name, deep=config.deep)

        exercise = run_exercise(context, config, run, retry_after)
        # a gap spoils some moments, not all: the validation is still tried, and the checks here are red
        yield from report(context, exercise, claims=list(claims), stands=True)

    return postgres_window


def _validation(
    name: str, target: Postgres, inventory: Inventory, note: str, core: Core, retry_after: float
) -> dg.AssetsDefinition:
    claims = validation_claims(target)

    @exercise_asset(
        asset_key(name, "validation"),
        target,
        inventory,
        claims,
        kinds=KINDS,
        deps=[asset_key(name, "window")],
        partitions_def=days(inventory),
        description=f"{note}Proof by restoring: partition D is there when `{name}` was restored to a moment inside "
        f"day D and every claim held: within {_told(target.objectives.rto)} (RTO), losing at most "
        f"{_told(target.objectives.rpo)} (RPO).",
        freshness_policy=fresh_within(target.objectives.backup_age),
        pool=RESTORE_POOL,
    )
    def postgres_validation(
        context: dg.AssetExecutionContext, config: ValidationConfig, core_context: CoreResource
    ) -> Iterator[Event]:
        def run() -> Exercise:
            with core_context.open(context.log) as ctx:
                choice = _moment(config, date.fromisoformat(context.partition_key), ctx.clock().date())
                exercise = core.validate(ctx, name, **choice)
                after_restore(ctx, f"{GROUP}/{name}")
                return exercise

        exercise = run_exercise(context, config, run, retry_after)
        stands = exercise.verdict is Verdict.PASSED
        yield from report(context, exercise, claims=list(claims), stands=stands)

    return postgres_validation


def _told(duration: timedelta) -> str:
    return format_seconds(duration.total_seconds())


def _moment(config: ValidationConfig, day: date, today: date) -> dict[str, Any]:
    """The arguments of `validate` that make the target time lie inside `day`; raises UsageError."""
    if config.at is None:
        automatic = config.strategy == "automatic"
        strategy = strategy_for(day, today=today) if automatic else Strategy(config.strategy)
        return {"strategy": strategy, "seed": config.seed, "day": day}
    try:
        moment = parse_moment(config.at)
    except ValueError as error:
        raise UsageError(f"at: {error}", hint="correct `at` in the launchpad") from error
    if moment.date() != day:
        raise UsageError(
            f"{config.at} is not inside the partition {day.isoformat()} (UTC)",
            hint=f"choose the partition {moment.date().isoformat()}",
        )
    return {"at": moment, "seed": config.seed, "day": day}
