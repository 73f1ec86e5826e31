"""Whatever stands in a plan document: no crash, no secret, and what is not understood is never clean."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.terraform.change import Drift
from ccobs_ops.core.terraform.classify import classify, consequences
from ccobs_ops.core.terraform.document import read_plans
from ccobs_ops.core.terraform.impact import load_rules
from ccobs_ops.core.terraform.parity import compare
from ccobs_ops.core.terraform.plan import PlanDocument
from tests.unit.plans import document, entry

RULES = load_rules()
ROUNDS = 60 * int(os.environ.get("CCOBS_SWEEP", "1"))
FUZZ = settings(
    max_examples=ROUNDS,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)

WORDS = st.sampled_from([
    "id", "status", "rule", "tags", "backup", "policy", "versioning", "backup_retention_period", "days", "actions", "before",
    "after", "values", "resources", "address", "change", "Statement", "Effect", "filter", "schedule", "a.b", "", "ü", 'x"]y',
    "\x00", "\ud800",
])  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=12)
    | WORDS
    | st.sampled_from(
        [
            '{"Statement":[{"Effect":"Deny"}]}',
            '{"Statement":5}',
            "[[[[",
            "cron(0 5 ? * * *)",
            "rate(x y)",
            "update",
        ]
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=25,
)
TYPES = st.sampled_from(sorted({kind.replace("*", "x") for rule in RULES.rules for kind in rule.types}))


@st.composite
def entries(draw: st.DrawFn) -> Any:
    """An entry that looks like one, of a type that rules know, about attributes that rules look at."""
    kind = draw(TYPES)
    rules = [rule for rule in RULES.of(kind) if rule.attributes]
    path = draw(st.sampled_from([path for rule in rules for path in rule.attributes] or [("x",)]))
    values = []
    for _ in range(2):
        value = draw(JSON)
        for name in reversed(path[1:]):
            value = draw(
                st.sampled_from([{name: value}, [{name: value}], [{name: value}, {name: draw(JSON)}]])
            )
        values.append({path[0]: value, "id": draw(JSON)})
    actions = draw(
        st.sampled_from(
            [["update"], ["no-op"], ["delete", "create"], ["delete"], ["create"], ["forget"], ["?"]]
        )
    )
    return entry(
        f"{kind}.backup",
        *values,
        actions,
        unknown=draw(JSON | st.just({})),
        sensitive=draw(JSON | st.just({})),
    ) | draw(st.dictionaries(WORDS, JSON, max_size=2))


CHECKS = st.lists(
    JSON | st.fixed_dictionaries({"status": JSON, "instances": JSON, "address": JSON}), max_size=3
)
DOCUMENTS = st.builds(
    lambda drift, changes, more, checks: (
        document(drift, changes) | more | {"checks": checks, "format_version": "1.2"}
    ),
    st.lists(entries() | JSON, max_size=3),
    st.lists(entries() | JSON, max_size=3),
    st.dictionaries(
        st.sampled_from(
            [
                "prior_state",
                "planned_values",
                "configuration",
                "variables",
                "output_changes",
                "deferred_changes",
                "errored",
                "new_key",
            ]
        ),
        JSON,
        max_size=3,
    ),
    CHECKS,
)


def used(plans: tuple[PlanDocument, ...]) -> Drift:
    """Everything that is done with plans, and that what comes out can be written as JSON and shown."""
    drift = classify(plans[0], plans[-1], impact=RULES, role="dr", today=date(2026, 11, 23))
    said = [
        change.to_json() for change in (*drift.changes, *consequences(plans[-1], impact=RULES, role="dr"))
    ]
    json.dumps(said, allow_nan=False).encode("utf-8")
    json.dumps([asdict(finding) for finding in drift.findings()])
    repr(drift).encode("utf-8")
    compare(plans[0], plans[-1], name="a", primary_name="b")
    return drift


def as_file(folder: Path, name: str, plan: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(plan), encoding="utf-8")
    return path


@FUZZ
@given(refresh=DOCUMENTS, plan=DOCUMENTS)
def test_no_document_breaks_it(refresh: Any, plan: Any, tmp_path: Path) -> None:
    used(read_plans((as_file(tmp_path, "r", refresh), as_file(tmp_path, "p", plan))))


@FUZZ
@given(anything=JSON)
def test_what_is_no_plan_at_all_is_unknown_or_read(anything: Any, tmp_path: Path) -> None:
    try:
        used(read_plans((as_file(tmp_path, "x", anything),)))
    except UnknownError as error:
        assert error.hint


SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=4, max_size=24).filter(
    lambda text: text.strip() and text not in "null true false ******"
)
HIDDEN = "CANARY-"


def hide(draw: st.DrawFn, value: Any, secret: str) -> tuple[Any, Any]:
    """`value` with the secret somewhere in it, and a mark for exactly that place."""
    if isinstance(value, dict) and value:
        key = draw(st.sampled_from(sorted(value, key=repr)))
        inner, mark = hide(draw, value[key], secret)
        return value | {key: inner}, {key: mark}
    if isinstance(value, list) and value:
        at = draw(st.integers(0, len(value) - 1))
        inner, mark = hide(draw, value[at], secret)
        return [*value[:at], inner, *value[at + 1 :]], [index == at and mark for index in range(len(value))]
    return secret, True


@st.composite
def with_secret(draw: st.DrawFn) -> tuple[Any, str]:
    secret = HIDDEN + draw(SECRETS)
    value = draw(st.dictionaries(WORDS, JSON, min_size=1, max_size=4))
    marked, mark = hide(draw, value, secret)
    sides = draw(
        st.sampled_from([(marked, value), (value, marked), (marked, marked), (marked, None), (None, marked)])
    )
    owner = entry(
        "aws_db_instance.owner",
        *sides,
        draw(st.sampled_from([["update"], ["no-op"], ["delete", "create"]])),
        sensitive=mark,
    )
    copy = draw(
        st.sampled_from(
            [secret, f"<<{secret}>>", [secret], {"k": f"postgres://x:{secret}@h"}, json.dumps({"k": secret})]
        )
    )
    spread = entry(
        "aws_s3_bucket_policy.copy",
        {"policy": "x", "id": 1},
        {"policy": copy, "id": draw(st.just(secret) | JSON)},
    )
    lists = draw(st.permutations([[owner], [spread]]))
    checks = [{"address": {"to_display": "c"}, "status": "fail", "problems": [{"message": f"is {secret}"}]}]
    return document(*lists, checks=checks), secret


@FUZZ
@given(with_secret())
def test_a_marked_value_and_its_copies_never_come_out(tmp_path: Path, case: tuple[Any, str]) -> None:
    plan, secret = case
    plans = read_plans((as_file(tmp_path, "s", plan),))
    drift = used(plans)
    for text in (
        repr(plans),
        repr(drift),
        json.dumps([each.to_json() for each in drift.changes], ensure_ascii=False),
    ):
        assert secret not in text
        assert HIDDEN not in text


@pytest.mark.parametrize("depth", [50, 300, 900, 50_000])
def test_deep_nesting_is_read_or_unknown_and_never_a_crash(depth: int, tmp_path: Path) -> None:
    deep = '{"a":' * depth + '"x"' + "}" * depth
    text = json.dumps(
        document([entry("aws_thing.a", {"d": "DEEP"}, {"d": "y"}), entry("aws_thing.b", {"x": 1}, None)])
    )
    path = tmp_path / "deep.json"
    path.write_text(text.replace('"DEEP"', deep))
    try:
        drift = used(read_plans((path,)))
    except UnknownError:
        return
    assert "aws_thing.b" in {change.address for change in drift.changes}
    if "aws_thing.a" not in {change.address for change in drift.changes}:
        assert not drift.complete


def test_deep_modules_are_walked(tmp_path: Path) -> None:
    modules: Any = {"resources": [{"address": "m.a", "mode": "managed", "type": "lab_x", "values": {}}]}
    for _ in range(60):
        modules = {"child_modules": [modules]}
    plan = document(prior_state={"values": {"root_module": modules}})
    (read,) = read_plans((as_file(tmp_path, "m", plan),))
    assert read.managed == 1
