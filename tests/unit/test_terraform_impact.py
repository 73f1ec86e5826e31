"""Each rule of impact: its example weakens recovery and is told in the units of the objectives; the way back does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.exercise import Severity
from ccobs_ops.core.terraform.change import Change, Direction, DriftClass, Impact, Objective
from ccobs_ops.core.terraform.classify import consequences
from ccobs_ops.core.terraform.document import read_plan
from ccobs_ops.core.terraform.impact import ImpactRules, load_rules
from ccobs_ops.core.terraform.rules import Rule, data
from tests.unit.plans import document, entry, write

RULES = load_rules()
EXAMPLES: Mapping[str, Any] = data("examples.yaml")
OF_ATTRIBUTES = [rule for rule in RULES.rules if not rule.of_object]
OF_OBJECTS = [rule for rule in RULES.rules if rule.of_object]


def impacts_of(
    tmp_path: Path,
    kind: str,
    before: Any,
    after: Any,
    *,
    name: str = "x",
    role: str = "primary",
    rules: ImpactRules = RULES,
    **more: Any,
) -> tuple[Impact, ...]:
    plan = read_plan(
        write(tmp_path / "plan.json", document((), [entry(f"{kind}.{name}", before, after, **more)]))
    )
    changes = consequences(plan, impact=rules, role=role)
    return changes[0].impacts if changes else ()


def example(rule: Rule) -> tuple[str, str, Mapping[str, Any]]:
    case = EXAMPLES[rule.name]
    kind = case.get("type") or rule.types[0].replace("*", "x")
    return kind, case.get("name", "x"), case


def test_every_rule_about_an_attribute_has_an_example_and_every_example_a_rule() -> None:
    assert {rule.name for rule in OF_ATTRIBUTES} == set(EXAMPLES)


@pytest.mark.parametrize("rule", OF_ATTRIBUTES, ids=lambda rule: rule.name)
def test_the_example_weakens_and_says_how(rule: Rule, tmp_path: Path) -> None:
    kind, name, case = example(rule)
    role = (rule.roles or ("primary",))[0]
    found = impacts_of(tmp_path, kind, case["before"], case["after"], name=name, role=role)
    (mine,) = [impact for impact in found if impact.rule == rule.name]
    assert mine.direction is Direction.WEAKENS
    assert mine.statement == case["says"]
    assert mine.severity is rule.severity
    assert mine.objective is rule.objective
    others = [each for each in found if each.rule != rule.name and each.direction is Direction.WEAKENS]
    assert others == []


@pytest.mark.parametrize("rule", OF_ATTRIBUTES, ids=lambda rule: rule.name)
def test_the_other_direction_is_information(rule: Rule, tmp_path: Path) -> None:
    kind, name, case = example(rule)
    role = (rule.roles or ("primary",))[0]
    found = impacts_of(tmp_path, kind, case["after"], case["before"], name=name, role=role)
    mine = [impact for impact in found if impact.rule == rule.name]
    if case.get("both"):
        assert [impact.direction for impact in mine] == [Direction.WEAKENS]
    else:
        assert all(impact.direction is Direction.STRENGTHENS for impact in mine)
        assert all(impact.severity is Severity.INFO for impact in mine)


@pytest.mark.parametrize("rule", OF_ATTRIBUTES, ids=lambda rule: rule.name)
def test_a_change_of_something_else_has_no_impact(rule: Rule, tmp_path: Path) -> None:
    kind, name, case = example(rule)
    before, after = case["before"] | {"colour": "red"}, case["before"] | {"colour": "blue"}
    role = (rule.roles or ("primary",))[0]
    assert impacts_of(tmp_path, kind, before, after, name=name, role=role) == ()


@pytest.mark.parametrize("rule", OF_ATTRIBUTES, ids=lambda rule: rule.name)
def test_a_secret_value_never_passes_for_harmless(rule: Rule, tmp_path: Path) -> None:
    kind, name, case = example(rule)
    role = (rule.roles or ("primary",))[0]
    found = impacts_of(
        tmp_path,
        kind,
        case["before"],
        case["after"],
        name=name,
        role=role,
        sensitive=dict.fromkeys(case["before"], True),
    )
    mine = [impact for impact in found if impact.rule == rule.name]
    assert [impact.direction for impact in mine] == [Direction.WEAKENS]
    assert "secret" in mine[0].statement


@pytest.mark.parametrize("rule", OF_OBJECTS, ids=lambda rule: rule.name)
def test_a_deleted_object_weakens(rule: Rule, tmp_path: Path) -> None:
    kind = rule.types[0].replace("*", "x")
    role = (rule.roles or ("primary",))[0]
    found = impacts_of(tmp_path, kind, {"id": "x"}, None, name="nightly_backup", role=role)
    assert rule.name in {impact.rule for impact in found}
    assert all(impact.direction is Direction.WEAKENS for impact in found)


def test_numbers_are_in_the_unit_of_the_rule(tmp_path: Path) -> None:
    (impact,) = impacts_of(
        tmp_path, "aws_db_instance", {"backup_retention_period": 35}, {"backup_retention_period": 7}
    )
    assert (impact.unit, impact.before, impact.after) == ("days", 35.0, 7.0)
    assert impact.objective is Objective.RECOVERY_WINDOW


def test_what_is_unset_counts_as_what_the_provider_takes(tmp_path: Path) -> None:
    (impact,) = impacts_of(
        tmp_path, "aws_db_instance", {"backup_retention_period": 7}, {"backup_retention_period": None}
    )
    assert impact.statement == "oldest restore point moves from 7 d to 0 d"
    assert (
        impacts_of(tmp_path, "aws_db_instance", {"deletion_protection": None}, {"deletion_protection": False})
        == ()
    )


def test_the_dr_network_matters_in_a_dr_root_only(tmp_path: Path) -> None:
    primary = impacts_of(tmp_path, "aws_route", {"id": "r"}, None)
    dr = impacts_of(tmp_path, "aws_route", {"id": "r"}, None, role="dr")
    assert [impact.rule for impact in primary] == []
    assert [impact.rule for impact in dr] == ["dr-network-deleted"]


def test_only_roles_that_back_up_count_as_such(tmp_path: Path) -> None:
    assert impacts_of(tmp_path, "aws_iam_role_policy", {"id": "p"}, None, name="web") == ()
    found = impacts_of(tmp_path, "aws_iam_role_policy", {"id": "web", "role": "aws-dlm"}, None, name="web")
    assert [impact.rule for impact in found] == ["backup-role-deleted"]


def test_a_stateful_object_that_is_replaced_loses_what_it_held(tmp_path: Path) -> None:
    found = impacts_of(tmp_path, "aws_ebs_volume", {"size": 1}, {"size": 2}, actions=["delete", "create"])
    assert [(impact.rule, impact.direction) for impact in found] == [("stateful-deleted", Direction.WEAKENS)]


def test_a_value_known_only_after_an_apply_is_not_harmless(tmp_path: Path) -> None:
    (impact,) = impacts_of(
        tmp_path,
        "aws_backup_vault",
        {"kms_key_arn": "a"},
        {},
        actions=["update"],
        unknown={"kms_key_arn": True},
    )
    assert impact.direction is Direction.WEAKENS
    assert "known only after an apply" in impact.statement


def test_a_lifecycle_rule_for_some_keys_is_seen_beside_one_for_others(tmp_path: Path) -> None:
    base = {"id": "logs", "status": "Enabled", "filter": [{"prefix": "logs/"}], "expiration": [{"days": 1}]}
    added = {"id": "wal", "status": "Enabled", "filter": [{"prefix": "wal/"}], "expiration": [{"days": 400}]}
    kind = "aws_s3_bucket_lifecycle_configuration"
    (impact,) = impacts_of(tmp_path, kind, {"rule": [base]}, {"rule": [base, added]})
    assert impact.statement == "objects expire after 400 d instead of never"
    off = added | {"status": "Disabled"}
    assert impacts_of(tmp_path, kind, {"rule": [base]}, {"rule": [base, off]}) == ()


@pytest.mark.parametrize(
    ("after", "weaker"),
    [
        ([{"id": "a", "status": "Disabled", "destination": [{"bucket": "copy"}]}], True),
        ([{"id": "b", "status": "Enabled", "destination": [{"bucket": "copy"}]}], False),
        ([{"id": "a", "status": "Enabled", "destination": [{"bucket": "other"}]}], True),
        (
            [
                {
                    "id": "a",
                    "status": "Enabled",
                    "filter": [{"tag": [{"key": "k", "value": "v"}]}],
                    "destination": [{"bucket": "copy"}],
                }
            ],
            True,
        ),
        ([], True),
    ],
)
def test_replication_is_compared_by_what_it_covers(after: Any, weaker: bool, tmp_path: Path) -> None:
    before = [{"id": "a", "status": "Enabled", "destination": [{"bucket": "copy"}]}]
    found = impacts_of(tmp_path, "aws_s3_bucket_replication_configuration", {"rule": before}, {"rule": after})
    assert any(impact.rule == "s3-replication" for impact in found) is weaker


def test_a_tag_that_a_selection_of_the_state_names_is_missed(tmp_path: Path) -> None:
    held = {
        "address": "aws_backup_selection.s",
        "mode": "managed",
        "type": "aws_backup_selection",
        "values": {"selection_tag": [{"type": "STRINGEQUALS", "key": "Tier", "value": "gold"}]},
    }
    state = {"values": {"root_module": {"resources": [held]}}}
    moved = entry("aws_ebs_volume.v", {"tags": {"Tier": "gold"}}, {"tags": {"Tier": "tin"}})
    other = entry("aws_ebs_volume.w", {"tags": {"Tier": "tin"}}, {"tags": {"Tier": "lead"}})
    plan = read_plan(write(tmp_path / "p.json", document((), [moved, other], prior_state=state)))
    found = {each.address: each for each in consequences(plan, impact=RULES)}
    assert [impact.statement for impact in found["aws_ebs_volume.v"].impacts] == [
        "the tag that selects it for backup goes from Tier=gold to Tier=tin"
    ]
    assert found["aws_ebs_volume.w"].impacts == ()


@pytest.mark.parametrize(
    ("before", "after", "hours"),
    [
        ("rate(1 hour)", "rate(12 hours)", (1.0, 12.0)),
        ("cron(0 */6 * * ? *)", "cron(30 5 * * ? *)", (6.0, 24.0)),
        ("cron(0 5 ? * * *)", "every day", (None, None)),
    ],
)
def test_schedules_are_compared_by_their_longest_gap(
    before: str, after: str, hours: tuple[float | None, float | None], tmp_path: Path
) -> None:
    def rules(schedule: str) -> Any:
        return {"rule": [{"rule_name": "n", "schedule": schedule}]}

    (impact,) = impacts_of(tmp_path, "aws_backup_plan", rules(before), rules(after))
    assert impact.direction is Direction.WEAKENS
    assert (impact.before, impact.after) == hours


def test_severity_without_a_rule_is_by_type(tmp_path: Path) -> None:
    assert RULES.severity("aws_dynamodb_table", DriftClass.DELETED) is Severity.CRITICAL
    assert RULES.severity("aws_iam_role", DriftClass.CHANGED) is Severity.WARNING
    assert RULES.severity("null_resource", DriftClass.PENDING) is Severity.INFO
    assert RULES.severity("aws_db_instance", DriftClass.CHANGED_INFORMATIONAL) is Severity.INFO
    assert RULES.is_stateful("aws_fsx_lustre_file_system")
    assert not RULES.is_stateful("aws_route")


def write_rules(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text("version: 1\nrules:\n" + text)
    return path


GOOD = """
- rule: box-days
  types: [lab_box]
  attribute: keep.days
  weaker: lowered
  unit: days
  objective: recovery_window
  severity: critical
  says: "kept {after} instead of {before}"
  why: because
