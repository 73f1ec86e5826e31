"""The code location on one page: inventory → factories → Definitions.

    postgres/<name>/backup → postgres/<name>/window → postgres/<name>/validation   (one partition a day)

    terraform/<root>/drift

    nightly_validation    schedule and job: all of it, and one older day
    postgres_backup       job: one backup, now
    postgres_validation   job: one restore to a moment of your choice, proven
    terraform_scan        schedule (every ten minutes) and job: drift of every root
    terraform_drift       sensor: proposes or repairs, as each root's policy says
    terraform_remediate   job: put drift back, or accept it; terraform_approve   job: approve a plan

Nothing but the inventory is read to load this, and no server has to be up.
"""

import dagster as dg

from ccobs_ops.assets.postgres import postgres_assets
from ccobs_ops.assets.terraform import terraform_assets
from ccobs_ops.jobs.postgres import postgres_jobs
from ccobs_ops.jobs.terraform import terraform_jobs
from ccobs_ops.resources.core import CoreResource
from ccobs_ops.resources.source import InventorySource
from ccobs_ops.schedules.nightly import nightly_schedule
from ccobs_ops.schedules.terraform import terraform_schedule
from ccobs_ops.sensors.terraform import terraform_sensor


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that the inventory names, as Dagster shows and runs it."""
    source = InventorySource.find()
    inventory = source.inventory
    running = not source.is_example
    schedules: list[dg.ScheduleDefinition] = []
    sensors: list[dg.SensorDefinition] = []
    if inventory.postgres:
        schedules.append(nightly_schedule(inventory, running=running))
    if inventory.terraform:
        schedules.append(terraform_schedule(inventory, running=running))
        sensors.append(terraform_sensor(inventory, running=running))
    return dg.Definitions(
        assets=[
            *postgres_assets(inventory, note=source.note),
            *terraform_assets(inventory, note=source.note),
        ],
        jobs=[*postgres_jobs(inventory), *terraform_jobs(inventory)],
        schedules=schedules,
        sensors=sensors,
        resources={"core_context": CoreResource(inventory=str(source.path))},
        executor=dg.in_process_executor,
        metadata={
            "inventory": dg.MetadataValue.path(str(source.path)),
            "environment": inventory.environment,
            "schedules": "off: this is the example inventory" if source.is_example else "on",
        },
    )
