"""A dr root against its primary: what is missing, smaller, older or shorter would break a failover."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.exercise import Finding, Severity
from ccobs_ops.core.terraform.document import read_plan
from ccobs_ops.core.terraform.impact import ImpactRules, load_rules
from ccobs_ops.core.terraform.parity import COMPARISONS, compare, size_rank
from ccobs_ops.core.terraform.plan import PlanDocument
from tests.unit.plans import write


def state(tmp_path: Path, *held: tuple[str, dict[str, Any]], sensitive: Any = None) -> PlanDocument:
    resources = [
        {
            "address": address,
            "mode": "managed",
            "type": address.split(".")[-2],
            "values": values,
            "sensitive_values": sensitive,
        }
        for address, values in held
    ]
    return read_plan(
        write(
            tmp_path / "s.json",
            {"format_version": "1.2", "prior_state": {"values": {"root_module": {"resources": resources}}}},
        )
    )


def found(
    tmp_path: Path,
    primary: dict[str, Any],
    dr: dict[str, Any],
    kind: str = "aws_db_instance",
    rules: ImpactRules | None = None,
) -> tuple[Finding, ...]:
    return compare(
        state(tmp_path, (f"{kind}.main", dr)),
        state(tmp_path, (f"{kind}.main", primary)),
        name="dr",
        primary_name="prod",
        rules=rules,
    )


GOOD = {
    "engine": "postgres",
    "engine_version": "16.4",
    "instance_class": "db.r7g.2xlarge",
    "allocated_storage": 500,
    "backup_retention_period": 35,
    "storage_encrypted": True,
    "multi_az": True,
    "parameter_group_name": "pg16",
}


def test_alike_is_fine(tmp_path: Path) -> None:
    assert found(tmp_path, GOOD, GOOD) == ()


@pytest.mark.parametrize(
    "better",
    [
        {"engine_version": "16.9"},
        {"engine_version": "17.2"},
        {"instance_class": "db.m8g.4xlarge"},
        {"instance_class": "db.r7g.metal"},
        {"allocated_storage": 1000},
        {"backup_retention_period": 36},
    ],
)
def test_more_is_fine(better: dict[str, Any], tmp_path: Path) -> None:
    assert found(tmp_path, GOOD, GOOD | better) == ()


@pytest.mark.parametrize(
    ("worse", "severity"),
    [
        ({"engine": "mysql"}, Severity.CRITICAL),
        ({"engine_version": "16.3"}, Severity.CRITICAL),
        ({"engine_version": "15.9"}, Severity.CRITICAL),
        ({"engine_version": None}, Severity.CRITICAL),
        ({"instance_class": "db.r7g.xlarge"}, Severity.CRITICAL),
        ({"instance_class": "db.t4g.micro"}, Severity.CRITICAL),
        ({"instance_class": "serverless"}, Severity.CRITICAL),
        ({"allocated_storage": 499}, Severity.CRITICAL),
        ({"allocated_storage": None}, Severity.CRITICAL),
        ({"storage_encrypted": False}, Severity.CRITICAL),
        ({"backup_retention_period": 7}, Severity.WARNING),
        ({"multi_az": False}, Severity.WARNING),
        ({"parameter_group_name": ""}, Severity.WARNING),
    ],
)
def test_less_is_a_finding_with_both_values_and_why(
    worse: dict[str, Any], severity: Severity, tmp_path: Path
) -> None:
    (finding,) = found(tmp_path, GOOD, GOOD | worse)
    (key,) = worse
    assert (finding.code, finding.severity, finding.subject) == (
        "parity_weaker",
        severity,
        f"aws_db_instance.main {key}",
    )
    assert "in dr" in finding.message
    assert "in prod" in finding.message


def test_a_log_type_that_the_dr_side_lacks_is_weaker_and_one_more_is_not() -> None:
    enough = COMPARISONS["set"]
    assert enough(["audit", "api"], ["api", "audit", "scheduler"])
    assert not enough(["audit", "api"], ["api"])
    assert not enough(["audit"], None)
    assert enough(None, [])


def test_what_is_missing_is_found(tmp_path: Path) -> None:
    dr = state(tmp_path)
    (finding,) = compare(
        dr, state(tmp_path, ("aws_eks_cluster.main", {"version": "1.33"})), name="dr", primary_name="prod"
    )
    assert (finding.code, finding.subject, finding.severity) == (
        "parity_missing",
        "aws_eks_cluster.main",
        Severity.CRITICAL,
    )


def test_what_the_dr_side_has_besides_is_no_finding(tmp_path: Path) -> None:
    assert (
        compare(
            state(tmp_path, ("aws_db_instance.more", GOOD)), state(tmp_path), name="dr", primary_name="prod"
        )
        == ()
    )


def test_roles_are_recognised_by_tag_then_address_then_by_being_the_only_one(tmp_path: Path) -> None:
    small = GOOD | {"instance_class": "db.r7g.large"}
    primary = state(
        tmp_path, ("aws_db_instance.a", GOOD | {"tags": {"role": "events"}}), ("aws_db_instance.b", GOOD)
    )
    tagged = state(
        tmp_path,
        ("module.x.aws_db_instance.z", small | {"tags": {"Role": "events"}}),
        ("aws_db_instance.b", GOOD),
    )
    (finding,) = compare(tagged, primary, name="dr", primary_name="prod")
    assert finding.subject == "module.x.aws_db_instance.z instance_class"
    (only,) = compare(
        state(tmp_path, ("module.replica.aws_db_instance.other", small)),
        state(tmp_path, ("aws_db_instance.main", GOOD)),
        name="dr",
        primary_name="prod",
    )
    assert only.subject == "module.replica.aws_db_instance.other instance_class"
    two = state(tmp_path, ("aws_db_instance.x", GOOD), ("aws_db_instance.y", GOOD))
    found = compare(two, primary, name="dr", primary_name="prod")
    assert {each.code for each in found} == {"parity_missing"}


def test_nested_values_are_compared(tmp_path: Path) -> None:
    def bucket(status: str) -> dict[str, Any]:
        return {"versioning_configuration": [{"status": status}]}

    (finding,) = found(tmp_path, bucket("Enabled"), bucket("Suspended"), "aws_s3_bucket_versioning")
    assert finding.message.startswith("Suspended in dr, Enabled in prod: ")


def test_a_secret_value_cannot_be_compared_and_says_so(tmp_path: Path) -> None:
    secret = state(tmp_path, ("aws_db_instance.main", GOOD), sensitive={"engine_version": True})
    codes = {
        each.code
        for each in compare(
            secret, state(tmp_path, ("aws_db_instance.main", GOOD)), name="dr", primary_name="prod"
        )
    }
    assert codes == {"parity_unknown"}


def test_a_file_of_the_inventory_adds_roles(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "version: 1\nroles:\n  - types: [lab_bucket]\n    attributes:\n"
        '      - {path: retention_days, compare: at_least, severity: critical, why: "copies go earlier"}\n'
    )
    rules = load_rules((path,))
    (finding,) = found(tmp_path, {"retention_days": 30}, {"retention_days": 3}, "lab_bucket", rules)
    assert finding.message == "3 in dr, 30 in prod: copies go earlier"
    assert found(tmp_path, {"retention_days": 30}, {"retention_days": 3}, "lab_bucket") == ()


def test_sizes_are_ranked_within_any_family() -> None:
    names = [
        "db.t4g.micro",
        "cache.r7g.large",
        "m7i.xlarge",
        "db.r6g.2xlarge",
        "r7iz.16xlarge",
        "m7i.metal-24xl",
    ]
    ranks = [size_rank(name) for name in names]
    assert ranks == sorted(ranks, key=lambda rank: rank or 0)
    assert None not in ranks
    assert size_rank("db.serverless") is None
