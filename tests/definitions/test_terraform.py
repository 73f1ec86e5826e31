"""Drift in Dagster: assets and checks, the jobs' safe defaults, and what the sensor asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ccobs_ops.assets.terraform import TerraformCore, asset_key, scan_claims, terraform_assets
from ccobs_ops.core.exercise import Claim, Exercise, Verdict, conclude
from ccobs_ops.core.ledger import Event, Ledger
from ccobs_ops.core.terraform.wanted import not_now
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import load
from ccobs_ops.jobs.terraform import RemediateConfig, terraform_jobs
from ccobs_ops.resources.core import CoreResource

NOW = datetime.now(UTC)
INVENTORY = """
version: 1
environment: staging
owners: [platform@example.com]
terraform:
  production:
    dir: iac
    account: {kinds: [s3_bucket]}
    allow: [remediate]
    remediation: {automatic: true, grace: 1m, types: ["*"]}
    owners: [sre]
  dr: {dir: iac-dr, role: dr, parity_with: production}
"""
CHANGE: dict[str, Any] = {
    "address": "aws_db_instance.main",
    "class": "changed",
    "severity": "critical",
    "message": "backup_retention_period differs",
    "open": True,
    "attributes": [{"path": "backup_retention_period", "before": 35, "after": 7}],
    "impacts": [
        {"statement": "oldest restore point moves from 35 d to 7 d", "attribute": "backup_retention_period"}
    ],
    "who": "ada",
    "when": None,
    "first_seen": (NOW - timedelta(minutes=5)).isoformat(),
}


def scanned(name: str, verdicts: dict[str, Verdict], changes: tuple[dict[str, Any], ...] = ()) -> Exercise:
    claims = tuple(Claim(claim, verdict, f"why {claim}") for claim, verdict in verdicts.items())
    return Exercise(
        f"scan-{name}-{NOW.timestamp()}",
        f"terraform/{name}",
        "drift",
        conclude(claims),
        "what it found",
        NOW - timedelta(seconds=2),
        NOW,
        claims,
        measurements={"drift_open": float(len(changes)), "coverage_ratio": 0.5},
        details={"changes": list(changes)},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "estate.yaml"
    file.write_text(INVENTORY)
    return file


@pytest.fixture
def inventory(path: Path) -> Inventory:
    return load(path)


def located(inventory: Inventory, path: Path, answers: dict[str, Exercise]) -> dg.Definitions:
    core = TerraformCore(lambda _ctx, names: [answers[name] for name in names])
    return dg.Definitions(
        assets=terraform_assets(inventory, core=core),
        jobs=terraform_jobs(inventory),
        resources={"core_context": CoreResource(inventory=str(path))},
    )


def all_passed(inventory: Inventory, name: str) -> dict[str, Verdict]:
    return dict.fromkeys(scan_claims(inventory.terraform[name]), Verdict.PASSED)


def run(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = definitions.resolve_job_def("terraform_scan")
    return job.execute_in_process(instance=instance, raise_on_error=False)


def test_a_scan_materializes_every_root_with_a_check_for_each_claim(
    inventory: Inventory, path: Path, instance: dg.DagsterInstance
) -> None:
    drifted = all_passed(inventory, "production") | {"no_critical_drift": Verdict.FAILED}
    answers = {
        "production": scanned("production", drifted, (CHANGE,)),
        "dr": scanned("dr", all_passed(inventory, "dr")),
    }
    result = run(located(inventory, path, answers), instance)
    assert result.success
    event = instance.get_latest_materialization_event(asset_key("production"))
    assert event is not None and event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["drift_open"].value == 1
    row = metadata["changes"].value.records[0].data
    assert row["address"] == "aws_db_instance.main" and row["who"] == "ada"
    assert row["impact"] == "oldest restore point moves from 35 d to 7 d"
    checks = {
        (check.asset_key.to_user_string(), check.check_name): check.passed
        for check in result.get_asset_check_evaluations()
    }
    assert checks["terraform/production/drift", "no_critical_drift"] is False
    assert checks["terraform/production/drift", "coverage"] is True
    assert checks["terraform/dr/drift", "parity"] is True
    assert len(checks) == 8


def test_what_could_not_be_read_is_not_materialized_and_fails_the_run(
    inventory: Inventory, path: Path, instance: dg.DagsterInstance
) -> None:
    blind = dict.fromkeys(scan_claims(inventory.terraform["production"]), Verdict.UNKNOWN)
    answers = {
        "production": scanned("production", blind),
        "dr": scanned("dr", all_passed(inventory, "dr")),
    }
    result = run(located(inventory, path, answers), instance)
    assert not result.success
    assert instance.get_latest_materialization_event(asset_key("production")) is None
    assert instance.get_latest_materialization_event(asset_key("dr")) is not None
    failed = [check.check_name for check in result.get_asset_check_evaluations() if not check.passed]
    assert set(failed) == set(blind)


def test_the_launchpad_changes_nothing_by_default() -> None:
    config = RemediateConfig(root="production")
    assert (config.dry_run, config.accept, config.confirm) == (True, False, "")


def test_groups_owners_and_freshness(inventory: Inventory, path: Path) -> None:
    definitions = located(inventory, path, {})
    spec = definitions.resolve_asset_graph().get(asset_key("production"))
    assert spec.group_name == "terraform"
    assert spec.owners == ["team:sre"]
    assert {job.name for job in terraform_jobs(inventory)} == {
        "terraform_scan",
        "terraform_remediate",
        "terraform_approve",
    }


def test_drift_is_repaired_by_itself_only_when_the_policy_of_the_root_says_so(inventory: Inventory) -> None:
    root = inventory.terraform["production"]
    with Ledger.of(inventory) as ledger:
        assert not_now(ledger, "production", root, NOW) == "no complete scan"
        drifted = all_passed(inventory, "production") | {"no_drift": Verdict.FAILED}
        ledger.record(scanned("production", drifted, (CHANGE,)))
        assert not_now(ledger, "production", root, NOW) == ""
        proposal = {
            "mode": "remediate",
            "digest": "d",
            "meaning": "m",
            "source": "s",
            "host": "h",
            "expires_at": (NOW + timedelta(hours=1)).isoformat(),
        }
        ledger.record_event(
            Event("terraform/production", "terraform_proposed", "production-1", NOW, proposal)
        )
        assert "waits for approval" in not_now(ledger, "production", root, NOW)
        approval = {"by": "ada", "reason": "x", "digest": "d"}
        ledger.record_event(
            Event("terraform/production", "terraform_approved", "production-1", NOW, approval)
        )
        assert not_now(ledger, "production", root, NOW) == ""
        young = root.model_copy(
            update={"remediation": root.remediation.model_copy(update={"grace": timedelta(hours=1)})}
        )
        assert "grace" in not_now(ledger, "production", young, NOW)
