"""How long it takes until something is noticed and until it is proven good again, and for how long a target was exposed.

| figure | from | to | counted |
|---|---|---|---|
| time to detect | `occurred_at` | `detected_at` | incidents for which something earlier than the detection is known |
| time to restore | `detected_at` | `verified_at` | incidents that are closed; those still open are counted beside them |

A time to detect that starts at the last proof is an upper bound: it broke after that. Percentiles are by nearest rank: a
value that was really observed, never one between two. Nothing is known of nothing: no incident, no figure.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from ccobs_ops.core import incidents
from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.incident import Incident
from ccobs_ops.core.ledger_schema import from_microseconds, to_microseconds
from ccobs_ops.core.status import PROOFS, limit_of, objectives_of

if TYPE_CHECKING:
    from ccobs_ops.core.ledger import Ledger
    from ccobs_ops.inventory import Inventory

_NOT_NEEDED = frozenset({"no_extra", "in_time", "no_drift", "coverage", "within_quota"})
"""Claims without which a target can still be recovered within its objectives."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How a number of seconds is spread; None where there is none. `upper_bounds` of `count` are at most what they say."""

    count: int
    upper_bounds: int
    p50_seconds: float | None
    p95_seconds: float | None
    max_seconds: float | None

    @classmethod
    def of(cls, seconds: Sequence[float], upper_bounds: int) -> Spread:
        """The spread of `seconds`."""
        if not seconds:
            return cls(0, 0, None, None, None)
        ordered = sorted(seconds)
        rank = [ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95)]
        return cls(len(ordered), upper_bounds, rank[0], rank[1], ordered[-1])


@dataclass(frozen=True, slots=True)
class RecoveryTimes:
    """The times of one capability of one target, over `count` incidents, of which `open` are not proven good yet."""

    target: str
    capability: str
    count: int
    open: int
    time_to_detect: Spread
    time_to_restore: Spread


@dataclass(frozen=True, slots=True)
class Interval:
    """A span of time in which a target could not have been recovered within its objectives, as far as is known, and why."""

    start: datetime
    end: datetime
    why: str

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class Exposure:
    """For how long `target` was exposed between `since` and `until`: the union of `intervals`, which do not overlap."""

    target: str
    since: datetime
    until: datetime
    intervals: tuple[Interval, ...]

    @property
    def seconds(self) -> float:
        """How long in all."""
        return sum(each.seconds for each in self.intervals)

    @property
    def ratio(self) -> float:
        """Which share of the time."""
        return self.seconds / max((self.until - self.since).total_seconds(), 1e-9)


def recovery_times(ledger: Ledger, since: datetime | None = None) -> dict[tuple[str, str], RecoveryTimes]:
    """The times of all incidents that were detected since `since`, for each target and capability."""
    groups: dict[tuple[str, str], list[Incident]] = defaultdict(list)
    for each in incidents.listed(ledger, since=since, limit=1_000_000):
        groups[each.target, each.capability].append(each)
    return {key: _times(*key, groups[key]) for key in sorted(groups)}


def _times(target: str, capability: str, found: list[Incident]) -> RecoveryTimes:
    detected = [each for each in found if each.occurred_from != "detected"]
    closed = [each for each in found if each.verified_at is not None]
    return RecoveryTimes(
        target,
        capability,
        len(found),
        len(found) - len(closed),
        Spread.of(
            [(e.detected_at - e.occurred_at).total_seconds() for e in detected],
            sum(each.occurred_from == "last_passed" for each in detected),
        ),
        Spread.of([(e.verified_at - e.detected_at).total_seconds() for e in closed if e.verified_at], 0),
    )


def exposure(ledger: Ledger, inventory: Inventory, target: str, since: datetime, until: datetime) -> Exposure:
    """For how long `target` could not have been recovered within its objectives, as far as the ledger knows.

    It is exposed while a claim that its recovery needs is not proven (from when that occurred to when it was proven again),
    while the newest proof of a capability is older than it counts for, and before there was any: what nobody looked at too.
    """
    noun = target.partition("/")[0]
    objectives = objectives_of(inventory, target)
    spans: list[Interval] = [
        Interval(each.occurred_at, each.verified_at or until, f"{each.capability}: {each.claim}")
        for each in _overlapping(ledger, target, since, until)
        if each.capability in PROOFS.get(noun, ()) and each.claim not in _NOT_NEEDED
    ]
    if objectives is not None:
        for capability in PROOFS[noun]:
            limit = limit_of(capability, objectives)
            spans += _without_proof(ledger, target, capability, limit, since, until)
    return Exposure(target, since, until, _union(spans, since, until))


def _overlapping(ledger: Ledger, target: str, since: datetime, until: datetime) -> list[Incident]:
    table = schema.incidents.c
    query = sa.select(table.document).where(
        table.target == target,
        table.detected_at <= to_microseconds(until),
        sa.or_(table.verified_at.is_(None), table.verified_at >= to_microseconds(since)),
    )
    with ledger.reading() as connection:
        return [incidents.read(text) for text in connection.scalars(query)]


def _without_proof(
    ledger: Ledger, target: str, capability: str, limit: timedelta, since: datetime, until: datetime
) -> list[Interval]:
    """Where the newest proof was too old. The database finds the gaps: a drift scan has 50,000 proofs a year."""
    table = schema.exercises.c
    mine = sa.and_(
        table.target == target, table.capability == capability, table.verdict == Verdict.PASSED.value
    )
    begin, end, most = to_microseconds(since), to_microseconds(until), limit // timedelta(microseconds=1)
    earlier = sa.select(sa.func.max(table.finished_at)).where(mine, table.finished_at < begin)
    within = (
        sa.select(
            table.finished_at, sa.func.lag(table.finished_at).over(order_by=table.finished_at).label("before")
        )
        .where(mine, table.finished_at >= begin, table.finished_at <= end)
        .subquery()
    )
    gaps = sa.select(within.c.before, within.c.finished_at).where(
        within.c.finished_at - within.c.before > most
    )
    bounds = sa.select(sa.func.min(table.finished_at), sa.func.max(table.finished_at)).where(
        mine, table.finished_at >= begin, table.finished_at <= end
    )
    with ledger.reading() as connection:
        before = connection.execute(earlier).scalar()
        first, last = connection.execute(bounds).one()
        found = [(row[0] + most, row[1]) for row in connection.execute(gaps)]
    good_until = begin if before is None else before + most
    if first is None:
        found.append((good_until, end))
    else:
        found += [(good_until, first), (last + most, end)]
    return [
        Interval(
            from_microseconds(start), from_microseconds(stop), f"{capability}: no proof that still counts"
        )
        for start, stop in found
        if stop > start
    ]


def _union(spans: Iterable[Interval], since: datetime, until: datetime) -> tuple[Interval, ...]:
    """`spans` within `since` and `until`, those that touch made one; each says what came first."""
    merged: list[Interval] = []
    for each in sorted(spans, key=lambda span: (span.start, span.end)):
        start, end = max(each.start, since), min(each.end, until)
        if end <= start:
            continue
        if merged and start <= merged[-1].end:
            last = merged[-1]
            why = last.why if each.why in last.why.split("; ") else f"{last.why}; {each.why}"
            merged[-1] = Interval(last.start, max(last.end, end), why)
        else:
            merged.append(Interval(start, end, each.why))
    return tuple(merged)
