"""In the day: lag, and one folder of each pair after the other. The whole is compared by `nightly_validation`."""

import dagster as dg

from ccobs_ops.inventory import Inventory


def sweep_schedule(inventory: Inventory, *, running: bool) -> dg.ScheduleDefinition:
    """`replication_sweep` at the inventory's time. On from the start only if `running`."""
    return dg.ScheduleDefinition(
        name="replication_sweep",
        job_name="replication_sweep",
        cron_schedule=inventory.schedules.replication_sweep,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description="The lag of every pair, and a comparison of the folder whose turn it is.",
    )
