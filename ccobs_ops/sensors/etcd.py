"""The sensor of etcd: a snapshot is taken when the newest is older than promised, whatever the schedule did."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from ccobs_ops.assets.etcd import asset_key
from ccobs_ops.assets.reporting import failures_for_people, proven
from ccobs_ops.core.exercise import Clock, utc_now
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.units import format_duration, format_seconds
from ccobs_ops.inventory import Inventory

EVERY_SECONDS = 60
TRY_AGAIN = timedelta(minutes=15)
"""A snapshot that failed is tried again after this long: the run key carries the quarter of an hour."""
TAG = "ccobs/overdue"
_LOOKED_AT = 200
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def etcd_sensors(inventory: Inventory, *, running: bool, clock: Clock = utc_now) -> list[dg.SensorDefinition]:
    """`etcd_snapshot_overdue`, where `inventory` has an etcd cluster. On from the start only if `running`."""
    if not inventory.etcd:
        return []

    @dg.sensor(
        name="etcd_snapshot_overdue",
        job_name="etcd_snapshot",
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description="Takes a snapshot of a cluster whose newest complete one is older than its objective `backup_age`. Reads "
        "the ledger only; the run looks at the cluster itself before it takes one. A failed one is tried again after "
        f"{format_duration(TRY_AGAIN)}.",
    )
    def overdue(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        now = clock()
        late = ages(inventory, now)
        asked = {name: why for name, why in late.items() if not _under_way(context.instance, name)}
        for name, why in asked.items():
            yield dg.RunRequest(
                run_key=f"{name}/{_slot(now)}",
                asset_selection=[asset_key(name, "snapshot")],
                tags={TAG: name},
                run_config={
                    "ops": {asset_key(name, "snapshot").to_python_identifier(): {"config": {"reason": why}}}
                },
            )
        if not asked:
            yield dg.SkipReason(
                f"a snapshot is under way: {', '.join(late)}"
                if late
                else "every cluster has a snapshot within its objective"
            )

    return [overdue]


def ages(inventory: Inventory, now: datetime) -> dict[str, str]:
    """The clusters whose newest complete snapshot is too old at `now`, and how old it is; from the ledger alone."""
    late: dict[str, str] = {}
    with failures_for_people(), Ledger.of(inventory) as ledger:
        for name, target in inventory.etcd.items():
            promised = target.objectives.backup_age
            taken = ledger.exercises(target=f"etcd/{name}", capability="snapshot", limit=_LOOKED_AT)
            newest = next((each for each in taken if proven(each, "complete")), None)
            if newest is None:
                late[name] = "no snapshot was ever completed"
            elif now - newest.finished_at > promised:
                age = format_seconds((now - newest.finished_at).total_seconds())
                late[name] = f"the newest snapshot is {age} old, promised at most {format_duration(promised)}"
    return late


def _slot(now: datetime) -> str:
    seconds = int(TRY_AGAIN.total_seconds())
    return datetime.fromtimestamp(int(now.timestamp()) // seconds * seconds, UTC).strftime("%Y-%m-%dT%H:%MZ")


def _under_way(instance: dg.DagsterInstance, name: str) -> bool:
    """Whether a run of `etcd_snapshot` that includes this cluster has not ended yet."""
    runs = instance.get_runs(dg.RunsFilter(job_name="etcd_snapshot", statuses=_UNFINISHED), limit=20)
    return any(not run.asset_selection or asset_key(name, "snapshot") in run.asset_selection for run in runs)
