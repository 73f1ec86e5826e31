"""What the ledger knows beside an exercise: when its claim was proven last, whether it was since, and when it began to fail.

Every look is bounded: by an index, and by a number of rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core.exercise import Claim, Exercise, Verdict
from ccobs_ops.core.incident_rules import SCOPED, claims_of, scope_of
from ccobs_ops.core.ledger_schema import from_microseconds, to_microseconds

_LOOK_BACK = 50
_LATE = 200
_NO_PROOF = timedelta(days=1)
"""How far back a cause is looked for where the claim was never proven."""


def last_passed(connection: Connection, exercise: Exercise, claim: Claim, seq: int) -> datetime | None:
    """When the exercise started that started last of those that PASSED `claim` and are in the chain before `seq`."""
    table = schema.exercises.c
    mine = _mine(exercise)
    until = to_microseconds(exercise.finished_at)
    before = sa.select(table.id, table.verdict, table.started_at).where(mine, table.finished_at <= until)
    newest = before.order_by(table.finished_at.desc(), table.id.desc()).limit(_LOOK_BACK)
    found = [
        row.started_at for row in connection.execute(newest) if _passed(connection, row, exercise, claim)
    ]
    if not found:
        proven = before.where(table.verdict == Verdict.PASSED.value)
        rows = connection.execute(
            proven.order_by(table.finished_at.desc(), table.id.desc()).limit(_LOOK_BACK)
        )
        found = [row.started_at for row in rows if _passed(connection, row, exercise, claim)][:1]
    found += [
        row.started_at
        for row in connection.execute(_told_before(mine, until, seq))
        if _passed(connection, row, exercise, claim)
    ]
    return from_microseconds(max(found)) if found else None


def proven_since(connection: Connection, exercise: Exercise, claim: Claim) -> bool:
    """Whether an exercise that began after `exercise` had finished PASSED its `claim`, wherever it is in the chain."""
    table = schema.exercises.c
    moment = to_microseconds(exercise.finished_at)
    later = (
        sa.select(table.id, table.verdict, table.started_at)
        .where(_mine(exercise), table.finished_at > moment)
        .order_by(table.finished_at, table.id)
        .limit(_LOOK_BACK)
    )
    for query in (later.where(table.verdict == Verdict.PASSED.value), later):
        for row in connection.execute(query):
            if row.started_at >= moment and _passed(connection, row, exercise, claim):
                return True
    return False


def occurred(
    connection: Connection, exercise: Exercise, claim: Claim, proof: datetime | None
) -> tuple[datetime | None, str]:
    """Since when `claim` does not hold, and who says so; `proof` is when it was looked at last and held.

    CloudTrail's times before canaries' before injected faults; else it happened after `proof`. What does not lie between
    `proof` and the end of the exercise is no answer.
    """
    told = (
        ("cloudtrail", _by_cloudtrail(exercise, claim)),
        ("canary", _by_canary(connection, exercise, claim)),
        ("fault", _by_fault(connection, exercise, proof)),
    )
    for source, moment in told:
        if moment is not None and moment <= exercise.finished_at and (proof is None or moment >= proof):
            return moment, source
    if proof is not None and proof <= exercise.finished_at:
        return proof, "last_passed"
    return None, "detected"


def _mine(exercise: Exercise) -> sa.ColumnElement[bool]:
    table = schema.exercises.c
    return sa.and_(table.target == exercise.target, table.capability == exercise.capability)


def _told_before(mine: sa.ColumnElement[bool], until: int, seq: int) -> sa.Select[Any]:
    """Exercises that finished later and yet were told earlier; told late by more than 200 others it is missed."""
    table, links = schema.exercises.c, schema.chain.c
    later = (
        sa.select(table.id, table.verdict, table.started_at)
        .where(mine, table.finished_at > until, table.started_at >= 0)
        .order_by(table.finished_at, table.id)
        .limit(_LATE)
        .subquery()
    )
    return (
        sa.select(later.c.id, later.c.verdict, later.c.started_at)
        .join_from(later, schema.chain, sa.and_(links.kind == "exercise", links.row == later.c.id))
        .where(links.seq < seq)
    )


def _passed(connection: Connection, row: Any, exercise: Exercise, claim: Claim) -> bool:
    if row.id == exercise.id:
        return False
    if row.verdict == Verdict.PASSED.value and exercise.capability not in SCOPED:
        return True
    known = read(connection, row.id)
    if scope_of(known) != scope_of(exercise):
        return False
    return any(one.name == claim.name and one.verdict is Verdict.PASSED for one in claims_of(known))


def read(connection: Connection, identifier: str) -> Exercise:
    """The exercise called `identifier`."""
    query = sa.select(schema.exercises.c.document).where(schema.exercises.c.id == identifier)
    return Exercise.from_json(json.loads(connection.execute(query).scalar_one()))


def _by_cloudtrail(exercise: Exercise, claim: Claim) -> datetime | None:
    """The first of the changes that are open, of those that recovery rests on where the claim is about them."""
    changes = exercise.details.get("changes")
    if exercise.capability != "drift" or claim.name not in ("no_critical_drift", "no_drift"):
        return None
    return _first(
        change.get("when")
        for change in (changes if isinstance(changes, list) else [])
        if isinstance(change, dict)
        and change.get("open")
        and (claim.name == "no_drift" or change.get("severity") == "critical")
    )


def _by_canary(connection: Connection, exercise: Exercise, claim: Claim) -> datetime | None:
    """When the first canary was committed that did not come back, or has not arrived."""
    if claim.name in ("arriving", "lag"):
        series = exercise.details.get("series")
        return _first(
            point.get("written_at")
            for point in (series if isinstance(series, list) else [])
            if isinstance(point, dict) and point.get("lag_seconds") is None
        )
    if claim.name == "rpo" and "newest_commit_age_seconds" in exercise.measurements:
        return exercise.started_at - timedelta(seconds=exercise.measurements["newest_commit_age_seconds"])
    if claim.name != "exact":
        return None
    for finding in exercise.findings:
        first = finding.subject.split(",")[0].strip()
        if finding.code == "canary_missing" and first.isdecimal():
            table = schema.canaries.c
            query = sa.select(table.committed_at).where(
                table.target == exercise.target, table.seq == int(first)
            )
            found = connection.execute(query).scalar()
            return None if found is None else from_microseconds(found)
    return None


def _by_fault(connection: Connection, exercise: Exercise, proof: datetime | None) -> datetime | None:
    """The first fault that the lab injected after the proof and has not healed: at this target, else at what it stands on."""
    table = schema.events.c
    since = proof or exercise.finished_at - _NO_PROOF
    query = (
        sa.select(table.target, table.kind, table.subject, table.at)
        .where(
            table.kind.in_(("fault_injected", "fault_healed")),
            table.at >= to_microseconds(since),
            table.at <= to_microseconds(exercise.finished_at),
        )
        .order_by(table.at, table.id)
        .limit(_LATE)
    )
    began = to_microseconds(exercise.started_at)
    standing: dict[tuple[str, str], int] = {}
    for row in connection.execute(query):
        if row.kind == "fault_injected":
            standing.setdefault((row.target, row.subject), row.at)
        elif row.at < began:
            standing.pop((row.target, row.subject), None)
    here = [at for (target, _), at in standing.items() if target == exercise.target]
    below = [at for (target, _), at in standing.items() if "/" not in target]
    return from_microseconds(min(here or below)) if here or below else None


def _first(moments: Iterable[Any]) -> datetime | None:
    known = [datetime.fromisoformat(moment) for moment in moments if isinstance(moment, str)]
    return min(known).astimezone(UTC) if known else None
