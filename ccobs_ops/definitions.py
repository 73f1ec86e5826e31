"""The code location on one page: inventory → factories → Definitions.

    postgres/<name>/backup → postgres/<name>/window → postgres/<name>/validation   (one partition a day)

    etcd/<name>/snapshot → etcd/<name>/restore_drill;  etcd/<name>/health

    nightly_validation    schedule and job: all of it, and one older day of each PostgreSQL cluster
    postgres_backup       job: one backup, now
    postgres_validation   job: one restore to a moment of your choice, proven
    etcd_snapshot         job, a schedule for each cluster, and the sensor etcd_snapshot_overdue
    etcd_health           schedule and job: every five minutes
    etcd_restore_drill    job: one snapshot restored, started and proven

Nothing but the inventory is read to load this, and no server has to be up.
"""

import dagster as dg

from ccobs_ops.assets.etcd import etcd_assets
from ccobs_ops.assets.postgres import postgres_assets
from ccobs_ops.jobs.etcd import etcd_jobs
from ccobs_ops.jobs.nightly import nightly_jobs
from ccobs_ops.jobs.postgres import postgres_jobs
from ccobs_ops.resources.core import CoreResource
from ccobs_ops.resources.source import InventorySource
from ccobs_ops.schedules.etcd import etcd_schedules
from ccobs_ops.schedules.nightly import nightly_schedule
from ccobs_ops.sensors.etcd import etcd_sensors


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that the inventory names, as Dagster shows and runs it."""
    source = InventorySource.find()
    inventory = source.inventory
    running = not source.is_example
    nightly = nightly_jobs(inventory)
    return dg.Definitions(
        assets=[
            *postgres_assets(inventory, note=source.note),
            *etcd_assets(inventory, note=source.note),
        ],
        jobs=[*nightly, *postgres_jobs(inventory), *etcd_jobs(inventory)],
        schedules=[
            *([nightly_schedule(inventory, running=running)] if nightly else []),
            *etcd_schedules(inventory, running=running),
        ],
        sensors=etcd_sensors(inventory, running=running),
        resources={"core_context": CoreResource(inventory=str(source.path))},
        executor=dg.in_process_executor,
        metadata={
            "inventory": dg.MetadataValue.path(str(source.path)),
            "environment": inventory.environment,
            "schedules": "off: this is the example inventory" if source.is_example else "on",
        },
    )
