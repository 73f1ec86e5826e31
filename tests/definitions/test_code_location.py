"""The code location as Dagster loads it: in a fresh process, with no server up and no network."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.process import Completed, environment, run
from tests.definitions.estates import INVENTORY

ROOT = Path(__file__).resolve().parents[2]
SHOW = """
import json, socket, sys

def refuse(*_):
    raise AssertionError("loading the code location opened a connection")

socket.socket.connect = refuse
socket.create_connection = refuse

from ccobs_ops.definitions import defs
import dagster as dg

loaded = defs()
dg.Definitions.validate_loadable(loaded)
graph = loaded.resolve_asset_graph()
assets = {}
for key in graph.get_all_asset_keys():
    node = graph.get(key)
    policy = node.freshness_policy
    assets[key.to_user_string()] = {
        "group": node.group_name, "owners": node.owners, "pools": sorted(node.pools or ()),
        "kinds": sorted(tag.split("/")[-1] for tag in node.tags if tag.startswith("dagster/kind/")),
        "tags": {tag: value for tag, value in node.tags.items() if "/" not in tag},
        "parents": sorted(parent.to_user_string() for parent in node.parent_keys),
        "checks": sorted(check.name for check in node.check_keys),
        "first": node.partitions_def.get_first_partition_key() if node.partitions_def else None,
        "last": node.partitions_def.get_last_partition_key() if node.partitions_def else None,
        "fresh_within": policy.fail_window.to_timedelta().total_seconds() if policy else None,
        "description": node.description,
    }
schedules = {
    schedule.name: [schedule.cron_schedule, schedule.execution_timezone, schedule.default_status.value]
    for schedule in loaded.schedules
}
metadata = {key: value.value for key, value in loaded.metadata.items()}
jobs = [job.name for job in loaded.jobs]
print(json.dumps({"assets": assets, "schedules": schedules, "metadata": metadata, "jobs": jobs}))
"""


def show(cwd: Path, inventory: Path | None, *, ok: tuple[int, ...] = (0,)) -> Completed:
    extra = {"PYTHONPATH": str(ROOT)} | ({} if inventory is None else {"CCOBS_INVENTORY": str(inventory)})
    return run([sys.executable, "-c", SHOW], deadline=120, cwd=cwd, env=environment(extra), ok=ok)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("estate")
    (folder / "inventory.yaml").write_text(INVENTORY)
    return json.loads(show(folder, None).stdout)


def test_each_cluster_has_three_assets_in_order(shown: dict[str, Any]) -> None:
    assets = shown["assets"]
    assert sorted(assets) == sorted(
        f"postgres/{name}/{capability}"
        for name in ("observatory", "billing")
        for capability in ("backup", "window", "validation")
    )
    assert assets["postgres/observatory/backup"]["parents"] == []
    assert assets["postgres/observatory/window"]["parents"] == ["postgres/observatory/backup"]
    assert assets["postgres/observatory/validation"]["parents"] == ["postgres/observatory/window"]
    assert {asset["group"] for asset in assets.values()} == {"postgres"}
    assert {tuple(asset["kinds"]) for asset in assets.values()} == {("postgres", "s3")}


def test_owners_and_tags_come_from_the_target_then_the_inventory(shown: dict[str, Any]) -> None:
    observatory = shown["assets"]["postgres/observatory/backup"]
    billing = shown["assets"]["postgres/billing/backup"]
    assert observatory["owners"] == ["team:sre"]
    assert billing["owners"] == ["platform@example.com"]
    assert observatory["tags"] == {"estate": "ccobs", "tier": "gold_standard", "environment": "staging"}
    assert billing["tags"] == {"estate": "ccobs", "environment": "staging"}


def test_only_claims_that_will_be_made_are_checks(shown: dict[str, Any]) -> None:
    checks = {key: asset["checks"] for key, asset in shown["assets"].items()}
    assert checks["postgres/observatory/backup"] == ["complete", "in_time"]
    assert checks["postgres/observatory/window"] == ["backups_intact", "fresh", "no_wal_gap", "rpo"]
    assert checks["postgres/observatory/validation"] == [
        "data_checks",
        "exact",
        "intact",
        "isolated",
        "rpo",
        "rto",
        "writable",
    ]
    assert checks["postgres/billing/validation"] == ["exact", "isolated", "rpo", "rto"]


def test_validation_has_a_partition_for_each_day_up_to_today(shown: dict[str, Any]) -> None:
    validation = shown["assets"]["postgres/observatory/validation"]
    today = datetime.now(UTC).date()
    assert validation["first"] == "2026-02-01"
    assert validation["last"] in (today.isoformat(), (today - timedelta(days=1)).isoformat())
    assert shown["assets"]["postgres/observatory/window"]["first"] is None


def test_restores_share_one_pool_and_proofs_age(shown: dict[str, Any]) -> None:
    assets = shown["assets"]
    assert assets["postgres/observatory/validation"]["pools"] == ["restore"]
    assert assets["postgres/billing/validation"]["pools"] == ["restore"]
    assert assets["postgres/observatory/backup"]["fresh_within"] == 26 * 3600
    assert assets["postgres/observatory/validation"]["fresh_within"] == 26 * 3600
    assert assets["postgres/observatory/window"]["fresh_within"] is None


def test_the_schedule_is_on_in_utc_for_a_real_inventory(shown: dict[str, Any]) -> None:
    assert shown["schedules"] == {"nightly_validation": ["0 2 * * *", "UTC", "RUNNING"]}
    assert shown["jobs"] == [
        "nightly_validation",
        "postgres_backup",
        "postgres_validation",
        "remediate_incident",
    ]
    assert "20m (RTO)" in shown["assets"]["postgres/observatory/validation"]["description"]
    assert "Example" not in shown["assets"]["postgres/observatory/validation"]["description"]


def test_a_clean_clone_shows_the_example_and_schedules_nothing(tmp_path: Path) -> None:
    shown = json.loads(show(tmp_path, None).stdout)
    assert shown["assets"]
    assert {status for _, _, status in shown["schedules"].values()} == {"STOPPED"}
    assert shown["metadata"]["schedules"].startswith("off")
    assert all(asset["description"].startswith("**Example") for asset in shown["assets"].values())
    assert list(tmp_path.iterdir()) == []


def test_a_named_inventory_that_is_missing_never_becomes_the_example(tmp_path: Path) -> None:
    ended = show(tmp_path, tmp_path / "gone.yaml", ok=(1,))
    assert "gone.yaml" in ended.tail
    assert ended.stdout == ""
