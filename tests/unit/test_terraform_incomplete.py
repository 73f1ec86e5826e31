"""A scan of plans that are not whole, or of checks that do not hold, is never clean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.terraform.change import Drift, DriftClass
from tests.unit.drifts import A, drift_of, only
from tests.unit.plans import entry


def check(status: str, *, instances: bool = True) -> dict[str, Any]:
    one = {"address": {"to_display": "check.c[0]"}, "status": status, "problems": [{"message": "too small"}]}
    return {"address": {"kind": "check", "to_display": "check.c"}, "status": status} | (
        {"instances": [one]} if instances else {"problems": [{"message": "too small"}]}
    )


@pytest.mark.parametrize("status", ["fail", "error"])
@pytest.mark.parametrize("instances", [True, False])
def test_a_check_that_does_not_hold(status: str, instances: bool, tmp_path: Path) -> None:
    change = only(drift_of(tmp_path, plan={"checks": [check(status, instances=instances)]}))
    assert change.drift_class is DriftClass.CHECK_FAILED
    assert "too small" in change.message
    assert change.is_open


def test_a_check_that_holds_is_nothing_and_one_that_cannot_be_told_is_unread(tmp_path: Path) -> None:
    assert drift_of(tmp_path, plan={"checks": [check("pass")]}) == Drift()
    drift = drift_of(tmp_path, plan={"checks": [check("unknown")]})
    assert (drift.complete, [each.code for each in drift.unread]) == (False, ["check_unknown"])
    assert not drift_of(tmp_path, plan={"checks": [check("a new status")]}).complete


@pytest.mark.parametrize(
    ("which", "more", "code"),
    [
        ("refresh", {"errored": True}, "plan_errored"),
        ("plan", {"errored": True}, "plan_errored"),
        ("refresh", {"complete": False}, "plan_incomplete"),
        ("plan", {"complete": False}, "plan_incomplete"),
        (
            "plan",
            {"deferred_changes": [{"reason": "r", "resource_change": entry(A, None, {})}]},
            "plan_deferred",
        ),
        ("plan", {"deferred_changes": [7], "complete": False}, "plan_deferred"),
        ("refresh", {"resource_drift": ["?"]}, "plan_entry_unread"),
    ],
)
def test_a_plan_that_was_not_made_to_its_end_leaves_the_scan_incomplete(
    which: str, more: dict[str, Any], code: str, tmp_path: Path
) -> None:
    drift = drift_of(tmp_path, **{which: more})
    assert [each.code for each in drift.unread] == [code]
    assert not drift.complete
    assert code in {finding.code for finding in drift.findings()}


def test_without_a_normal_plan_the_drift_is_shown_and_incomplete(tmp_path: Path) -> None:
    drift = drift_of(tmp_path, [entry(A, {"x": 1}, {"x": 2})], None)
    assert only(drift).drift_class is DriftClass.CHANGED
    assert [each.code for each in drift.unread] == ["plan_missing"]


def test_an_entry_that_cannot_be_understood_is_of_class_unknown(tmp_path: Path) -> None:
    strange = entry(A, {"x": 1}, {"x": 2}, ["teleport"])
    drift = drift_of(tmp_path, [strange, entry("aws_thing.b", {"x": 1}, None)])
    assert {change.address: change.drift_class for change in drift.changes} == {
        A: DriftClass.UNKNOWN,
        "aws_thing.b": DriftClass.DELETED,
    }
    assert not drift.complete
