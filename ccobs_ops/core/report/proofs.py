"""The parts of a report about targets: where each stands, which days were proven, how fast, what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy.engine import Connection

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.report import query
from ccobs_ops.core.report.model import (
    Calendar,
    Capability,
    Change,
    Counts,
    Day,
    Event,
    Forecast,
    Point,
    Series,
    Target,
    days_between,
)
from ccobs_ops.core.report.query import Daily
from ccobs_ops.core.status import MEASURED, TargetStatus, objectives_of
from ccobs_ops.inventory import Inventory

MOST_POINTS = 180
MOST_CHANGES = 50
RESTORES = ("validation",)
"""The capabilities whose exercises go back to a day of their own."""
MEASUREMENTS = {
    "validation": (("rto_seconds", "rto"), ("rpo_seconds", "rpo")),
    "restore_drill": (("rto_seconds", "rto"), ("rpo_seconds", "rpo")),
    "canary": (("lag_max_seconds", "rpo"), ("lag_p95_seconds", "rpo"), ("lag_p50_seconds", "rpo")),
    "drill": (("rto_seconds", "rto"), ("rpo_seconds", "rpo")),
}
"""What is followed over time, and the objective that bounds it."""
_SEVERITIES = {"critical": 0, "warning": 1, "info": 2}


def targets(
    ahead: Mapping[str, Forecast],
    statuses: Sequence[TargetStatus],
    tallies: Mapping[tuple[str, str], Counts],
    events: Sequence[Event],
) -> tuple[Target, ...]:
    """Every target of the inventory at a glance."""
    return tuple(_target(ahead, each, tallies, events) for each in statuses)


def _target(
    ahead: Mapping[str, Forecast],
    status: TargetStatus,
    tallies: Mapping[tuple[str, str], Counts],
    events: Sequence[Event],
) -> Target:
    noun = status.target.partition("/")[0]
    counting = [each for each in status.capabilities if each.counts]
    ages = [each.proof_age_seconds for each in counting]
    telling = [each for each in counting if each.verdict is status.verdict]
    reason = f"{telling[0].capability}: {telling[0].reason}" if telling else ""
    if not telling:
        reason = next((f"agent: {each.reason}" for each in status.components if each.reason), "")
    restored = noun in MEASURED and "rto_seconds" in MEASURED[noun]
    followed = noun in MEASURED
    return Target(
        target=status.target,
        verdict=status.verdict,
        reason="" if status.verdict is Verdict.PASSED else reason,
        proof_age_seconds=None if None in ages or not ages else max(age for age in ages if age is not None),
        rto_seconds=status.rto_seconds,
        rto_objective_seconds=status.objectives.rto.total_seconds() if restored else None,
        rpo_seconds=status.rpo_seconds,
        rpo_objective_seconds=status.objectives.rpo.total_seconds() if followed else None,
        open_incidents=sum(1 for each in events if each.target == status.target and each.verified_at is None),
        forecast=ahead.get(status.target),
        capabilities=tuple(
            Capability(
                each.capability,
                each.verdict,
                each.reason,
                each.proof_age_seconds,
                tallies.get((status.target, each.capability), Counts()),
                each.latest.id if each.latest is not None else None,
            )
            for each in status.capabilities
        ),
    )


def recoverable(
    connection: Connection, wanted: Sequence[tuple[str, str]], since: datetime, until: datetime
) -> tuple[Calendar, ...]:
    """Which days each database could be restored to; of `wanted` (target, capability) those that go back to a day."""
    days = days_between(since.date(), until.date())
    return tuple(
        _recoverable(connection, target, capability, days, since, until)
        for target, capability in wanted
        if capability in RESTORES and target.startswith("postgres/")
    )


def exercised(
    wanted: Sequence[tuple[str, str]],
    daily: Mapping[tuple[str, str], Sequence[Daily]],
    since: datetime,
    until: datetime,
) -> tuple[Calendar, ...]:
    """On which days each of `wanted` (target, capability) was proven; what was never exercised has nothing in its days."""
    days = days_between(since.date(), until.date())
    return tuple(_exercised(*place, daily.get(place, ()), days) for place in wanted)


def _recoverable(
    connection: Connection,
    target: str,
    capability: str,
    days: Sequence[date],
    since: datetime,
    until: datetime,
) -> Calendar:
    """Each day with the best that a restore to it has shown: PASSED once is proven; a later failure is told with it."""
    found: dict[date, list[tuple[Verdict, str, str]]] = {}
    paths = (("details", "recovered_to"), ("details", "day"), ("details", "target"))
    for row in query.measured(connection, target, capability, paths, since, until):
        moment = next((str(value) for value in row.values if _day(value) is not None), None)
        day = _day(moment)
        if day is not None:
            found.setdefault(day, []).append((row.verdict, row.exercise, str(row.values[0] or "")))
    return Calendar(target, capability, "recoverable", tuple(_best(day, found.get(day, [])) for day in days))


def _best(day: date, tries: Sequence[tuple[Verdict, str, str]]) -> Day:
    if not tries:
        return Day(day, None, 0)
    verdict, exercise, point = tries[-1]
    for each in reversed(tries):
        if each[0] is Verdict.PASSED:
            verdict, exercise, point = each
            break
    failed = sum(1 for each in tries if each[0] is Verdict.FAILED)
    note = f"restored to {point}" if verdict is Verdict.PASSED and point else ""
    if verdict is Verdict.PASSED and failed:
        note += f"; {failed} other restore{'' if failed == 1 else 's'} to this day failed"
    if verdict is Verdict.PASSED and tries[-1][0] is Verdict.FAILED:  # what was possible is so no longer
        verdict, exercise, _ = tries[-1]
        note = "restored before; the newest restore to this day failed"
    return Day(day, verdict, len(tries), exercise, note)


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10]) if value else None
    except ValueError:
        return None


def _exercised(target: str, capability: str, found: Sequence[Daily], days: Sequence[date]) -> Calendar:
    """Each day with the worst that was found on it."""
    of_day: dict[date, dict[Verdict, int]] = {}
    for each in found:
        of_day.setdefault(each.day, {})[each.verdict] = each.times
    made: list[Day] = []
    for day in days:
        counts = of_day.get(day, {})
        verdict = next(
            (one for one in (Verdict.FAILED, Verdict.UNKNOWN, Verdict.PASSED) if counts.get(one)), None
        )
        told = ", ".join(f"{count} {one}" for one, count in sorted(counts.items()))
        made.append(Day(day, verdict, sum(counts.values()), None, told))
    return Calendar(target, capability, "exercised", tuple(made))


def series(
    connection: Connection,
    inventory: Inventory,
    ahead: Mapping[str, Forecast],
    statuses: Sequence[TargetStatus],
    places: Sequence[tuple[str, str]],
    since: datetime,
    until: datetime,
) -> tuple[Series, ...]:
    """What is followed over time of every target; one that was never measured has no points and is there all the same."""
    wanted = [(each.target, one.capability) for each in statuses for one in each.capabilities]
    wanted += [place for place in places if place[1] == "drill"]
    made: list[Series] = []
    for target, capability in dict.fromkeys(wanted):
        measurements = MEASUREMENTS.get(capability, ())
        if not measurements:
            continue
        paths = [("measurements", name) for name, _ in measurements]
        rows = query.measured(connection, target, capability, paths, since, until)
        objectives = objectives_of(inventory, target)
        for place, (name, promise) in enumerate(measurements):
            points = [Point(row.at, _number(row.values[place]), row.verdict, row.exercise) for row in rows]
            limit = getattr(objectives, promise).total_seconds() if objectives is not None else None
            made.append(
                Series(
                    target,
                    capability,
                    name,
                    limit,
                    query.worst_of_days(points, most=MOST_POINTS),
                    len(points),
                    ahead.get(target) if name == "rto_seconds" and capability != "drill" else None,
                )
            )
    return tuple(made)


def changes(
    connection: Connection, places: Sequence[tuple[str, str]], since: datetime, until: datetime
) -> tuple[tuple[Change, ...], int]:
    """What is open now: the changes of the newest scan of each root, the worst first, and how many are left out."""
    roots = [place for place in places if place[1] == "drift"]
    found: list[Change] = []
    for exercise in query.of_targets(connection, roots, limit=1, since=since, until=until):
        told = exercise.details.get("changes")
        for each in told if isinstance(told, list) else []:
            if isinstance(each, dict) and each.get("open"):
                found.append(
                    Change(
                        exercise.target,
                        str(each.get("address", "")),
                        str(each.get("severity", "")),
                        str(each.get("message", "")),
                        each.get("first_seen"),
                    )
                )
    found.sort(key=lambda each: (_SEVERITIES.get(each.severity, 3), each.target, each.address))
    return tuple(found[:MOST_CHANGES]), max(0, len(found) - MOST_CHANGES)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
