"""The code location on one page: inventory → factories → Definitions.

    postgres/<name>/backup → postgres/<name>/window → postgres/<name>/validation   (one partition a day)

    nightly_validation    schedule and job: all of it, and one older day
    postgres_backup       job: one backup, now
    postgres_validation   job: one restore to a moment of your choice, proven

    replication/<pair>/comparison, /canary, /sweep, /restore_<cluster>

    replication_comparison   job: both sides compared, now        replication_sweep   schedule: lag, and folder by folder
    replication_repair       job and sensor: copies what is missing, where the inventory allows it

Nothing but the inventory is read to load this, and no server has to be up.
"""

import dagster as dg

from ccobs_ops.assets.postgres import postgres_assets
from ccobs_ops.assets.replication import replication_assets
from ccobs_ops.jobs.postgres import postgres_jobs
from ccobs_ops.jobs.replication import nightly_selection, replication_jobs
from ccobs_ops.resources.core import CoreResource
from ccobs_ops.resources.source import InventorySource
from ccobs_ops.schedules.nightly import nightly_schedule
from ccobs_ops.schedules.replication import sweep_schedule
from ccobs_ops.sensors.replication import repair_sensor


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that the inventory names, as Dagster shows and runs it."""
    source = InventorySource.find()
    inventory = source.inventory
    running = not source.is_example
    postgres = postgres_jobs(inventory, nightly=nightly_selection(inventory))
    replication = replication_jobs(inventory)
    return dg.Definitions(
        assets=[
            *postgres_assets(inventory, note=source.note),
            *replication_assets(inventory, note=source.note),
        ],
        jobs=[*postgres, *replication],
        schedules=[
            *([nightly_schedule(inventory, running=running)] if postgres else []),
            *([sweep_schedule(inventory, running=running)] if replication else []),
        ],
        sensors=[repair_sensor(inventory, running=running)] if replication else [],
        resources={"core_context": CoreResource(inventory=str(source.path))},
        executor=dg.in_process_executor,
        metadata={
            "inventory": dg.MetadataValue.path(str(source.path)),
            "environment": inventory.environment,
            "schedules": "off: this is the example inventory" if source.is_example else "on",
        },
    )
