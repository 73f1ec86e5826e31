"""The jobs of PostgreSQL. Each runs in one process: a process a step would cost seconds and gain nothing."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from ccobs_ops.assets.postgres import BackupConfig, ValidationConfig, asset_key
from ccobs_ops.assets.running import Asked
from ccobs_ops.inventory import Inventory

RUN_TAGS = {"workload": "dr"}
ONE_OF_SEVERAL = "To run it for one cluster of several, select its asset before launching."


def postgres_jobs(inventory: Inventory) -> list[Any]:
    """`postgres_backup` and `postgres_validation` for the clusters in `inventory`."""
    names = list(inventory.postgres)
    if not names:
        return []
    return [
        dg.define_asset_job(
            "postgres_backup",
            selection=_assets(names, "backup"),
            config=_launchpad(names, "backup", BackupConfig()),
            executor_def=dg.in_process_executor,
            run_tags=RUN_TAGS,
            description=f"Take a base backup now, full or incremental. {ONE_OF_SEVERAL}",
        ),
        dg.define_asset_job(
            "postgres_validation",
            selection=_assets(names, "validation"),
            config=_launchpad(names, "validation", ValidationConfig()),
            executor_def=dg.in_process_executor,
            run_tags=RUN_TAGS,
            description="Restore to a moment inside the partition's day, in a sandbox, and prove what came back. "
            f"Changes nothing outside the sandbox. {ONE_OF_SEVERAL}",
        ),
    ]


def _assets(names: Sequence[str], *capabilities: str) -> dg.AssetSelection:
    return dg.AssetSelection.assets(
        *(asset_key(name, capability) for name in names for capability in capabilities)
    )


def _launchpad(names: Sequence[str], capability: str, defaults: Asked) -> dg.RunConfig:
    """Every choice with its safe default, written out so that the launchpad shows what may be changed."""
    return dg.RunConfig(ops={asset_key(name, capability).to_python_identifier(): defaults for name in names})
