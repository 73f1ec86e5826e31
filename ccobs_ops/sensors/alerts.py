"""The sensor `alerts`: every half minute, what has to be said by now is said. It launches nothing."""

import dagster as dg

from ccobs_ops.assets.reporting import failures_for_people
from ccobs_ops.core.alerts.dispatch import dispatch
from ccobs_ops.core.context import Context
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.inventory import Inventory
from ccobs_ops.resources.core import LogProgress

EVERY_SECONDS = 30


def alert_sensors(inventory: Inventory, *, running: bool) -> list[dg.SensorDefinition]:
    """`alerts`, where `inventory` has a channel. On from the start only if `running`."""
    if not inventory.alerts.channels:
        return []

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description="Tells the inventory's channels what the incidents of the ledger give to tell: opened, escalated, "
        "reminders, resolved, and a daily heartbeat. `ccobs-ops alerts send` does the same without Dagster.",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        with failures_for_people(), Ledger.of(inventory) as ledger:
            done = dispatch(Context(inventory, ledger, progress=LogProgress(context.log)))
        told = f"{done.sent} sent, {done.waiting} waiting"
        bad = ", ".join(dict.fromkeys((*done.failing, *done.failed)))
        return dg.SkipReason(f"{told}; failing: {bad}" if bad else told)

    return [alerts]
