"""The schedule of the recovery report: each morning, when the night is over, unless the inventory says otherwise."""

import dagster as dg

from ccobs_ops.inventory import Inventory
from ccobs_ops.jobs.report import JOB


def report_schedule(inventory: Inventory, *, running: bool) -> dg.ScheduleDefinition:
    """`recovery_report` at the inventory's time. On from the start only if `running`."""
    return dg.ScheduleDefinition(
        name=JOB,
        job_name=JOB,
        cron_schedule=inventory.schedules.recovery_report,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description="Verify the ledger, write and sign the report on the last ninety days.",
    )
