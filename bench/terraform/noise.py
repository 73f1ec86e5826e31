"""The seeded noise of the corpus: what plans show and nobody needs to hear about."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from bench.terraform.seeds import PLAIN, Corpus, entry

EMPTY: tuple[Any, ...] = (None, "", [], {}, {"a": None})
COMPUTED = (
    ("latest_restorable_time", "2026-11-23T02:10:00Z", "2026-11-23T02:15:00Z"),
    ("last_modified", "a", "b"),
    ("etag", "1", "2"),
    ("instance_state", "running", "stopping"),
    ("status", "available", "modifying"),
    ("last_run", [{"at": 1}], [{"at": 2}]),
    ("desired_count", 3, 7),
    ("allocated_storage", 100, 120),
    ("public_ip", "192.0.2.1", None),
)
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": ["x", "y"],
        },
        {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "s3:Delete*", "Resource": "*"},
    ],
}
KINDS = (
    "aws_db_instance",
    "aws_s3_bucket",
    "aws_s3_bucket_policy",
    "aws_backup_plan",
    "aws_iam_role",
    *PLAIN,
)


def noisy(corpus: Corpus, count: int, chance: random.Random) -> None:
    """Add `count` objects about which nothing is to be reported."""
    makers: list[Callable[[Corpus, str, str, random.Random], None]] = [
        _computed, _computed_beside_no_plan, _reordered, _reordered_blocks, _empty, _empty_in_plan, _spelling, _default,
        _moved, _data_source, _number, _known_after, _checks, _managed, _timeouts,
    ]  # fmt: skip
    for index in range(count):
        address = f"{chance.choice(KINDS)}.quiet{index}"
        corpus.noise.add(address)
        makers[index % len(makers)](corpus, address, f"q{index}", chance)


def _same(address: str, after: Any) -> dict[str, Any]:
    return entry(address, after, after, ["no-op"])


def _computed(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    key, before, after = chance.choice(COMPUTED)
    corpus.drift.append(entry(address, {"id": name, key: before}, {"id": name, key: after}))
    corpus.changes.append(_same(address, {"id": name, key: after}))


def _computed_beside_no_plan(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    key, before, after = chance.choice(COMPUTED)
    corpus.drift.append(entry(address, {"id": name, key: before}, {"id": name, key: after}))


def _reordered(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    members = [f"m{number}" for number in range(chance.randint(2, 9))]
    other = members[:]
    while other == members:
        chance.shuffle(other)
    corpus.drift.append(
        entry(address, {"id": name, "security_groups": members}, {"id": name, "security_groups": other})
    )
    corpus.changes.append(_same(address, {"id": name, "security_groups": other}))


def _reordered_blocks(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    blocks = [{"name": f"b{number}", "ports": [1, 2, number + 3], "note": None} for number in range(3)]
    other = [
        {"name": block["name"], "ports": list(reversed(block["ports"])), "note": ""}
        for block in reversed(blocks)
    ]
    corpus.drift.append(entry(address, {"ingress": blocks}, {"ingress": other}))
    corpus.changes.append(_same(address, {"ingress": other}))


def _empty(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    before, after = chance.sample(EMPTY, 2)
    corpus.drift.append(
        entry(address, {"id": name, "tags": before, "kms_key_id": before, "b": [{"c": before, "d": 1}]},
              {"id": name, "tags": after, "kms_key_id": after, "b": [{"c": after, "d": 1}]})
    )  # fmt: skip
    corpus.changes.append(_same(address, {"id": name}))


def _empty_in_plan(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    before, after = chance.sample(EMPTY, 2)
    corpus.changes.append(
        entry(address, {"id": name, "description": before}, {"id": name, "description": after})
    )


def _spelling(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    statements = [dict(reversed(each.items())) for each in reversed(POLICY["Statement"])]
    statements[0] = statements[0] | {"Action": ["s3:Delete*"]}
    other = json.dumps({"Statement": statements, "Version": "2012-10-17"}, indent=chance.choice([None, 2]))
    corpus.drift.append(entry(address, {"policy": json.dumps(POLICY)}, {"policy": other}))
    if chance.random() < 0.5:
        corpus.changes.append(entry(address, {"policy": other}, {"policy": json.dumps(POLICY)}))


def _default(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    value = chance.choice([False, 0, "default", "gp3"])
    key = chance.choice(
        [
            "deletion_protection",
            "multi_az",
            "iops",
            "storage_type",
            "skip_destroy",
            "force_destroy",
            "priority",
        ]
    )
    corpus.drift.append(entry(address, {"id": name, key: None}, {"id": name, key: value}))
    corpus.changes.append(_same(address, {"id": name, key: value}))


def _moved(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    moved = entry(address, {"id": name}, {"id": name}, ["no-op"], previous_address=f"aws_x.before_{name}")
    corpus.drift.append(moved)
    corpus.changes.append(moved)


def _data_source(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    corpus.changes.append(
        entry(f"data.{address}", None, {"id": name, "most_recent": True}, ["read"], mode="data")
    )
    corpus.drift.append(entry(f"data.{address}", {"id": "old"}, {"id": name}, mode="data"))
    corpus.noise.add(f"data.{address}")


def _number(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    corpus.drift.append(entry(address, {"weight": 7, "rate": 1.0}, {"weight": 7.0, "rate": 1}))


def _known_after(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    """A computed value that drifted, in an object that is read again because a data source changed."""
    corpus.drift.append(entry(address, {"id": name, "arn": "a"}, {"id": name, "arn": "b"}))
    corpus.changes.append(
        entry(address, {"id": name, "arn": "b"}, {"id": name}, ["no-op"], unknown={"arn": True})
    )


def _checks(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    corpus.checks.append(
        {"address": {"to_display": address}, "status": "pass", "instances": [{"status": "pass"}]}
    )


def _managed(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    corpus.account.setdefault("managed", []).append(f"held-{name}")
    corpus.noise.add(f"s3_bucket/held-{name}")


def _timeouts(corpus: Corpus, address: str, name: str, chance: random.Random) -> None:
    corpus.changes.append(
        entry(
            address,
            {"id": name, "timeouts": {"create": None, "delete": None}},
            {"id": name, "timeouts": None},
        )
    )
