"""The nightly schedule: the newest state, and one older day of each cluster's window."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import dagster as dg

from ccobs_ops.assets.postgres import asset_key
from ccobs_ops.assets.reporting import failures_for_people, proven
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.postgres.strategy import older_day
from ccobs_ops.inventory import Inventory

MOST_BACKUPS = 10_000


def nightly_schedule(inventory: Inventory, *, running: bool) -> dg.ScheduleDefinition:
    """`nightly_validation` at the inventory's time. On from the start only if `running`."""

    @dg.schedule(
        name="nightly_validation",
        job_name="nightly_validation",
        cron_schedule=inventory.schedules.nightly_validation,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description="Every night: today's partition with a new backup, and one random older day of each cluster's "
        "window, so that over time the whole window is proven and not only its newest end.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        today = context.scheduled_execution_time.astimezone(UTC).date()
        yield dg.RunRequest(
            run_key=f"{today}/newest",
            partition_key=today.isoformat() if inventory.postgres else None,
            tags={"ccobs/proves": "newest"},
        )
        for name, day in older_days(inventory, today).items():
            yield dg.RunRequest(
                run_key=f"{today}/older/{name}",
                partition_key=day.isoformat(),
                asset_selection=[asset_key(name, "validation")],
                tags={"ccobs/proves": "older-day"},
            )

    return nightly


def older_days(inventory: Inventory, today: date) -> dict[str, date]:
    """The older day to prove tonight of each cluster that has one; read from the ledger alone.

    Days count from the first complete backup within the retention window: nothing earlier is promised.
    """
    chosen: dict[str, date] = {}
    with failures_for_people(), Ledger.of(inventory) as ledger:
        for name, target in inventory.postgres.items():
            window = max(target.retention.window.days, 1)
            oldest = datetime.combine(today - timedelta(days=window - 1), time.min, UTC)
            backups = ledger.exercises(
                target=f"postgres/{name}", capability="backup", since=oldest, limit=MOST_BACKUPS
            )
            complete = [backup.finished_at.date() for backup in backups if proven(backup, "complete")]
            if not complete:
                continue
            since = max(complete[-1], target.validation.since)
            day = older_day(today=today, oldest=since, seed=name)
            if day is not None:
                chosen[name] = day
    return chosen
