"""What each version of Terraform and OpenTofu writes, in small: read, classified and masked."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.terraform.change import Direction, Drift, DriftClass
from ccobs_ops.core.terraform.classify import classify
from ccobs_ops.core.terraform.document import read_plans
from ccobs_ops.core.terraform.impact import load_rules

FOLDER = Path(__file__).resolve().parents[1] / "fixtures/terraform"
DB = "aws_db_instance.main"
EXPECTED: dict[str, set[tuple[str, DriftClass, str]]] = {
    "format-1.0": {(DB, DriftClass.CHANGED, "rds-backup-retention")},
    "format-1.1": {(DB, DriftClass.CHANGED, "backup-tag")},
    "terraform-1.5": {
        ("aws_s3_bucket_versioning.backups", DriftClass.CHANGED, "s3-versioning"),
        ("check.replica", DriftClass.CHECK_FAILED, ""),
        ("aws_s3_bucket.old", DriftClass.PENDING, ""),
    },
    "terraform-1.7": {
        ("module.old.aws_ebs_volume.data[0]", DriftClass.CHANGED, ""),
        ("module.old.aws_ebs_volume.data[0]", DriftClass.PENDING, ""),
    },
    "terraform-1.8": {
        ('module.net["eu"].aws_security_group.web', DriftClass.MOVED, ""),
        ("aws_instance.web[1]", DriftClass.PENDING, "stateful-deleted"),
    },
    "terraform-1.10": {
        ("aws_s3_bucket_object_lock_configuration.backups", DriftClass.CHANGED, "s3-object-lock")
    },
    "terraform-1.12": {("aws_s3_bucket.backups", DriftClass.DELETED, "stateful-deleted")},
    "terraform-1.15": {
        ("aws_s3_bucket_replication_configuration.backups", DriftClass.CHANGED, "s3-replication")
    },
    "opentofu-1.6": {(DB, DriftClass.CHANGED, "rds-multi-az")},
    "opentofu-1.10": {(DB, DriftClass.CHANGED, "rds-multi-az")},
}


def drift_of(refresh: Path, plan: Path) -> Drift:
    return classify(*read_plans((refresh, plan)), impact=load_rules(), today=date(2026, 11, 23))


def paths(name: str) -> tuple[Path, Path]:
    return FOLDER / f"{name}.refresh.json", FOLDER / f"{name}.plan.json"


def test_every_fixture_is_expected() -> None:
    assert {path.name.removesuffix(".plan.json") for path in FOLDER.glob("*.plan.json")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_version_is_read_as_it_is(name: str) -> None:
    drift = drift_of(*paths(name))
    weakened = {
        (change.address, change.drift_class, rule)
        for change in drift.changes
        for rule in ({each.rule for each in change.impacts if each.direction is Direction.WEAKENS} or {""})
    }
    assert weakened == EXPECTED[name]
    assert drift.complete is (name != "terraform-1.15")
    assert "correct-horse" not in repr(drift)


def test_what_was_put_off_is_unread() -> None:
    drift = drift_of(*paths("terraform-1.15"))
    assert [each.code for each in drift.unread] == ["plan_deferred"]
    assert "aws_eks_addon.dns" in drift.unread[0].message


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("unknown", [None, 7, "x", [1], {"a": {"b": [None]}}])
def test_a_key_of_a_later_version_changes_nothing(name: str, unknown: Any, tmp_path: Path) -> None:
    def grown(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: grown(each) for key, each in value.items()} | (
                {"of_a_later_version": unknown} if "address" in value or "format_version" in value else {}
            )
        return [grown(each) for each in value] if isinstance(value, list) else value

    changed = []
    for path in paths(name):
        other = tmp_path / path.name
        document = json.loads(path.read_text())
        for key in ("resource_drift", "resource_changes", "checks", "prior_state"):
            if key in document and key != "prior_state":
                document[key] = [
                    grown(each) if key == "checks" else each | {"later": unknown} for each in document[key]
                ]
        document["of_a_later_version"] = unknown
        document["format_version"] = "1.9"
        other.write_text(json.dumps(document))
        changed.append(other)
    was, now = drift_of(*paths(name)), drift_of(changed[0], changed[1])
    assert [(each.address, each.drift_class, each.impacts) for each in was.changes] == [
        (each.address, each.drift_class, each.impacts) for each in now.changes
    ]
