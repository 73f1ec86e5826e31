"""The jobs of etcd, each in one process."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from ccobs_ops.assets.etcd import DrillConfig, HealthConfig, SnapshotConfig, asset_key
from ccobs_ops.assets.running import Asked
from ccobs_ops.inventory import Inventory
from ccobs_ops.jobs.postgres import ONE_OF_SEVERAL, RUN_TAGS


def etcd_jobs(inventory: Inventory) -> list[Any]:
    """`etcd_snapshot`, `etcd_health` and `etcd_restore_drill` for the clusters in `inventory`."""
    names = list(inventory.etcd)
    if not names:
        return []
    return [
        _job(
            "etcd_snapshot",
            names,
            "snapshot",
            SnapshotConfig(),
            "Take a snapshot now, and look the archive over.",
        ),
        _job("etcd_health", names, "health", HealthConfig(), "Look at every member. Changes nothing.", {}),
        _job(
            "etcd_restore_drill",
            names,
            "restore_drill",
            DrillConfig(),
            "Restore the newest snapshot in a sandbox, start it, and prove what came back. Changes nothing outside it.",
        ),
    ]


def _job(
    name: str,
    targets: Sequence[str],
    capability: str,
    defaults: Asked,
    description: str,
    tags: dict[str, str] = RUN_TAGS,
) -> Any:
    keys = [asset_key(target, capability) for target in targets]
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(*keys),
        # every choice with its safe default, written out so that the launchpad shows what may be changed
        config=dg.RunConfig(ops={key.to_python_identifier(): defaults for key in keys}),
        executor_def=dg.in_process_executor,
        run_tags=tags,
        description=f"{description} {ONE_OF_SEVERAL}",
    )