"""


def test_a_file_of_the_inventory_adds_rules(tmp_path: Path) -> None:
    rules = load_rules((write_rules(tmp_path, GOOD),))
    assert len(rules.rules) == len(RULES.rules) + 1
    (impact,) = impacts_of(tmp_path, "lab_box", {"keep": [{"days": 9}]}, {"keep": [{"days": 2}]}, rules=rules)
    assert impact.statement == "kept 2 d instead of 9 d"


def test_a_rule_of_the_same_name_replaces_the_packaged_one(tmp_path: Path) -> None:
    path = write_rules(tmp_path, GOOD.replace("box-days", "rds-multi-az"))
    rules = load_rules((path,))
    assert len(rules.rules) == len(RULES.rules)
    assert impacts_of(tmp_path, "aws_db_instance", {"multi_az": True}, {"multi_az": False}, rules=rules) == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("weaker: lowered", "weaker: worse"), "weaker: worse is not known"),
        (("  types: [lab_box]\n", ""), "it has no `types:`"),
        (("  attribute: keep.days\n", ""), "it has no `attribute:`"),
        (("severity: critical", "severity: fatal"), "fatal"),
        (("why: because", "why: because\n  colour: red"), "'colour'"),
        (("{before}", "{befor}"), "befor"),
        (("- rule: box-days", "- role: box-days"), "no name"),
        (("why: because", "why: because\n  where: '('"), "rule box-days"),
        (("rule: box-days", "rule: [box"), "line"),
    ],
)
def test_a_wrong_rule_is_named_with_what_is_wrong(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    path = write_rules(tmp_path, GOOD.replace(*change))
    with pytest.raises(UsageError) as error:
        load_rules((path,))
    assert told in error.value.message
    assert str(path) in error.value.message


def test_a_missing_file_of_rules_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml"):
        load_rules((tmp_path / "nowhere.yaml",))


def test_a_weakening_counts_whatever_its_class() -> None:
    impact = Impact("r", "a", Direction.WEAKENS, Objective.RPO, Severity.CRITICAL, "s", "w")
    change = Change(
        "a.b", "a", "", DriftClass.CHANGED_INFORMATIONAL, Severity.CRITICAL, "m", impacts=(impact,)
    )
    assert change.is_open
    assert change.recovery_critical
    assert "no apply" in change.to_finding().hint
