"""Recall and precision on a seeded corpus: every seeded change must be found, as what it is, and no noise reported.

The corpus is written as two plan documents and an account, and goes through the same functions as a scan.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from bench.terraform.noise import noisy
from bench.terraform.seeds import Corpus, seeded
from ccobs_ops.core.terraform.change import Change, Direction, DriftClass
from ccobs_ops.core.terraform.classify import classify
from ccobs_ops.core.terraform.document import read_plans
from ccobs_ops.core.terraform.impact import load_rules
from ccobs_ops.core.terraform.unmanaged import find_unmanaged

SEEDED = 240
NOISE = 300


@dataclass(frozen=True, slots=True)
class Score:
    """What came of one corpus. `missed` and `wrong` name each change that was not found as it should, or should not be."""

    seed: int
    seeded: int
    noise: int
    by_class: dict[str, int]
    missed: tuple[str, ...]
    wrong: tuple[str, ...]
    impacts_expected: int
    impacts_missed: tuple[str, ...]
    impacts_wrong: tuple[str, ...]

    @property
    def recall(self) -> float:
        """Found, of what was seeded."""
        return 1 - len(self.missed) / self.seeded

    @property
    def precision(self) -> float:
        """Seeded, of what was reported."""
        found = self.seeded - len(self.missed)
        return found / (found + len(self.wrong))

    @property
    def impact_recall(self) -> float:
        """Weakenings of recovery recognised by their own rule, of those that were seeded."""
        return 1 - len(self.impacts_missed) / self.impacts_expected

    @property
    def impact_precision(self) -> float:
        """Seeded weakenings, of those that were reported."""
        found = self.impacts_expected - len(self.impacts_missed)
        return found / (found + len(self.impacts_wrong))

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "seed": self.seed,
            "seeded": self.seeded,
            "noise": self.noise,
            "by_class": self.by_class,
            "recall": self.recall,
            "precision": self.precision,
            "impact_recall": self.impact_recall,
            "impact_precision": self.impact_precision,
            "missed": self.missed,
            "wrong": self.wrong,
            "impacts_missed": self.impacts_missed,
            "impacts_wrong": self.impacts_wrong,
        }


def make(seed: int, *, changes: int = SEEDED, noise: int = NOISE) -> Corpus:
    """The corpus of one seed."""
    chance = random.Random(seed)
    corpus = Corpus()
    seeded(corpus, changes, chance)
    noisy(corpus, noise, chance)
    for entries in (corpus.drift, corpus.changes, corpus.checks):
        chance.shuffle(entries)
    return corpus


def score(seed: int, *, changes: int = SEEDED, noise: int = NOISE) -> Score:
    """Make the corpus of `seed`, scan it, and compare."""
    corpus = make(seed, changes=changes, noise=noise)
    found = scan(corpus)
    reported = {(change.address, change.drift_class): change for change in found}
    unexpected = [
        f"{change.drift_class.value} {change.address}"
        for key, change in reported.items()
        if key not in corpus.expected and change.is_open
    ]
    impacts_missed: list[str] = []
    impacts_wrong: list[str] = []
    for key, rules in corpus.expected.items():
        change = reported.get(key)
        weakened = {
            impact.rule
            for impact in (change.impacts if change else ())
            if impact.direction is Direction.WEAKENS
        }
        impacts_missed += [f"{rule} {key[0]}" for rule in sorted(rules - weakened)]
        impacts_wrong += [f"{rule} {key[0]}" for rule in sorted(weakened - rules)]
    return Score(
        seed=seed,
        seeded=len(corpus.expected),
        noise=len(corpus.noise),
        by_class=dict(sorted(Counter(key[1].value for key in corpus.expected).items())),
        missed=tuple(f"{key[1].value} {key[0]}" for key in corpus.expected if key not in reported),
        wrong=tuple(unexpected),
        impacts_expected=sum(len(rules) for rules in corpus.expected.values()),
        impacts_missed=tuple(impacts_missed),
        impacts_wrong=tuple(impacts_wrong),
    )


def scan(corpus: Corpus) -> tuple[Change, ...]:
    """What a scan of the corpus reports."""
    with tempfile.TemporaryDirectory(prefix="ccobs-corpus-") as folder:
        paths = [Path(folder, name) for name in ("refresh.json", "plan.json")]
        paths[0].write_text(json.dumps(_document(corpus, drift=corpus.drift)))
        paths[1].write_text(json.dumps(_document(corpus, changes=corpus.changes, checks=corpus.checks)))
        refresh, plan = read_plans(paths)
    drift = classify(
        refresh, plan, impact=load_rules(), role="dr", accepted=corpus.accepted, today=date(2026, 11, 23)
    )
    account = find_unmanaged(
        lambda service: _Account(service, corpus.account),
        [refresh],
        kinds=("s3_bucket", "rds_instance", "rds_cluster", "kms_key", "iam_role"),
        per_second=1e6,
        sleep=lambda seconds: None,
        timer=lambda: 0.0,
    )
    return (*drift.changes, *account.changes)


def _document(corpus: Corpus, **more: Any) -> dict[str, Any]:
    held = [
        {
            "address": f"aws_s3_bucket.held{number}",
            "mode": "managed",
            "type": "aws_s3_bucket",
            "values": {"bucket": name},
        }
        for number, name in enumerate(corpus.account.get("managed", ()))
    ]
    return {
        "format_version": "1.2",
        "terraform_version": "1.9.8",
        "resource_drift": more.get("drift", []),
        "resource_changes": more.get("changes", []),
        "prior_state": {"values": {"root_module": {"resources": held}}},
        "configuration": {"root_module": {"resources": corpus.configured}},
        "checks": more.get("checks", []),
        "complete": True,
        "errored": False,
    }


class _Account:
    """Stands for boto3's clients: what they list is seeded, too. tests/integration asks a server instead."""

    def __init__(self, service: str, names: dict[str, list[str]]) -> None:
        self._service = service
        self._names = names
        self._operation = ""

    def get_paginator(self, operation: str) -> _Account:
        self._operation = operation
        return self

    def paginate(self, **options: Any) -> list[dict[str, Any]]:
        names = self._names
        match self._operation:
            case "list_buckets":
                rows = [{"Name": name} for name in (*names.get("managed", ()), *names.get("s3_bucket", ()))]
                return [{"Buckets": rows}]
            case "describe_db_instances":
                return [
                    {
                        "DBInstances": [
                            {"DBInstanceIdentifier": name} for name in names.get("rds_instance", ())
                        ]
                    }
                ]
            case "describe_db_clusters":
                return [
                    {"DBClusters": [{"DBClusterIdentifier": name} for name in names.get("rds_cluster", ())]}
                ]
            case "list_keys":
                return [{"Keys": [{"KeyId": name} for name in names.get("kms_key", ())]}]
            case _:
                return [{"Roles": [{"RoleName": name} for name in names.get("iam_role", ())]}]

    def describe_key(self, KeyId: str) -> dict[str, Any]:
        return {"KeyMetadata": {"KeyManager": "CUSTOMER", "KeyState": "Enabled"}}


__all__ = ["NOISE", "SEEDED", "DriftClass", "Score", "make", "scan", "score"]
