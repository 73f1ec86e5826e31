"""What the report asks of the ledger: counts and measurements by SQL, so that a million exercises are not loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql.selectable import LateralFromClause

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
    # one column at a time: past a pair, SQLite would walk over all rows that have the first one
    target, capability = sa.bindparam("target", ""), sa.bindparam("capability", "")
    next_target = sa.select(sa.func.min(_TABLE.target)).where(_TABLE.target > target)
    next_capability = sa.select(sa.func.min(_TABLE.capability)).where(
        _TABLE.target == target, _TABLE.capability > capability
    )
    found: list[tuple[str, str]] = []
    one: str | None = ""
    while (one := connection.scalar(next_target, {"target": one})) is not None:
        of_it: str | None = ""
        while (of_it := connection.scalar(next_capability, {"target": one, "capability": of_it})) is not None:
            found.append((one, of_it))
    return found


def oldest(connection: Connection) -> datetime | None:
    """When the first exercise of the ledger finished; None where there is none."""
    first = connection.execute(sa.select(sa.func.min(_TABLE.finished_at))).scalar()
    return None if first is None else from_microseconds(first)


def daily(
    connection: Connection, target: str, capability: str, since: datetime, until: datetime
) -> list[Daily]:
    """Exercises a day and verdict. Each day is counted within an index: ten times faster than to sort them by day."""
    low, end = to_microseconds(since), to_microseconds(until) + 1
    days = sa.select(
        sa.literal(low, sa.BigInteger).label("low"),
        sa.literal(min(end, (low // _DAY + 1) * _DAY), sa.BigInteger).label("high"),
    ).cte("days", recursive=True)
    next_high = sa.case((days.c.high + _DAY > end, end), else_=days.c.high + _DAY)
    days = days.union_all(sa.select(days.c.high, next_high).where(days.c.high < end))
    counted = [
        sa.select(sa.func.count())
        .where(
            _TABLE.target == target,
            _TABLE.capability == capability,
            _TABLE.verdict == verdict.value,
            # one bound below and one above: SQLite would seek by any others
            _TABLE.finished_at >= days.c.low,
            _TABLE.finished_at < days.c.high,
        )
        .correlate(days)
        .scalar_subquery()
        for verdict in Verdict
    ]
    return [
        Daily(_EPOCH + timedelta(days=row[0] // _DAY), verdict, times)
        for row in connection.execute(sa.select(days.c.low, *counted))
        for verdict, times in zip(Verdict, row[1:], strict=True)
        if times
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
    columns, source = _inside(connection, paths)
    query = (
        sa.select(_TABLE.finished_at, _TABLE.verdict, _TABLE.id, *columns)
        .select_from(source)
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


def _inside(
    connection: Connection, paths: Sequence[tuple[str, str]]
) -> tuple[list[sa.ColumnElement[Any]], sa.FromClause]:
    """What is at `paths` of a document: numbers for measurements, texts for the rest; and where to select it from."""
    source: sa.FromClause = schema.exercises
    if connection.dialect.name == "sqlite":
        return [sa.func.json_extract(_TABLE.document, f'$.{part}."{name}"') for part, name in paths], source
    records: dict[str, LateralFromClause] = {}
    for part in dict.fromkeys(
        part for part, _ in paths
    ):  # a record of each: a document is parsed once, not for each name
        kind = sa.Double if part == "measurements" else sa.Text
        wanted = [sa.column(name, kind) for name in dict.fromkeys(name for one, name in paths if one == part)]
        record = sa.func.json_to_record(sa.cast(_TABLE.document, sa.JSON)[part]).table_valued(*wanted)
        records[part] = record.render_derived(name=f"of_{part}", with_types=True).lateral()
        source = source.outerjoin(records[part], sa.true())
    return [records[part].c[name] for part, name in paths], source
