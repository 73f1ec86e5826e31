"""The code location on one page: inventory → factories → Definitions.

    postgres/<name>/backup → postgres/<name>/window → postgres/<name>/validation   (one partition a day)

    nightly_validation    schedule and job: all of it, and one older day
    postgres_backup       job: one backup, now
    postgres_validation   job: one restore to a moment of your choice, proven

Nothing but the inventory is read to load this, and no server has to be up.
"""

import dagster as dg

from ccobs_ops.assets.postgres import postgres_assets
from ccobs_ops.jobs.postgres import postgres_jobs
from ccobs_ops.resources.core import CoreResource
from ccobs_ops.resources.source import InventorySource
from ccobs_ops.schedules.nightly import nightly_schedule


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that the inventory names, as Dagster shows and runs it."""
    source = InventorySource.find()
    inventory = source.inventory
    jobs = postgres_jobs(inventory)
    return dg.Definitions(
        assets=postgres_assets(inventory, note=source.note),
        jobs=jobs,
        schedules=[nightly_schedule(inventory, running=not source.is_example)] if jobs else [],
        resources={"core_context": CoreResource(inventory=str(source.path))},
        executor=dg.in_process_executor,
        metadata={
            "inventory": dg.MetadataValue.path(str(source.path)),
            "environment": inventory.environment,
            "schedules": "off: this is the example inventory" if source.is_example else "on",
        },
    )
