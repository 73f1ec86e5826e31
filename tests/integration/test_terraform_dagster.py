"""Drift through Dagster alone on a real lab: scanned, proposed, approved by a job, applied, scanned again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.terraform.approval import proposals
from ccobs_ops.definitions import defs
from ccobs_ops.inventory_load import VARIABLE
from tests.terraform_support import Roots, roots_in

pytestmark = pytest.mark.lab
VAULT_DAYS = 35


class Estate:
    """The code location on the lab's inventory, with an instance on disk."""

    def __init__(self, roots: Roots, instance: dg.DagsterInstance) -> None:
        self.roots = roots
        self.instance = instance
        self.definitions = defs() if callable(defs) else defs

    def launch(self, job: str, config: Mapping[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        """Run a job to its end, as a worker would."""
        made = self.definitions.resolve_job_def(job)
        return made.execute_in_process(
            run_config=dict(config or {}), instance=self.instance, raise_on_error=False
        )


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    home: Path = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch, roots_in(tmp_path_factory.mktemp("tf") / "lab") as roots:
        patch.setenv(VARIABLE, str(roots.lab.inventory_path))
        with dg.DagsterInstance.local_temp(str(home)) as instance:
            roots.validated()
            yield Estate(roots, instance)


def test_a_launch_proposes_a_job_approves_and_only_then_is_it_applied(estate: Estate) -> None:
    roots = estate.roots
    assert estate.launch("terraform_scan").success
    with roots.broken("drift-retention"):
        assert roots.retention() < VAULT_DAYS
        applied = roots.applied()
        estate.launch("terraform_scan")
        repair = {"root": "production", "dry_run": False, "confirm": "production", "operator": "ada"}
        config = {"ops": {"remediate": {"config": repair}}}
        assert estate.launch("terraform_remediate", config).success  # it waits for an approval
        assert roots.applied() == applied and roots.retention() < VAULT_DAYS
        (waiting,) = proposals(roots.ctx.ledger, "terraform/production")
        words = {"plan": waiting.id, "by": "ada", "reason": "the vault promises 35 days"}
        assert estate.launch("terraform_approve", {"ops": {"approve": {"config": words}}}).success
        assert estate.launch("terraform_remediate", config).success
        assert roots.retention() == VAULT_DAYS
        assert roots.applied() == applied + 1
        done = roots.ctx.ledger.latest("terraform/production", "remediation")
        assert done is not None and done.verdict is Verdict.PASSED
        assert [claim.name for claim in done.claims] == ["permitted", "approved", "applied", "resolved"]


def test_a_launch_without_the_roots_name_says_what_it_would_do_and_changes_nothing(estate: Estate) -> None:
    roots = estate.roots
    with roots.broken("drift-retention"):
        applied = roots.applied()
        estate.launch("terraform_scan")
        asked = {"root": "production", "dry_run": False, "confirm": "something else"}
        refused = estate.launch("terraform_remediate", {"ops": {"remediate": {"config": asked}}})
        assert not refused.success
        told = str(refused.failure_data_for_node("remediate").user_failure_data.description)  # type: ignore[union-attr]
        assert "FAILED" in told or "confirm" in told, told
        assert estate.launch(
            "terraform_remediate", {"ops": {"remediate": {"config": {"root": "production"}}}}
        )
        assert roots.applied() == applied and roots.retention() < VAULT_DAYS


def test_an_approval_of_a_plan_that_is_not_there_fails_with_what_to_do(estate: Estate) -> None:
    words = {"plan": "no-such-plan", "by": "ada", "reason": "a test"}
    result = estate.launch("terraform_approve", {"ops": {"approve": {"config": words}}})
    assert not result.success
    failure = result.failure_data_for_node("approve")
    assert failure is not None and failure.user_failure_data is not None
    assert "no-such-plan" in str(failure.user_failure_data.description)
    assert "HINT" in str(failure.user_failure_data.description)
