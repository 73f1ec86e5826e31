"""The seeded changes of the corpus: one of each kind that a scan must find, with what must be said of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ccobs_ops.core.terraform.change import DriftClass
from ccobs_ops.core.terraform.impact import load_rules
from ccobs_ops.core.terraform.rules import data

PROVIDER = "registry.terraform.io/hashicorp/aws"
PLAIN = (
    "aws_instance",
    "aws_cloudwatch_metric_alarm",
    "aws_sns_topic",
    "aws_launch_template",
    "aws_lambda_function",
    "aws_ecs_service",
)
VALUES: tuple[tuple[str, Any, Any], ...] = (
    ("description", "made by terraform", "made by hand"),
    ("instance_type", "m7g.large", "m7g.xlarge"),
    ("timeout", 30, 300),
    ("enabled", True, False),
    ("tags", {"Team": "data"}, {"Team": "data", "Owner": "me"}),
    ("subnets", ["a", "b"], ["a", "b", "c"]),
    ("environment", [{"variables": {"LEVEL": "info"}}], [{"variables": {"LEVEL": "debug"}}]),
    ("container_definitions", '[{"image":"a:1"}]', '[{"image":"a:2"}]'),
    ("threshold", 0.5, 0.9),
    ("alias", None, "x"),
)


@dataclass(slots=True)
class Corpus:
    """Entries of both plans, what the account and the checks say, and what must come of it."""

    drift: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    configured: list[dict[str, Any]] = field(default_factory=list)
    accepted: set[tuple[str, str]] = field(default_factory=set)
    account: dict[str, list[str]] = field(default_factory=dict)
    expected: dict[tuple[str, DriftClass], frozenset[str]] = field(default_factory=dict)
    """(address, class) of every seeded change, with the rules that must say that it weakens recovery."""
    noise: set[str] = field(default_factory=set)
    """Addresses of which nothing may be reported as open."""

    def expect(self, address: str, drift_class: DriftClass, *rules: str) -> None:
        """This must be found."""
        self.expected[address, drift_class] = frozenset(rules)


def entry(
    address: str,
    before: Any,
    after: Any,
    actions: list[str] | None = None,
    *,
    unknown: Any = None,
    **more: Any,
) -> dict[str, Any]:
    """One entry of `resource_drift` or `resource_changes`."""
    parts = address.partition("[")[0].split(".")
    if actions is None:
        actions = ["delete"] if after is None else ["create"] if before is None else ["update"]
    return {
        "address": address,
        "mode": "managed",
        "type": parts[-2],
        "name": parts[-1],
        "provider_name": PROVIDER,
        "change": {
            "actions": actions,
            "before": before,
            "after": after,
            "after_unknown": unknown or {},
            "before_sensitive": {},
            "after_sensitive": {},
        },
    } | more


def seeded(corpus: Corpus, count: int, chance: random.Random) -> None:
    """Add at least `count` changes, of every class in turn."""
    makers: list[Callable[[Corpus, str, random.Random], None]] = [
        _deleted, _changed, _recovery, _informational, _ignored_recovery, _created, _updated, _removed, _moved, _accepted,
        _check, _unmanaged, _unknown, _recovery, _changed,
    ]  # fmt: skip
    for index in range(count):
        makers[index % len(makers)](corpus, f"n{index}", chance)
    for number, rule in enumerate(_examples()):
        _of_rule(corpus, f"r{number}", rule, put_back=True)


def _common(chance: random.Random, name: str) -> dict[str, Any]:
    return {
        "id": f"i-{name}",
        "arn": f"arn:aws:x:::{name}",
        "size": chance.randint(1, 99),
        "note": None,
        "timeouts": None,
    }


def _attribute(chance: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    name, before, after = chance.choice(VALUES)
    if chance.random() < 0.3 and before is not None:
        before, after = after, before
    return {name: before}, {name: after}


def _deleted(corpus: Corpus, name: str, chance: random.Random) -> None:
    rules = load_rules()
    address = f"{chance.choice(['aws_db_instance', 'aws_s3_bucket', *PLAIN])}.{name}"
    held = _common(chance, name)
    corpus.drift.append(entry(address, held, None))
    if chance.random() < 0.8:
        corpus.changes.append(entry(address, None, held, unknown={"arn": True}))
    kind = address.partition(".")[0]
    corpus.expect(address, DriftClass.DELETED, *(["stateful-deleted"] if rules.is_stateful(kind) else []))


def _changed(corpus: Corpus, name: str, chance: random.Random) -> None:
    address = f'module.app["x"].{chance.choice(PLAIN)}.{name}[{chance.randint(0, 3)}]'
    before, after = _attribute(chance)
    held = _common(chance, name)
    seen = {"last_modified": "then"}, {"last_modified": "now"}  # a computed value beside it
    corpus.drift.append(entry(address, held | before | seen[0], held | after | seen[1]))
    corpus.changes.append(
        entry(address, held | after | seen[1], held | before, unknown={"last_modified": True})
    )
    corpus.expect(address, DriftClass.CHANGED)


def _examples() -> list[str]:
    return sorted(data("examples.yaml"))


def _of_rule(corpus: Corpus, name: str, rule_name: str, *, put_back: bool) -> None:
    case: Mapping[str, Any] = data_examples()[rule_name]
    rule = next(rule for rule in load_rules().rules if rule.name == rule_name)
    kind = case.get("type") or rule.types[0].replace("*", "x")
    address = f"{kind}.{case.get('name', 'x')}_{name}"
    held = {"id": f"i-{name}", "note": ""}
    corpus.drift.append(entry(address, held | case["before"], held | case["after"]))
    if put_back:
        corpus.changes.append(entry(address, held | case["after"], held | case["before"]))
    corpus.expect(address, DriftClass.CHANGED if put_back else DriftClass.CHANGED_INFORMATIONAL, rule_name)


_EXAMPLES: dict[str, Any] = {}


def data_examples() -> Mapping[str, Any]:
    """The examples of the rules, read once."""
    if not _EXAMPLES:
        _EXAMPLES.update(data("examples.yaml"))
    return _EXAMPLES


def _recovery(corpus: Corpus, name: str, chance: random.Random) -> None:
    _of_rule(corpus, name, chance.choice(_examples()), put_back=True)


def _ignored_recovery(corpus: Corpus, name: str, chance: random.Random) -> None:
    _of_rule(corpus, name, chance.choice(_examples()), put_back=False)


def _informational(corpus: Corpus, name: str, chance: random.Random) -> None:
    address = f"{chance.choice(PLAIN)}.{name}"
    before, after = _attribute(chance)
    held = _common(chance, name)
    corpus.drift.append(entry(address, held | before, held | after))
    corpus.changes.append(entry(address, held | after, held | after, ["no-op"]))
    corpus.expect(address, DriftClass.CHANGED_INFORMATIONAL)


def _created(corpus: Corpus, name: str, chance: random.Random) -> None:
    address = f"module.new.{chance.choice(PLAIN)}.{name}"
    corpus.changes.append(entry(address, None, _common(chance, name), unknown={"arn": True}))
    corpus.expect(address, DriftClass.PENDING)


def _updated(corpus: Corpus, name: str, chance: random.Random) -> None:
    address = f"{chance.choice(PLAIN)}.{name}"
    before, after = _attribute(chance)
    held = _common(chance, name)
    actions = chance.choice([["update"], ["delete", "create"], ["create", "delete"]])
    stateful = actions != ["update"] and load_rules().is_stateful(address.partition(".")[0])
    corpus.changes.append(entry(address, held | before, held | after, actions))
    corpus.expect(address, DriftClass.PENDING, *(["stateful-deleted"] if stateful else []))


def _removed(corpus: Corpus, name: str, chance: random.Random) -> None:
    address = f"aws_sns_topic.{name}"
    corpus.changes.append(
        entry(address, _common(chance, name), None, chance.choice([["delete"], ["forget"]]))
    )
    corpus.expect(address, DriftClass.PENDING)


def _moved(corpus: Corpus, name: str, chance: random.Random) -> None:
    address = f"module.to.{chance.choice(PLAIN)}.{name}"
    held = _common(chance, name)
    moved = entry(address, held, held, ["no-op"], previous_address=f"aws_x.old_{name}")
    corpus.drift.append(moved)
    corpus.changes.append(moved)
    corpus.expect(address, DriftClass.MOVED)


def _accepted(corpus: Corpus, name: str, chance: random.Random) -> None:
    address = f"{chance.choice(PLAIN)}.{name}"
    held = _common(chance, name)
    corpus.changes.append(entry(address, held | {"level": 2}, held | {"level": 1}))
    corpus.accepted.add((address, "level"))
    corpus.expect(address, DriftClass.ACCEPTED_BUT_DIVERGENT)


def _check(corpus: Corpus, name: str, chance: random.Random) -> None:
    address = f"check.{name}"
    status = chance.choice(["fail", "error"])
    instance = {
        "address": {"to_display": address},
        "status": status,
        "problems": [{"message": "it does not hold"}],
    }
    corpus.checks.append({"address": {"to_display": address}, "status": status, "instances": [instance]})
    corpus.expect(address, DriftClass.CHECK_FAILED)


def _unmanaged(corpus: Corpus, name: str, chance: random.Random) -> None:
    kind = chance.choice(["s3_bucket", "rds_instance", "rds_cluster", "kms_key", "iam_role"])
    corpus.account.setdefault(kind, []).append(f"by-hand-{name}")
    corpus.expect(f"{kind}/by-hand-{name}", DriftClass.UNMANAGED)


def _unknown(corpus: Corpus, name: str, chance: random.Random) -> None:
    address = f"{chance.choice(PLAIN)}.{name}"
    corpus.drift.append(entry(address, {"x": 1}, {"x": 2}, ["action-of-a-later-version"]))
    corpus.expect(address, DriftClass.UNKNOWN)


def every(corpus: Corpus) -> Iterator[tuple[str, DriftClass]]:
    """All that must be found."""
    yield from corpus.expected
