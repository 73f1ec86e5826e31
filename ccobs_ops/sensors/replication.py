"""The sensor `replication_repair`: a comparison that found something to copy starts a repair, where the inventory says so."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from ccobs_ops.assets.reporting import failures_for_people
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.replication.difference import REPAIRABLE
from ccobs_ops.inventory import Inventory
from ccobs_ops.jobs.replication import REPAIR_OP, RepairConfig

INTERVAL_SECONDS = 60


def repair_sensor(inventory: Inventory, *, running: bool) -> dg.SensorDefinition:
    """Looks at the ledger only. The job compares again before it copies anything."""

    @dg.sensor(
        name="replication_repair",
        job_name="replication_repair",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description="Starts a repair after a comparison that found missing or different objects, for pairs whose inventory "
        "has `repair.automatic` and allows `repair`. Tried again every hour until a comparison passes.",
    )
    def replication_repair() -> Iterator[dg.RunRequest | dg.SkipReason]:
        automatic = [
            name
            for name, pair in inventory.replication.items()
            if pair.repair.automatic and "repair" in pair.allow
        ]
        if not automatic:
            yield dg.SkipReason("no pair of the inventory repairs automatically")
            return
        hour = datetime.now(UTC).strftime("%Y-%m-%dT%H")
        with failures_for_people(), Ledger.of(inventory) as ledger:
            wanted = [(name, found) for name in automatic if (found := to_repair(ledger, name)) is not None]
        for name, found in wanted:
            yield dg.RunRequest(
                run_key=f"{name}/{found.id}/{hour}",
                run_config=dg.RunConfig(ops={REPAIR_OP: RepairConfig(pair=name, confirm=name)}),
                tags={"ccobs/pair": name, "ccobs/comparison": found.id},
            )
        if not wanted:
            yield dg.SkipReason(f"nothing to copy in {', '.join(automatic)}")

    return replication_repair


def to_repair(ledger: Ledger, name: str) -> Exercise | None:
    """The newest comparison of the pair `name`, whole or in part, that found something to copy which is not repaired."""
    target = f"replication/{name}"
    found = [
        exercise
        for capability in ("comparison", "sweep")
        if (exercise := ledger.latest(target, capability)) is not None
        and exercise.verdict is Verdict.FAILED
        and any(exercise.measurements.get(kind.value, 0) > 0 for kind in REPAIRABLE)
    ]
    repaired = ledger.last_passed(target, "repair")
    open_ = [
        exercise
        for exercise in found
        if repaired is None
        or repaired.finished_at < exercise.finished_at
        or repaired.details.get("dry_run") is True
    ]
    return max(open_, key=lambda exercise: exercise.finished_at, default=None)
