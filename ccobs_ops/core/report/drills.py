"""The drills of a report: their steps and critical path, read from what a drill leaves in its details (docs/json.md)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection

from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.report import query
from ccobs_ops.core.report.model import Drill, Step

MOST_DRILLS = 6
OF_EACH = 20


def newest(
    connection: Connection, places: Sequence[tuple[str, str]], since: datetime, until: datetime
) -> tuple[tuple[Drill, ...], int]:
    """The newest drills, and how many more there were in that time."""
    mine = [place for place in places if place[1] == "drill"]
    found = query.of_targets(connection, mine, limit=OF_EACH, since=since, until=until)
    total = sum(query.tally(query.daily(connection, *place, since, until)).all for place in mine)
    return tuple(read(exercise) for exercise in found[:MOST_DRILLS]), max(0, total - MOST_DRILLS)


def read(exercise: Exercise) -> Drill:
    """A drill as its exercise tells it. What is missing or odd in its details is left out, and never made up."""
    told = exercise.details
    path = tuple(str(name) for name in _list(told.get("critical_path")))
    return Drill(
        target=exercise.target,
        exercise=exercise.id,
        verdict=exercise.verdict,
        reason=exercise.reason,
        scenario=str(told.get("scenario") or exercise.target.partition("/")[2]),
        operator=str(told.get("operator") or ""),
        why=str(told.get("reason") or ""),
        declared_at=_moment(told.get("declared_at")) or exercise.started_at,
        rto_seconds=_number(told.get("rto_seconds", exercise.measurements.get("rto_seconds"))),
        rpo_seconds=_number(told.get("rpo_seconds", exercise.measurements.get("rpo_seconds"))),
        recovery_point=str(told["recovery_point"]) if told.get("recovery_point") else None,
        steps=tuple(_step(each, path) for each in _list(told.get("steps")) if isinstance(each, dict)),
        critical_path=path,
    )


def _step(told: dict[str, Any], path: Sequence[str]) -> Step:
    name = str(told.get("name", ""))
    verdict = str(told.get("verdict", ""))
    return Step(
        name=name,
        target=str(told.get("target") or ""),
        kind=str(told.get("kind") or ""),
        needs=tuple(str(each) for each in _list(told.get("needs"))),
        started_seconds=_number(told.get("started_seconds")),
        finished_seconds=_number(told.get("finished_seconds")),
        verdict=Verdict(verdict) if verdict in Verdict.__members__ else Verdict.UNKNOWN,
        reason=str(told.get("reason") or ""),
        exercise=str(told["exercise"]) if told.get("exercise") else None,
        critical=name in path,
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _moment(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
