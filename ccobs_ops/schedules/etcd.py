"""The schedules of etcd: snapshots when each cluster's inventory says, and a look at all of them every five minutes."""

import dagster as dg

from ccobs_ops.assets.etcd import asset_key
from ccobs_ops.inventory import Inventory


def etcd_schedules(inventory: Inventory, *, running: bool) -> list[dg.ScheduleDefinition]:
    """`etcd_snapshot_<name>` for every cluster, and `etcd_health`. On from the start only if `running`."""
    if not inventory.etcd:
        return []
    status = dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED
    health = dg.ScheduleDefinition(
        name="etcd_health",
        job_name="etcd_health",
        cron_schedule=inventory.schedules.etcd_health,
        execution_timezone="UTC",
        default_status=status,
        description="Alarms, quota, quorum, lag and agreement of every etcd cluster.",
    )
    return [*(_snapshots(name, target.schedule, status) for name, target in inventory.etcd.items()), health]


def _snapshots(name: str, cron: str, status: dg.DefaultScheduleStatus) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=f"etcd_snapshot_{name}",
        job_name="etcd_snapshot",
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=status,
        description=f"A snapshot of etcd/{name}, when its inventory says so.",
    )
    def snapshots(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest(
            run_key=f"{name}/{context.scheduled_execution_time.isoformat()}",
            asset_selection=[asset_key(name, "snapshot")],
        )

    return snapshots
