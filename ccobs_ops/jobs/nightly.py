"""The nightly job: what every noun must prove by morning, in one run."""

from typing import Any

import dagster as dg

from ccobs_ops.assets import etcd, postgres, terraform
from ccobs_ops.inventory import Inventory
from ccobs_ops.jobs.postgres import RUN_TAGS
from ccobs_ops.jobs.replication import nightly_selection as replication_selection

PROOFS = {"postgres": ("backup", "window", "validation"), "etcd": ("snapshot", "health", "restore_drill")}
"""The capabilities of each noun that the night proves. The assets of one that fails stop neither those of another target."""


def nightly_jobs(inventory: Inventory) -> list[Any]:
    """`nightly_validation` for everything in `inventory`; none where nothing is protected."""
    keys = [
        postgres.asset_key(name, capability)
        for name in inventory.postgres
        for capability in PROOFS["postgres"]
    ]
    keys += [etcd.asset_key(name, capability) for name in inventory.etcd for capability in PROOFS["etcd"]]
    keys += replication_selection(inventory)
    keys += [terraform.asset_key(name) for name in inventory.terraform]
    if not keys:
        return []
    return [
        dg.define_asset_job(
            "nightly_validation",
            selection=dg.AssetSelection.assets(*keys),
            executor_def=dg.in_process_executor,
            run_tags=RUN_TAGS,
            description="Back up every cluster, look its archive over, restore it and prove what came back: PostgreSQL to a "
            "moment inside the partition's day, etcd from its newest snapshot; compare both regions and restore from the "
            "replica; scan every Terraform root. Safe at any time. Old backups go only where "
            "the inventory allows it.",
        )
    ]
