"""From two plans to classes: what is drift, what is pending, and what is neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.exercise import Severity
from ccobs_ops.core.terraform.change import Drift, DriftClass
from ccobs_ops.core.terraform.classify import classify, consequences
from ccobs_ops.core.terraform.document import read_plans
from tests.unit.drifts import RULES, TODAY, A, drift_of, only
from tests.unit.plans import document, entry, write


def test_nothing_is_nothing(tmp_path: Path) -> None:
    drift = drift_of(tmp_path)
    assert (drift.changes, drift.unread, drift.open) == ((), (), ())
    assert drift.complete


def test_what_is_gone_is_deleted_and_creating_it_again_is_not_pending(tmp_path: Path) -> None:
    drift = drift_of(tmp_path, [entry(A, {"id": "x"}, None)], [entry(A, None, {"id": "x"})])
    change = only(drift)
    assert change.drift_class is DriftClass.DELETED
    assert change.is_open
    assert dict(change.identity) == {"id": "x"}


def test_what_an_apply_would_put_back_is_changed(tmp_path: Path) -> None:
    drift = drift_of(
        tmp_path,
        [entry(A, {"x": 1, "seen": 1}, {"x": 2, "seen": 9})],
        [entry(A, {"x": 2, "seen": 9}, {"x": 1, "seen": 9})],
    )
    change = only(drift)
    assert change.drift_class is DriftClass.CHANGED
    assert [(each.path, each.before, each.after, each.managed) for each in change.attributes] == [
        ("x", 1, 2, True),
        ("seen", 1, 9, False),
    ]


@pytest.mark.parametrize("changes", [[], [entry(A, {"x": 2}, {"x": 2}, ["no-op"])]])
def test_what_no_apply_would_touch_is_informational(changes: list[Any], tmp_path: Path) -> None:
    change = only(drift_of(tmp_path, [entry(A, {"x": 1}, {"x": 2})], changes))
    assert change.drift_class is DriftClass.CHANGED_INFORMATIONAL
    assert not change.is_open
    assert change.severity is Severity.INFO


def test_an_ignored_attribute_that_recovery_rests_on_is_open_and_critical(tmp_path: Path) -> None:
    change = only(drift_of(tmp_path, [entry("aws_db_instance.a", {"multi_az": True}, {"multi_az": False})]))
    assert change.drift_class is DriftClass.CHANGED_INFORMATIONAL
    assert change.is_open
    assert change.recovery_critical


def test_strengthening_drift_is_still_drift_but_information(tmp_path: Path) -> None:
    change = only(
        drift_of(
            tmp_path,
            [entry("aws_db_instance.a", {"backup_retention_period": 7}, {"backup_retention_period": 35})],
            [entry("aws_db_instance.a", {"backup_retention_period": 35}, {"backup_retention_period": 7})],
        )
    )
    assert (change.drift_class, change.severity, change.weakens) == (DriftClass.CHANGED, Severity.INFO, False)


def test_a_computed_value_beside_an_update_is_not_taken_for_managed(tmp_path: Path) -> None:
    changes = [entry(A, {"x": 2, "etag": "b"}, {"x": 1}, unknown={"etag": True})]
    drift = [entry(A, {"x": 1, "etag": "a"}, {"x": 2, "etag": "b"})]
    config = {"root_module": {"resources": [{"address": A, "expressions": {"x": {"constant_value": 1}}}]}}
    change = only(drift_of(tmp_path, drift, changes, plan={"configuration": config}))
    assert {each.path: each.managed for each in change.attributes} == {"x": True, "etag": False}
    config["root_module"]["resources"][0]["expressions"]["etag"] = {"references": ["other"]}
    change = only(drift_of(tmp_path, drift, changes, plan={"configuration": config}))
    assert {each.path: each.managed for each in change.attributes} == {"x": True, "etag": True}


@pytest.mark.parametrize("actions", [["delete"], ["forget"]])
def test_drift_of_what_is_leaving_the_configuration_is_seen(actions: list[str], tmp_path: Path) -> None:
    drift = drift_of(tmp_path, [entry(A, {"x": 1}, {"x": 2})], [entry(A, {"x": 2}, None, actions)])
    classes = [change.drift_class for change in drift.changes]
    assert DriftClass.CHANGED in classes


@pytest.mark.parametrize(
    ("before", "after", "actions", "told"),
    [
        (None, {"x": 1}, ["create"], "create it"),
        ({"x": 1}, {"x": 2}, ["update"], "change it"),
        ({"x": 1}, None, ["delete"], "delete it"),
        ({"x": 1}, None, ["forget"], "forget it"),
        ({"x": 1}, {"x": 2}, ["delete", "create"], "create it again"),
        ({"x": 1}, {"x": 2}, ["create", "delete"], "create it again"),
    ],
)
def test_what_was_never_applied_is_pending(
    before: Any, after: Any, actions: list[str], told: str, tmp_path: Path
) -> None:
    change = only(drift_of(tmp_path, (), [entry(A, before, after, actions)]))
    assert change.drift_class is DriftClass.PENDING
    assert told in change.message
    assert change.actions == tuple(actions)


def test_drift_and_a_pending_change_of_one_object_are_two_things(tmp_path: Path) -> None:
    drift = drift_of(
        tmp_path,
        [entry(A, {"x": 1, "y": 1}, {"x": 2, "y": 1})],
        [entry(A, {"x": 2, "y": 1}, {"x": 1, "y": 5})],
    )
    found = {change.drift_class: [each.path for each in change.attributes] for change in drift.changes}
    assert found == {DriftClass.CHANGED: ["x"], DriftClass.PENDING: ["y"]}


@pytest.mark.parametrize("sensitive", [False, True])
def test_a_new_value_for_what_drifted_is_pending_too(sensitive: bool, tmp_path: Path) -> None:
    marks: dict[str, Any] = {"sensitive": {"x": True}} if sensitive else {}
    drift = drift_of(
        tmp_path,
        [entry(A, {"x": "was"}, {"x": "found"}, **marks)],
        [entry(A, {"x": "found"}, {"x": "newly wanted"}, **marks)],
    )
    assert {change.drift_class for change in drift.changes} == {DriftClass.CHANGED, DriftClass.PENDING}


def test_a_list_put_back_in_another_order_is_not_pending(tmp_path: Path) -> None:
    drift = drift_of(
        tmp_path, [entry(A, {"x": ["a", "b"]}, {"x": ["a"]})], [entry(A, {"x": ["a"]}, {"x": ["b", "a"]})]
    )
    assert [change.drift_class for change in drift.changes] == [DriftClass.CHANGED]


def test_an_import_is_pending_even_if_it_changes_nothing(tmp_path: Path) -> None:
    imported = entry(A, {"x": 1}, {"x": 1}, ["no-op"])
    imported["change"]["importing"] = {"id": "x"}
    change = only(drift_of(tmp_path, (), [imported]))
    assert (change.drift_class, change.message) == (DriftClass.PENDING, "an apply would import it")


def test_an_update_of_nothing_but_empty_values_is_not_pending(tmp_path: Path) -> None:
    assert drift_of(tmp_path, (), [entry(A, {"x": None, "y": []}, {"x": "", "y": {}})]).changes == ()


def test_an_order_that_an_apply_would_put_back_is_drift_and_any_other_is_not(tmp_path: Path) -> None:
    before, after = {"x": ["a", "b"]}, {"x": ["b", "a"]}
    assert drift_of(tmp_path, [entry(A, before, after)]).changes == ()
    change = only(drift_of(tmp_path, [entry(A, before, after)], [entry(A, after, before)]))
    assert change.drift_class is DriftClass.CHANGED


def test_a_block_whose_place_in_the_list_differs_between_the_plans_is_recognised(tmp_path: Path) -> None:
    one, two, new = {"n": "one", "v": 1}, {"n": "two", "v": 2}, {"n": "two", "v": 9}
    drift = drift_of(
        tmp_path,
        [entry(A, {"r": [one, two]}, {"r": [new, one]})],
        [entry(A, {"r": [one, new]}, {"r": [two, one]})],
    )
    assert [change.drift_class for change in drift.changes] == [DriftClass.CHANGED]


def test_moved_is_told_once_and_is_not_open(tmp_path: Path) -> None:
    moved = entry(A, {"x": 1}, {"x": 1}, ["no-op"], previous_address="aws_thing.old")
    change = only(drift_of(tmp_path, [moved], [moved]))
    assert (change.drift_class, change.previous_address, change.is_open) == (
        DriftClass.MOVED,
        "aws_thing.old",
        False,
    )


def test_moved_and_changed_are_both_told(tmp_path: Path) -> None:
    moved = entry(A, {"x": 1}, {"x": 2}, previous_address="aws_thing.old")
    drift = drift_of(tmp_path, [moved], [entry(A, {"x": 2}, {"x": 1}, previous_address="aws_thing.old")])
    assert {change.drift_class for change in drift.changes} == {DriftClass.MOVED, DriftClass.CHANGED}


def test_what_was_accepted_is_divergent_until_the_configuration_says_so(tmp_path: Path) -> None:
    changes = [entry(A, {"x": 2, "y": 1}, {"x": 1, "y": 2})]
    drift = drift_of(tmp_path, (), changes, accepted={(A, "x")})
    found = {change.drift_class: [each.path for each in change.attributes] for change in drift.changes}
    assert found == {DriftClass.ACCEPTED_BUT_DIVERGENT: ["x"], DriftClass.PENDING: ["y"]}
    assert all(change.is_open for change in drift.changes)
    assert drift_of(tmp_path, (), [], accepted={(A, "x")}).changes == ()


def test_an_accepted_deletion_is_divergent_while_it_would_be_created_again(tmp_path: Path) -> None:
    change = only(drift_of(tmp_path, (), [entry(A, None, {"x": 1})], accepted={(A, "")}))
    assert change.drift_class is DriftClass.ACCEPTED_BUT_DIVERGENT


def test_what_was_accepted_says_what_the_divergence_does_to_recovery(tmp_path: Path) -> None:
    changes = [entry("aws_db_instance.a", {"multi_az": False}, {"multi_az": True})]
    change = only(drift_of(tmp_path, (), changes, accepted={("aws_db_instance.a", "multi_az")}))
    assert (change.recovery_critical, change.severity, change.actions) == (
        True,
        Severity.CRITICAL,
        ("update",),
    )
    assert [(each.before, each.after) for each in change.attributes] == [(True, False)]
    gone = only(
        drift_of(
            tmp_path,
            (),
            [entry("aws_s3_bucket.b", None, {"bucket": "b"})],
            accepted={("aws_s3_bucket.b", "")},
        )
    )
    assert gone.recovery_critical


SECRET_MARKS = {"sensitive": {"password": True}}


@pytest.mark.parametrize(
    ("was", "wanted", "same"),
    [
        ("old-secret", "old-secret", True),
        ("old-secret", "new-secret", False),
        (1234, 1234.0, True),
        ({"a": [1, 2], "b": None}, {"a": [1, 2]}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ("x" * 5000 + "a", "x" * 5000 + "b", False),
        (None, "", True),
        (True, 1, False),
    ],
)
def test_values_that_are_masked_or_cut_can_still_be_compared(
    was: Any, wanted: Any, same: bool, tmp_path: Path
) -> None:
    drift = [entry(A, {"password": was}, {"password": "by hand"}, **SECRET_MARKS)]
    changes = [entry(A, {"password": "by hand"}, {"password": wanted}, **SECRET_MARKS)]
    refresh, plan = read_plans(
        [write(tmp_path / "r", document(drift)), write(tmp_path / "p", document((), changes))]
    )
    found = classify(refresh, plan, impact=RULES, today=TODAY).changes[0].attributes
    planned = consequences(plan, impact=RULES)[0].attributes
    assert [each.path.split(".")[0].split("[")[0] for each in (found[0], planned[0])] == ["password"] * 2
    one = {each.path: each.before_mark for each in found}
    other = {each.path: each.after_mark for each in planned}
    assert (one == other) is same
    assert None not in one.values()
    for mark in (*one.values(), *other.values()):
        assert mark not in json.dumps([each.to_json() for each in (*found, *planned)])
        assert str(mark) not in repr((found, planned))


def test_what_is_not_known_yet_has_no_mark(tmp_path: Path) -> None:
    (plan,) = read_plans(
        [write(tmp_path / "p", document((), [entry(A, {"x": 1}, {}, ["update"], unknown={"x": True})]))]
    )
    assert consequences(plan, impact=RULES)[0].attributes[0].after_mark is None


def test_the_worst_for_recovery_comes_first(tmp_path: Path) -> None:
    drift = drift_of(
        tmp_path,
        [
            entry("aws_a.z", {"x": 1}, None),
            entry("aws_db_instance.m", {"multi_az": True}, {"multi_az": False}),
            entry("aws_a.c", {"x": 1}, {"x": 2}),
            entry("aws_s3_bucket.b", {"id": "b"}, None),
        ],
        [entry("aws_a.n", None, {"x": 1})],
    )
    assert [change.address for change in drift.changes] == [
        "aws_db_instance.m", "aws_s3_bucket.b", "aws_a.z", "aws_a.c", "aws_a.n",
    ]  # fmt: skip
    assert [change.address for change in drift.open] == [
        "aws_db_instance.m",
        "aws_s3_bucket.b",
        "aws_a.z",
        "aws_a.n",
    ]
    assert drift.counts()["deleted"] == 2


def test_a_long_value_is_cut_and_says_so(tmp_path: Path) -> None:
    change = only(drift_of(tmp_path, [entry(A, {"x": "a"}, {"x": "b" * 50_000, "y": {"k": ["c" * 9000]}})]))
    assert [str(each.after)[-20:] for each in change.attributes if each.path == "x"] == [
        "b… (50000 characters)"[-20:]
    ]
    assert len(str(change.to_json())) < 8000


def test_deposed_objects_are_not_mixed_up_with_the_current_one(tmp_path: Path) -> None:
    gone = entry(A, {"id": "old"}, None, deposed="deadbeef")
    drift = drift_of(tmp_path, [gone], [entry(A, {"x": 1}, {"x": 2})])
    assert {change.drift_class for change in drift.changes} == {DriftClass.DELETED, DriftClass.PENDING}


def test_consequences_are_those_of_the_apply_not_of_the_drift(tmp_path: Path) -> None:
    raised = [entry("aws_db_instance.a", {"backup_retention_period": 35}, {"backup_retention_period": 7})]
    (plan,) = read_plans([write(tmp_path / "p.json", document((), [*raised, entry(A, {"x": 1}, None)]))])
    found = {change.address: change for change in consequences(plan, impact=RULES)}
    assert found["aws_db_instance.a"].weakens
    assert not found[A].weakens
    assert found[A].actions == ("delete",)


def test_one_json_form(tmp_path: Path) -> None:
    change = only(drift_of(tmp_path, [entry("aws_db_instance.a", {"multi_az": True}, {"multi_az": False})]))
    form = change.to_json()
    assert form["class"] == "changed_informational"
    assert form["impacts"][0]["rule"] == "rds-multi-az"
    assert form["attributes"] == [
        {
            "path": "multi_az",
            "before": True,
            "after": False,
            "managed": False,
            "sensitive": False,
            "after_unknown": False,
        }
    ]
    assert form["who"] is None
    assert form["open"] is True


def test_coverage() -> None:
    assert Drift(managed=3).coverage_ratio is None
    assert Drift(managed=3, unmanaged=1).coverage_ratio == 0.75
    assert Drift(managed=0, unmanaged=0).coverage_ratio is None
