"""Each reason against a repair, alone; and those that no lab provider makes: unknown values, what an apply only hides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.exercise import Severity
from ccobs_ops.core.terraform.change import Direction, IgnoredBy, Impact, Objective, Unread
from ccobs_ops.core.terraform.classify import classify, consequences
from ccobs_ops.core.terraform.document import read_plans
from ccobs_ops.core.terraform.impact import load_rules
from ccobs_ops.core.terraform.refusals import Case, Proof, acceptance_refusals, refusals
from ccobs_ops.inventory_terraform import Freeze, Remediation
from tests.unit.plans import document, entry, write

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
A = "aws_thing.a"


def case(
    tmp_path: Path, drift: Sequence[Any], changes: Sequence[Any], expressions: Sequence[str] = ("x",)
) -> Case:
    config = {
        "root_module": {"resources": [{"address": A, "expressions": {name: {} for name in expressions}}]}
    }
    refresh, plan = read_plans(
        [
            write(tmp_path / "r.json", document(drift, configuration=config)),
            write(tmp_path / "p.json", document((), changes, configuration=config)),
        ]
    )
    rules = load_rules()
    seen = classify(refresh, plan, impact=rules, today=date(2026, 11, 23))
    return Case(
        target="terraform/x",
        policy=Remediation(types=("*",)),
        drift=seen,
        planned=consequences(plan, impact=rules),
        stateful=rules.is_stateful,
        now=NOW,
        first_seen={change.address: NOW - timedelta(days=1) for change in seen.changes},
    )


def codes(found: Any) -> set[str]:
    return {refusal.code for refusal in found}


DRIFT = entry(A, {"x": 1, "seen": "a"}, {"x": 2, "seen": "b"})


def test_putting_back_is_permitted_also_beside_a_computed_value(tmp_path: Path) -> None:
    back = entry(A, {"x": 2, "seen": "b"}, {"x": 1}, unknown={"seen": True})
    assert refusals(case(tmp_path, [DRIFT], [back])) == ()


def test_a_configured_value_that_is_not_known_yet_is_refused(tmp_path: Path) -> None:
    back = entry(A, {"x": 2, "seen": "b"}, {"x": 1}, unknown={"seen": True})
    assert codes(refusals(case(tmp_path, [DRIFT], [back], ("x", "seen")))) == {"pending"}


@pytest.mark.parametrize("marks", [{}, {"sensitive": {"x": True}}])
@pytest.mark.parametrize(("value", "refused"), [("was", False), ("another", True)])
def test_only_the_value_from_before_the_drift_is_put_back_secret_or_not(
    marks: dict[str, Any], value: str, refused: bool, tmp_path: Path
) -> None:
    found = refusals(
        case(
            tmp_path,
            [entry(A, {"x": "was"}, {"x": "found"}, **marks)],
            [entry(A, {"x": "found"}, {"x": value}, **marks)],
        )
    )
    assert codes(found) == ({"pending"} if refused else set())


def test_another_element_of_a_map_is_not_explained_by_the_one_that_drifted(tmp_path: Path) -> None:
    drift = entry(A, {"tags": {"a": "1", "b": "1"}}, {"tags": {"a": "2", "b": "1"}})
    more = entry(A, {"tags": {"a": "2", "b": "1"}}, {"tags": {"a": "1", "b": "9"}})
    assert codes(refusals(case(tmp_path, [drift], [more], ("tags",)))) == {"pending"}


def test_drift_that_an_apply_would_only_hide_is_refused_either_way(tmp_path: Path) -> None:
    disabled = entry("aws_kms_key.k", {"is_enabled": True}, {"is_enabled": False})
    back = entry(A, {"x": 2}, {"x": 1})
    found = case(tmp_path, [entry(A, {"x": 1}, {"x": 2}), disabled], [back])
    assert codes(refusals(found)) == {"would_hide"}
    assert codes(acceptance_refusals(found)) == {"would_hide"}


def _weakening(found: Case) -> Case:
    impact = Impact("r", "x", Direction.WEAKENS, Objective.RPO, Severity.CRITICAL, "it gets worse", "why")
    return replace(found, planned=[replace(change, impacts=(impact,)) for change in found.planned])


def _ignored(found: Case) -> Case:
    ignored = IgnoredBy("ada", "meant", "2027-01-01")
    changes = tuple(replace(change, ignored_by=ignored) for change in found.drift.changes)
    return replace(found, drift=replace(found.drift, changes=changes))


def _actions(*actions: str) -> Callable[[Case], Case]:
    return lambda found: replace(found, planned=[replace(one, actions=actions) for one in found.planned])


def _policy(**changes: Any) -> Callable[[Case], Case]:
    return lambda found: replace(found, policy=found.policy.model_copy(update=changes))


def _stateful(at: datetime | None) -> Callable[[Case], Case]:
    target = "postgres/observatory"
    linked = _policy(validated_by={"aws_thing.*": target})
    return lambda found: replace(linked(found), stateful=lambda _: True, proofs={target: Proof(target, at)})


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (lambda found: found, None),
        (_actions("delete"), "delete"),
        (_actions("forget"), "forget"),
        (_actions("delete", "create"), "replace"),
        (_actions("create", "forget"), "forget"),
        (_actions(), "change in a way that is not known"),
        (_policy(max_changes=0), "too_many_changes"),
        (_policy(types=("aws_other",)), "type_not_allowed"),
        (
            _policy(freeze=(Freeze(starts="0 7 * * *", lasts=timedelta(hours=1, seconds=1), reason="r"),)),
            "freeze",
        ),
        (_policy(freeze=(Freeze(starts="0 7 * * *", lasts=timedelta(hours=1), reason="r"),)), None),
        (_policy(grace=timedelta(days=1, seconds=1)), "grace"),
        (_policy(grace=timedelta(days=1)), None),
        (lambda found: replace(found, flips={(A, "x"): 3}), "two_controllers"),
        (lambda found: replace(found, flips={(A, "x"): 2}), None),
        (_weakening, "weakens_recovery"),
        (_ignored, "ignored"),
        (lambda found: replace(found, stateful=lambda _: True), "no_validation"),
        (_stateful(None), "no_fresh_validation"),
        (_stateful(NOW - timedelta(hours=26, seconds=1)), "no_fresh_validation"),
        (_stateful(NOW - timedelta(hours=26)), None),
        (
            lambda found: replace(found, drift=replace(found.drift, unread=(Unread("c", "s", "m"),))),
            "not_read",
        ),
    ],
)
def test_each_reason_refuses_alone(tmp_path: Path, made: Callable[[Case], Case], code: str | None) -> None:
    back = entry(A, {"x": 2, "seen": "b"}, {"x": 1}, unknown={"seen": True})
    assert codes(refusals(made(case(tmp_path, [DRIFT], [back])))) == (set() if code is None else {code})


def test_an_import_is_no_repair(tmp_path: Path) -> None:
    imported = entry("aws_thing.b", {"x": 1}, {"x": 1}, ["no-op"])
    imported["change"]["importing"] = {"id": "b"}
    found = refusals(case(tmp_path, [entry(A, {"x": 1}, {"x": 2})], [entry(A, {"x": 2}, {"x": 1}), imported]))
    assert "pending" in codes(found)
