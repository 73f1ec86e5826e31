"""Drift for tests, from two plans made by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from ccobs_ops.core.terraform.change import Change, Drift
from ccobs_ops.core.terraform.classify import classify
from ccobs_ops.core.terraform.document import read_plans
from ccobs_ops.core.terraform.impact import load_rules
from tests.unit.plans import document, write

RULES = load_rules()
TODAY = date(2026, 11, 23)
A = "aws_thing.a"


def drift_of(
    tmp_path: Path,
    drift: Sequence[Any] = (),
    changes: Sequence[Any] | None = (),
    *,
    accepted: Collection[tuple[str, str]] = (),
    refresh: dict[str, Any] | None = None,
    plan: dict[str, Any] | None = None,
) -> Drift:
    paths = [write(tmp_path / "refresh.json", document(drift, **(refresh or {})))]
    if changes is not None:
        paths.append(write(tmp_path / "plan.json", document((), changes, **(plan or {}))))
    read = read_plans(paths)
    return classify(read[0], read[1] if len(read) > 1 else None, impact=RULES, accepted=accepted, today=TODAY)


def only(drift: Drift) -> Change:
    (change,) = drift.changes
    return change
