"""What the report asks of the ledger: counts and measurements by SQL, so that a million exercises are not loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.ledger_schema import from_microseconds, to_microseconds
from ccobs_ops.core.report.model import Counts, Point

_DAY = 86_400_000_000
_TABLE = schema.exercises.c
_EPOCH = date(1970, 1, 1)


class Daily(NamedTuple):
    """How many exercises of a target and capability ended with a verdict on a day (UTC)."""

    day: date
    verdict: Verdict
    times: int


class Measured(NamedTuple):
    """One exercise with what was asked of its document; what it does not have is None."""

    at: datetime
    verdict: Verdict
    exercise: str
    values: tuple[Any, ...]


def pairs(connection: Connection) -> list[tuple[str, str]]:
    """Every (target, capability) that the ledger has an exercise of: found by leaps through an index, not by reading it."""
    found: list[tuple[str, str]] = []
    place = sa.tuple_(_TABLE.target, _TABLE.capability)
    first = sa.select(_TABLE.target, _TABLE.capability).order_by(_TABLE.target, _TABLE.capability).limit(1)
    row = connection.execute(first).first()
    while row is not None:
        found.append((row.target, row.capability))
        row = connection.execute(first.where(place > sa.tuple_(*map(sa.literal, found[-1])))).first()
    return found


def oldest(connection: Connection) -> datetime | None:
    """When the first exercise of the ledger finished; None where there is none."""
    first = connection.execute(sa.select(sa.func.min(_TABLE.finished_at))).scalar()
    return None if first is None else from_microseconds(first)


def daily(
    connection: Connection, target: str, capability: str, since: datetime, until: datetime
) -> list[Daily]:
    """Exercises a day and verdict, from an index alone."""
    # whole numbers divide without a remainder in both databases; SQLAlchemy's own `/` would make a fraction of it
    day = _TABLE.finished_at.op("/")(sa.literal(_DAY, sa.BigInteger))
    query = (
        sa.select(day.label("day"), _TABLE.verdict, sa.func.count().label("times"))
        .where(_mine(target, capability, since, until))
        .group_by(sa.text("1"), _TABLE.verdict)
    )
    return [
        Daily(_EPOCH + timedelta(days=int(row.day)), Verdict(row.verdict), row.times)
        for row in connection.execute(query)
    ]


def tally(days: Sequence[Daily]) -> Counts:
    """The sum of `days`."""
    counts = dict.fromkeys(Verdict, 0)
    for each in days:
        counts[each.verdict] += each.times
    return Counts(counts[Verdict.PASSED], counts[Verdict.FAILED], counts[Verdict.UNKNOWN])


def measured(
    connection: Connection,
    target: str,
    capability: str,
    paths: Sequence[tuple[str, str]],
    since: datetime,
    until: datetime,
    *,
    only: Verdict | None = None,
) -> list[Measured]:
    """Values out of the documents of a target's exercises, oldest first; a path is (part, name) of a document."""
    condition = _mine(target, capability, since, until)
    if only is not None:
        condition = sa.and_(condition, _TABLE.verdict == only.value)
    columns = [_inside(connection, *path) for path in paths]
    query = (
        sa.select(_TABLE.finished_at, _TABLE.verdict, _TABLE.id, *columns)
        .where(condition)
        .order_by(_TABLE.finished_at, _TABLE.id)
    )
    return [
        Measured(from_microseconds(row[0]), Verdict(row[1]), row[2], tuple(row[3:]))
        for row in connection.execute(query)
    ]


def of_targets(
    connection: Connection, places: Sequence[tuple[str, str]], *, limit: int, since: datetime, until: datetime
) -> list[Exercise]:
    """The newest exercises of these (target, capability), newest first, at most `limit` of each."""
    found: list[Exercise] = []
    for target, capability in places:
        query = (
            sa.select(_TABLE.document)
            .where(_mine(target, capability, since, until))
            .order_by(_TABLE.finished_at.desc(), _TABLE.id.desc())
            .limit(limit)
        )
        found += [Exercise.from_json(json.loads(text)) for text in connection.scalars(query)]
    return sorted(found, key=lambda each: (each.finished_at, each.id), reverse=True)


def worst_of_days(points: Sequence[Point], *, most: int) -> tuple[Point, ...]:
    """`points`, or where there are more than `most` the worst of each day: the highest value, and a verdict that is not
    PASSED before one that is.
    """
    if len(points) <= most:
        return tuple(points)
    chosen: dict[date, Point] = {}
    for point in points:
        day = point.at.date()
        known = chosen.get(day)
        if known is None or _badness(point) > _badness(known):
            chosen[day] = point
    return tuple(chosen[day] for day in sorted(chosen))


def _badness(point: Point) -> tuple[bool, float]:
    return (point.verdict is not Verdict.PASSED, -1.0 if point.value is None else point.value)


def _mine(target: str, capability: str, since: datetime, until: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(_TABLE.target == target, _TABLE.capability == capability, _between(since, until))


def _between(since: datetime, until: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(_TABLE.finished_at >= to_microseconds(since), _TABLE.finished_at <= to_microseconds(until))


def _inside(connection: Connection, part: str, name: str) -> sa.ColumnElement[Any]:
    if connection.dialect.name == "sqlite":
        return sa.func.json_extract(_TABLE.document, f'$.{part}."{name}"')
    found = sa.cast(_TABLE.document, sa.JSON)[part][name]
    return found.as_float() if part == "measurements" else found.as_string()
