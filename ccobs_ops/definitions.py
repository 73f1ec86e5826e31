"""The code location on one page: inventory → factories → Definitions.

    postgres/<name>/backup → postgres/<name>/window → postgres/<name>/validation   (one partition a day)
    etcd/<name>/snapshot → etcd/<name>/restore_drill;  etcd/<name>/health
    replication/<pair>/comparison, /canary, /sweep, /restore_<cluster>
    terraform/<root>/drift
    recovery/report
    drill/<name>

    nightly_validation       schedule and job: all of it, and one older day of each PostgreSQL cluster
    postgres_backup          job: one backup, now
    postgres_validation      job: one restore to a moment of your choice, proven
    etcd_snapshot            job, and a schedule for each cluster
    etcd_health              schedule (every five minutes) and job
    etcd_restore_drill       job: one snapshot restored, started and proven
    replication_comparison   job: both sides compared, now
    replication_sweep        schedule and job: lag, and folder by folder
    replication_repair       job: copies what is missing, where the inventory allows it
    terraform_scan           schedule (every ten minutes) and job: drift of every root
    terraform_remediate      job: put drift back, or accept it
    terraform_approve        job: approve a plan
    recovery_report          schedule (each morning) and job: verifies the ledger, writes and signs the report
    watch                    sensor: agents, freshness, Dagster itself
    incidents                sensor: what the ledger gained, reduced to incidents
    remediation              sensor and job remediate_incident: the smallest repair that is allowed, looked at again
    alerts                   sensor: tells people what is open, over the inventory's channels
    dr_drill                 job, and a schedule for each drill that has one: a disaster, rehearsed
    dr_approve               job: approve a drill that waits for it
    selftest                 job, in a lab only: every fault injected, found, named, told and closed

Nothing but the inventory is read to load this, and no server has to be up.
"""

import dagster as dg

from ccobs_ops.assets.drill import drill_assets
from ccobs_ops.assets.etcd import etcd_assets
from ccobs_ops.assets.postgres import postgres_assets
from ccobs_ops.assets.replication import replication_assets
from ccobs_ops.assets.report import report_assets
from ccobs_ops.assets.terraform import terraform_assets
from ccobs_ops.jobs.drill import drill_jobs
from ccobs_ops.jobs.etcd import etcd_jobs
from ccobs_ops.jobs.nightly import nightly_jobs
from ccobs_ops.jobs.postgres import postgres_jobs
from ccobs_ops.jobs.remediation import remediation_jobs
from ccobs_ops.jobs.replication import replication_jobs
from ccobs_ops.jobs.report import report_jobs
from ccobs_ops.jobs.selftest import selftest_jobs
from ccobs_ops.jobs.terraform import terraform_jobs
from ccobs_ops.resources.core import CoreResource
from ccobs_ops.resources.source import InventorySource
from ccobs_ops.schedules.drill import drill_schedules
from ccobs_ops.schedules.etcd import etcd_schedules
from ccobs_ops.schedules.nightly import nightly_schedule
from ccobs_ops.schedules.replication import sweep_schedule
from ccobs_ops.schedules.report import report_schedule
from ccobs_ops.schedules.terraform import terraform_schedule
from ccobs_ops.sensors.alerts import alert_sensors
from ccobs_ops.sensors.loop import loop_sensors


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
            *replication_assets(inventory, note=source.note),
            *terraform_assets(inventory, note=source.note),
            *report_assets(inventory, note=source.note),
            *drill_assets(inventory, note=source.note),
        ],
        jobs=[
            *nightly,
            *postgres_jobs(inventory),
            *etcd_jobs(inventory),
            *replication_jobs(inventory),
            *terraform_jobs(inventory),
            *report_jobs(),
            *remediation_jobs(inventory),
            *drill_jobs(inventory),
            *selftest_jobs(inventory),
        ],
        schedules=[
            *([nightly_schedule(inventory, running=running)] if nightly else []),
            *etcd_schedules(inventory, running=running),
            *drill_schedules(inventory, running=running),
            *([sweep_schedule(inventory, running=running)] if inventory.replication else []),
            *([terraform_schedule(inventory, running=running)] if inventory.terraform else []),
            report_schedule(inventory, running=running),
        ],
        sensors=[
            *alert_sensors(inventory, running=running),
            *loop_sensors(inventory, running=running),
        ],
        resources={"core_context": CoreResource(inventory=str(source.path))},
        executor=dg.in_process_executor,
        metadata={
            "inventory": dg.MetadataValue.path(str(source.path)),
            "environment": inventory.environment,
            "schedules": "off: this is the example inventory" if source.is_example else "on",
        },
    )
