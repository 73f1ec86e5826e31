"""The schedule of drift scans: every ten minutes unless the inventory says otherwise."""

import dagster as dg

from ccobs_ops.inventory import Inventory
from ccobs_ops.jobs.terraform import SCAN


def terraform_schedule(inventory: Inventory, *, running: bool) -> dg.ScheduleDefinition:
    """`terraform_scan` at the inventory's times. On from the start only if `running`."""
    return dg.ScheduleDefinition(
        name=SCAN,
        job_name=SCAN,
        cron_schedule=inventory.schedules.terraform_scan,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description="Scan every root for drift, so that it is seen within minutes.",
    )
