"""Every fault of the lab's Terraform roots: found in one scan, ranked, told apart, and put back by the permitted repair."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.terraform.scan import scan_all
from tests.terraform_support import Roots, classes, codes, roots_in, why

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roots]:
    with roots_in(tmp_path_factory.mktemp("faults") / "lab") as found:
        found.validated()
        assert found.scan().verdict is Verdict.PASSED
        yield found


def test_all_roots_are_clean_and_scanned_side_by_side(roots: Roots) -> None:
    exercises = scan_all(roots.ctx, list(roots.ctx.inventory.terraform))
    assert [exercise.target for exercise in exercises] == [
        "terraform/production",
        "terraform/dr",
        "terraform/staging",
    ]
    for exercise in exercises:
        assert exercise.verdict is Verdict.PASSED, why(exercise)
    assert exercises[0].measurements["coverage_ratio"] == 1
    assert {claim.name for claim in exercises[1].claims} >= {"parity", "complete"}
    # the data source of staging changes with every reading, and is no drift
    assert classes(exercises[2]) == {}


@pytest.mark.parametrize(
    ("fault", "address", "kind", "told"),
    [
        ("drift-change", "lab_bucket.uploads", "changed", "versioning goes from on to off"),
        ("drift-delete", "lab_bucket.uploads", "deleted", "the bucket is gone"),
        ("drift-retention", "lab_bucket.vault", "changed", "oldest restore point moves from 35 d to 7 d"),
        ("drift-untag", "lab_bucket.vault", "changed", "backup=nightly"),
    ],
)
def test_drift_is_found_ranked_and_put_back(
    roots: Roots, fault: str, address: str, kind: str, told: str
) -> None:
    with roots.broken(fault):
        found = roots.scan()
        assert found.verdict is Verdict.FAILED
        assert classes(found) == {address: kind}, why(found)
        claim = found.claim("no_critical_drift")
        assert claim is not None and claim.verdict is Verdict.FAILED and told in claim.reason
        assert found.measurements["drift_critical"] == 1
        assert 0 < found.measurements["time_to_detect_seconds"] < 600
        assert found.details["time_to_detect_counted_from"] == "last clean scan"
        repaired = roots.approved_repair()
        assert repaired.verdict is Verdict.PASSED, why(repaired)
        assert [claim.name for claim in repaired.claims] == ["permitted", "approved", "applied", "resolved"]


def test_what_is_in_no_state_lowers_the_coverage(roots: Roots) -> None:
    with roots.broken("drift-unmanaged"):
        found = roots.scan()
        assert "unmanaged" in classes(found).values(), why(found)
        coverage = found.claim("coverage")
        assert coverage is not None and coverage.verdict is Verdict.FAILED
        assert found.measurements["coverage_ratio"] < 1
        drift = found.claim("no_drift")
        assert drift is not None and drift.verdict is Verdict.PASSED  # nothing that is managed differs
    assert roots.scan().verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("state-locked", "state_locked"),
        ("state-corrupt", "state_unreadable"),
        ("provider-crash", "provider_failed"),
        ("credentials-expired", "credentials_refused"),
    ],
)
def test_what_cannot_be_read_is_unknown_and_nothing_is_repaired(roots: Roots, fault: str, code: str) -> None:
    applied = roots.applied()
    with roots.broken(fault):
        found = roots.scan()
        assert found.verdict is Verdict.UNKNOWN, why(found)
        assert code in codes(found), why(found)
        unknown = {claim.name for claim in found.claims if claim.verdict is Verdict.UNKNOWN}
        assert unknown >= {"complete", "no_drift", "no_critical_drift"}, why(found)
        repair = roots.repair()
        assert repair.verdict is Verdict.FAILED, why(repair)
        assert "refused_not_read" in codes(repair)
    assert roots.applied() == applied
    healed = roots.scan()
    assert healed.verdict is Verdict.PASSED, why(healed)


def test_what_was_read_is_shown_although_something_was_not(roots: Roots) -> None:
    """Drift beside a lock: the drift is told, and the scan is not called complete."""
    with roots.broken("drift-retention"), roots.broken("state-locked"):
        found = roots.scan()
    assert classes(found) == {"lab_bucket.vault": "changed"}
    complete = found.claim("complete")
    assert complete is not None and complete.verdict is Verdict.UNKNOWN
    assert found.verdict is Verdict.FAILED


def test_no_sensitive_value_reaches_exercise_or_ledger(roots: Roots) -> None:
    secret = roots.lab.plan.secret("escrow_key")
    file = roots.lab.directory / "terraform" / "files" / "production" / "escrow.key"
    assert file.read_text() == secret
    file.write_text("another-secret-that-nobody-may-read")
    try:
        found = roots.scan()
        repair = roots.repair(dry_run=True)
    finally:
        file.write_text(secret)
    assert "lab_file.escrow" in classes(found), why(found)
    told = [json.dumps(exercise.to_json()) for exercise in (found, repair)]
    told += [json.dumps(exercise.to_json()) for exercise in roots.ctx.ledger.exercises(limit=1000)]
    for text in told:
        assert secret not in text
        assert "another-secret-that-nobody-may-read" not in text


def test_a_dr_root_that_falls_short_of_its_primary_is_told(roots: Roots) -> None:
    with roots.broken("drift-retention", at="terraform/dr"):
        found = roots.scan("dr")
    parity = found.claim("parity")
    assert parity is not None and parity.verdict is Verdict.FAILED, why(found)
    assert "parity_weaker" in codes(found)
