"""The configuration files of Dagster's instance load, and say what the code location relies on."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import yaml

from ccobs_ops.assets.declaring import RESTORE_POOL
from ccobs_ops.assets.postgres import postgres_assets
from ccobs_ops.cli.demo import DAGSTER_YAML, WORKSPACE_YAML
from ccobs_ops.inventory import Inventory
from ccobs_ops.launch import LOCATION

ROOT = Path(__file__).resolve().parents[2]
FILES = {"production": (ROOT / "deploy" / "dagster.yaml").read_text(), "demo": DAGSTER_YAML}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES.keys())
def test_one_restore_at_a_time_and_no_telemetry(tmp_path: Path, text: str, inventory: Inventory) -> None:
    (tmp_path / "dagster.yaml").write_text(text)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.global_op_concurrency_default_limit == 1
        assert instance.run_monitoring_enabled
        # without it a killed worker's place in a pool is never free again
        assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 30
        assert not instance.telemetry_enabled
        # a pool limits runs only when the instance has it as a limit: the default covers all
        pools = {pool for asset in postgres_assets(inventory) for pool in [asset.op.pool] if pool}
        assert RESTORE_POOL in pools
        assert {f"backup_{name}" for name in inventory.postgres} <= pools


@pytest.mark.parametrize("text", [(ROOT / "workspace.yaml").read_text(), WORKSPACE_YAML])
def test_runs_that_we_launch_are_listed_under_the_location_that_the_ui_shows(text: str) -> None:
    [entry] = yaml.safe_load(text)["load_from"]
    assert entry["python_module"] == {"module_name": "ccobs_ops.definitions", "location_name": LOCATION}
