"""Ignore rules silence what is reported, for a time, and never what recovery rests on without an extra word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.terraform.change import Drift, DriftClass
from ccobs_ops.core.terraform.classify import classify
from ccobs_ops.core.terraform.document import read_plans
from ccobs_ops.core.terraform.ignore import covers
from ccobs_ops.core.terraform.impact import load_rules
from tests.unit.plans import document, entry, write

TODAY = date(2026, 11, 23)


@dataclass(frozen=True)
class Rule:
    address: str
    attribute: str | None = None
    expires: date = date(2026, 12, 31)
    covers_recovery: bool = False
    owner: str = "team:data"
    reason: str = "scaled by hand"


def drift_of(tmp_path: Path, drift: Sequence[Any], *rules: Rule, put_back: bool = True) -> Drift:
    back = [
        entry(each["address"], each["change"]["after"], each["change"]["before"])
        for each in drift
        if put_back and each["change"]["after"] is not None
    ]
    read = read_plans(
        [write(tmp_path / "r.json", document(drift)), write(tmp_path / "p.json", document((), back))]
    )
    return classify(*read, impact=load_rules(), ignore=rules, today=TODAY)


SIZE = entry("aws_thing.a[0]", {"size": 1, "tags": {"Team": "x"}}, {"size": 2, "tags": {"Team": "y"}})


@pytest.mark.parametrize(
    ("pattern", "name", "meant"),
    [
        ("aws_thing.a", "aws_thing.a", True),
        ("aws_thing.a", "aws_thing.a[0]", True),
        ("aws_thing.a", 'aws_thing.a["k"]', True),
        ("aws_thing.a", "aws_thing.ab", False),
        ("aws_thing.a[0]", "aws_thing.a[01]", False),
        ("aws_thing.*", "aws_thing.ab", True),
        ("module.cache", "module.cache.aws_thing.a", True),
        ("module.cache", 'module.cache["x"].aws_thing.a', True),
        ("module.cache", "module.cached.aws_thing.a", False),
        ("tags", "tags.Team", True),
        ("tags.*", "tags", False),
        ("*.size", "disk[0].size", True),
        ("aws_thing.a", "module.x.aws_thing.a", False),
    ],
)
def test_what_a_pattern_means(pattern: str, name: str, meant: bool) -> None:
    assert covers(pattern, name) is meant


def test_a_whole_object_is_silenced_and_says_by_whom(tmp_path: Path) -> None:
    (change,) = drift_of(tmp_path, [SIZE], Rule("aws_thing.a")).changes
    assert not change.is_open
    assert change.ignored_by is not None
    assert change.to_json()["ignored_by"] == {
        "owner": "team:data",
        "reason": "scaled by hand",
        "expires": "2026-12-31",
    }


def test_a_part_is_silenced_and_the_rest_stays_open(tmp_path: Path) -> None:
    drift = drift_of(tmp_path, [SIZE], Rule("aws_thing.*", "size"))
    (still,) = drift.open
    (silent,) = [change for change in drift.changes if not change.is_open]
    assert [each.path for each in still.attributes] == ["tags.Team"]
    assert [each.path for each in silent.attributes] == ["size"]
    assert drift.count(DriftClass.CHANGED) == 1


def test_a_rule_for_an_attribute_silences_no_deletion(tmp_path: Path) -> None:
    gone = entry("aws_thing.a", {"size": 1}, None)
    assert len(drift_of(tmp_path, [gone], Rule("aws_thing.a", "size")).open) == 1
    assert len(drift_of(tmp_path, [gone], Rule("aws_thing.a")).open) == 0


@pytest.mark.parametrize("expires", [TODAY, date(2027, 1, 1)])
def test_the_last_day_counts(expires: date, tmp_path: Path) -> None:
    assert drift_of(tmp_path, [SIZE], Rule("aws_thing.a", expires=expires)).open == ()


def test_an_expired_rule_does_nothing_and_is_a_finding(tmp_path: Path) -> None:
    drift = drift_of(tmp_path, [SIZE], Rule("aws_thing.a", expires=date(2026, 11, 22)))
    assert len(drift.open) == 1
    (note,) = drift.notes
    assert (note.code, note.subject) == ("ignore_rule_expired", "aws_thing.a")
    assert "team:data" in note.message
    assert note in drift.findings()


def test_an_expired_rule_is_a_finding_even_when_nothing_drifted(tmp_path: Path) -> None:
    drift = drift_of(tmp_path, [], Rule("aws_thing.a", expires=date(2020, 1, 1)))
    assert [note.code for note in drift.notes] == ["ignore_rule_expired"]


DATABASE = entry(
    "aws_db_instance.a", {"backup_retention_period": 35, "size": 1}, {"backup_retention_period": 7, "size": 2}
)


@pytest.mark.parametrize("attribute", [None, "backup_retention_period", "*"])
def test_what_recovery_rests_on_needs_an_extra_word(attribute: str | None, tmp_path: Path) -> None:
    drift = drift_of(tmp_path, [DATABASE], Rule("aws_db_instance.a", attribute))
    (change,) = drift.open
    assert [each.path for each in change.attributes] == ["backup_retention_period"] + (
        ["size"] if attribute == "backup_retention_period" else []
    )
    assert change.recovery_critical
    assert [note.code for note in drift.notes] == ["ignore_rule_refused"]
    drift = drift_of(tmp_path, [DATABASE], Rule("aws_db_instance.a", attribute, covers_recovery=True))
    assert not any(change.recovery_critical for change in drift.open)
    assert drift.notes == ()


def test_a_deleted_database_needs_the_extra_word_too(tmp_path: Path) -> None:
    gone = entry("aws_db_instance.a", {"id": "x"}, None)
    assert len(drift_of(tmp_path, [gone], Rule("*")).open) == 1
    assert drift_of(tmp_path, [gone], Rule("*", covers_recovery=True)).open == ()


def test_what_strengthens_may_be_silenced(tmp_path: Path) -> None:
    raised = entry("aws_db_instance.a", {"backup_retention_period": 7}, {"backup_retention_period": 35})
    assert drift_of(tmp_path, [raised], Rule("aws_db_instance.a")).open == ()


def test_one_tag_may_be_silenced_while_the_tag_for_backup_is_missed(tmp_path: Path) -> None:
    tagged = entry("aws_thing.a", {"tags": {"Team": "x", "backup": "daily"}}, {"tags": {"Team": "y"}})
    drift = drift_of(tmp_path, [tagged], Rule("aws_thing.a", "tags.Team"))
    (change,) = drift.open
    assert [each.path for each in change.attributes] == ["tags.backup"]
    assert drift.notes == ()


def test_a_second_rule_may_cover_what_the_first_does_not(tmp_path: Path) -> None:
    rules = (Rule("aws_thing.a", "size"), Rule("aws_thing.a", "tags", owner="team:web"))
    assert drift_of(tmp_path, [SIZE], *rules).open == ()
