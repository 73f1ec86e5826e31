"""The asset `recovery/report`: a real report by Dagster, and what turns red when its evidence does not hold."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from ccobs_ops.assets.report import KEY, claims, report_assets
from ccobs_ops.core.evidence import files, keys
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.inventory_load import load
from ccobs_ops.jobs.report import report_jobs
from ccobs_ops.resources.core import CoreResource
from ccobs_ops.schedules.report import report_schedule
from tests import report_support as support


@pytest.fixture
def estate(tmp_path: Path) -> Path:
    """An inventory whose ledger has three days in it."""
    path = support.write_inventory(tmp_path)
    path.write_text(path.read_text() + "report: {formats: [html, json], since: 30d}\n")
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        support.fill(ledger, days=2, now=datetime.now(UTC))
    return path


def run(path: Path, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    inventory = load(path)
    definitions = dg.Definitions(
        assets=report_assets(inventory),
        jobs=report_jobs(),
        schedules=[report_schedule(inventory, running=True)],
        resources={"core_context": CoreResource(inventory=str(path))},
    )
    job = definitions.resolve_job_def("recovery_report")
    return job.execute_in_process(instance=instance, raise_on_error=False)


def test_it_is_materialized_with_its_files_and_every_check(
    estate: Path, instance: dg.DagsterInstance
) -> None:
    result = run(estate, instance)
    assert result.success
    found = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    assert found == {"written": True, "chain": True, "signed": True}
    [made] = result.asset_materializations_for_node("recovery__report")
    assert made.metadata["readiness"].value in set(Verdict)
    page = Path(str(made.metadata["report_html"].value))
    inventory = load(estate)
    key = keys.private(inventory)
    assert key is not None
    assert files.check(page, key.public).verdict is Verdict.PASSED
    assert Path(str(made.metadata["evidence_html"].value)).exists()
    assert page.parent == inventory.state / "reports"
    assert inventory.state.stat().st_mode & 0o077 == 0
    with Ledger.of(inventory) as ledger:
        kept = ledger.latest("ccobs/report", "report")
    assert kept is not None
    assert kept.details["file_html"] == str(page)


def test_a_tampered_ledger_turns_the_check_red(estate: Path, instance: dg.DagsterInstance) -> None:
    with sqlite3.connect(estate.parent / "ledger.db") as connection:
        connection.execute("update ccobs_exercises set verdict = 'PASSED' where capability = 'drift'")
    result = run(estate, instance)
    found = {
        each.check_name: (each.passed, each.description) for each in result.get_asset_check_evaluations()
    }
    assert found["chain"][0] is False
    assert "changed after it was written" in str(found["chain"][1])
    assert found["written"][0] is True


def test_the_checks_are_what_the_inventory_asks_for(estate: Path) -> None:
    inventory = load(estate)
    assert list(claims(inventory)) == ["written", "chain", "signed"]
    bare = inventory.model_copy(update={"evidence": type(inventory.evidence)()})
    assert list(claims(bare)) == ["written", "chain"]
    [asset] = report_assets(inventory)
    upstream = {key.to_user_string() for key in asset.asset_deps[KEY]}
    assert "postgres/observatory/validation" in upstream
    assert "terraform/storage/drift" in upstream
