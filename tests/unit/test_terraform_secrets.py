"""A secret that a plan marks as such anywhere is shown nowhere."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from ccobs_ops.core.terraform.document import read_plans
from tests.unit.plans import SECRET, document, entry, read, shown, write

MARKS: list[tuple[str, dict[str, Any]]] = [
    (
        "before",
        {
            "drift": [
                entry(
                    "a.b",
                    {"p": SECRET, "q": 1},
                    {"p": None, "q": 2},
                    sensitive={"p": True},
                    after_sensitive={},
                )
            ]
        },
    ),
    (
        "after",
        {
            "drift": [
                entry(
                    "a.b", {"p": "", "q": 1}, {"p": SECRET, "q": 2}, sensitive={}, after_sensitive={"p": True}
                )
            ]
        },
    ),
    (
        "changes",
        {"changes": [entry("a.b", {"p": "x", "q": 1}, {"p": SECRET, "q": 2}, sensitive={"p": True})]},
    ),
    (
        "nested",
        {
            "drift": [
                entry("a.b", {"p": [{"q": {"r": SECRET}}]}, {"p": []}, sensitive={"p": [{"q": {"r": True}}]})
            ]
        },
    ),
    ("whole", {"drift": [entry("a.b", {"p": SECRET}, {"p": "x"}, sensitive=True)]}),
    ("misfit", {"drift": [entry("a.b", {"p": [SECRET]}, {"p": "x"}, sensitive={"p": {"q": True}})]}),
    ("no-op", {"changes": [entry("a.c", {"p": SECRET}, {"p": SECRET}, ["no-op"], sensitive={"p": True})]}),
    ("data", {"drift": [entry("a.c", {"p": SECRET}, {"p": "x"}, mode="data", sensitive={"p": True})]}),
    (
        "state",
        {
            "prior_state": {
                "values": {
                    "root_module": {
                        "resources": [
                            {"address": "a.c", "values": {"p": SECRET}, "sensitive_values": {"p": True}}
                        ]
                    }
                }
            }
        },
    ),
    (
        "state module",
        {
            "prior_state": {
                "values": {
                    "root_module": {
                        "child_modules": [
                            {
                                "child_modules": [
                                    {
                                        "resources": [
                                            {
                                                "address": "a.c",
                                                "values": {"p": [SECRET]},
                                                "sensitive_values": {"p": [True]},
                                            }
                                        ]
                                    }
                                ]
                            }
                        ]
                    }
                }
            }
        },
    ),
    (
        "planned",
        {
            "planned_values": {
                "root_module": {
                    "child_modules": [
                        {
                            "resources": [
                                {"address": "a.c", "values": {"p": SECRET}, "sensitive_values": {"p": True}}
                            ]
                        }
                    ]
                }
            }
        },
    ),
    (
        "planned output",
        {
            "planned_values": {
                "outputs": {"o": {"sensitive": True, "value": {"deep": [SECRET]}}},
                "root_module": {},
            }
        },
    ),
    (
        "output",
        {
            "prior_state": {
                "values": {"outputs": {"o": {"sensitive": True, "value": SECRET}}, "root_module": {}}
            }
        },
    ),
    (
        "output change",
        {
            "output_changes": {
                "o": {
                    "actions": ["update"],
                    "before": None,
                    "after": SECRET,
                    "before_sensitive": True,
                    "after_sensitive": True,
                }
            }
        },
    ),
    (
        "variable",
        {
            "variables": {"v": {"value": SECRET}},
            "configuration": {"root_module": {"variables": {"v": {"sensitive": True}}}},
        },
    ),
    (
        "deferred",
        {
            "deferred_changes": [
                {"reason": "x", "resource_change": entry("a.c", None, {"p": SECRET}, sensitive={"p": True})}
            ]
        },
    ),
]


@pytest.mark.parametrize(("where", "plan"), MARKS, ids=[name for name, _ in MARKS])
def test_a_secret_marked_anywhere_is_masked_everywhere(
    where: str, plan: dict[str, Any], tmp_path: Path
) -> None:
    copies = {
        "plain": SECRET,
        "url": f"postgres://app:{quote(SECRET, safe='')}@db/x",
        "json": json.dumps({"inner": SECRET, "escaped": json.dumps(SECRET)}),
        "go": json.dumps({"inner": SECRET})
        .replace("&", "\\u0026")
        .replace("<", "\\u003c")
        .replace(">", "\\u003e"),
        "coded": base64.b64encode(SECRET.encode()).decode(),
        "list": [f"before {SECRET} after"],
        "map": {SECRET: 1},
        "id": SECRET,
    }
    spread = [
        entry("z.copy", {"arn": "x"}, copies),
        entry(f'module.m["{SECRET}"].z.copy', {"x": 1}, {"x": 2}),
    ]
    held = {
        "address": "aws_s3_bucket.b",
        "mode": "managed",
        "type": "aws_s3_bucket",
        "values": {"bucket": f"b-{SECRET}"},
    }
    check = {
        "address": {"to_display": "check.c"},
        "instances": [{"status": "fail", "problems": [{"message": f"not {SECRET}!"}]}],
    }
    whole = document((), [])
    for key, value in plan.items():
        whole[{"drift": "resource_drift", "changes": "resource_changes"}.get(key, key)] = value
    whole["resource_drift"] = [*whole["resource_drift"], *spread]
    whole["checks"] = [check]
    whole["prior_state"]["values"]["root_module"].setdefault("resources", []).append(held)
    text = shown(read(tmp_path, whole))
    assert "z.copy" in text
    assert "******" in text
    for form in (SECRET, quote(SECRET, safe=""), base64.b64encode(SECRET.encode()).decode(), "hunter"):
        assert form not in text, form


def test_a_secret_of_one_plan_is_masked_in_the_other(tmp_path: Path) -> None:
    one = document([entry("a.b", {"p": SECRET, "x": 1}, {"p": SECRET, "x": 2}, sensitive={"p": True})])
    other = document((), [entry("a.b", {"note": "x"}, {"note": SECRET})])
    paths = (write(tmp_path / "1.json", one), write(tmp_path / "2.json", other))
    assert all(SECRET not in shown(each) for each in read_plans(paths))


def test_short_secrets_are_masked_where_they_are_the_whole_value(tmp_path: Path) -> None:
    plan = document(
        [
            entry(
                "a.b",
                {"pin": "ab", "copy": "x", "word": "abacus"},
                {"pin": "ac", "copy": "ab", "word": "cab"},
                sensitive={"pin": True},
            )
        ]
    )
    found = {each.path: each.after for each in read(tmp_path, plan).drift[0].differences}
    assert found == {"pin": "******", "copy": "******", "word": "cab"}


def test_a_secret_number_is_masked_in_copies_too(tmp_path: Path) -> None:
    plan = document(
        [
            entry(
                "a.b",
                {"pin": 1, "copy": 2, "text": "x"},
                {"pin": 73519, "copy": 73519, "text": "pin 73519"},
                sensitive={"pin": True},
            )
        ]
    )
    assert "73519" not in shown(read(tmp_path, plan))


def test_words_that_rules_look_for_stay_readable_as_keys(tmp_path: Path) -> None:
    plan = document(
        [
            entry("a.b", {"p": "status"}, {"p": "x"}, sensitive={"p": True}),
            entry(
                "aws_s3_bucket_versioning.v",
                {"versioning_configuration": [{"status": "Enabled"}]},
                {"versioning_configuration": [{"status": "Suspended"}]},
            ),
        ]
    )
    top = read(tmp_path, plan).drift[1].tops[0]
    assert top.after == [{"status": "Suspended"}]


def test_what_no_terminal_can_write_is_replaced(tmp_path: Path) -> None:
    plan = document(
        [entry('a.b["\ud800"]', {"x": "a"}, {"x": "\udcff", "n": float("nan"), "i": float("inf")})]
    )
    (one,) = read(tmp_path, plan).drift
    shown(read(tmp_path, plan)).encode()
    assert {each.path: each.after for each in one.differences} == {"x": "?", "n": None, "i": None}
