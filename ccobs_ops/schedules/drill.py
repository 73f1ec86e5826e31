"""The schedules of drills: each when its inventory says so."""

import dagster as dg

from ccobs_ops.assets.drill import OP, DrillConfig, asset_key
from ccobs_ops.inventory import Inventory
from ccobs_ops.jobs.drill import JOB


def drill_schedules(inventory: Inventory, *, running: bool) -> list[dg.ScheduleDefinition]:
    """`dr_drill_<name>` for every drill that has a `schedule`. On from the start only if `running`."""
    status = dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED
    return [
        _schedule(name, drill.schedule, status)
        for name, drill in inventory.drills.items()
        if drill.schedule is not None
    ]


def _schedule(name: str, cron: str, status: dg.DefaultScheduleStatus) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=f"{JOB}_{name}",
        job_name=JOB,
        cron_schedule=cron,
        execution_timezone="UTC",
        default_status=status,
        description=f"The drill {name}, for real, when its inventory says so.",
    )
    def drills(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        config = DrillConfig(drill=name, dry_run=False, operator="schedule", reason=f"schedule {cron}")
        return dg.RunRequest(
            run_key=f"{name}/{context.scheduled_execution_time.isoformat()}",
            run_config=dg.RunConfig(ops={OP: config}),
            asset_selection=[asset_key(name)],
        )

    return drills
