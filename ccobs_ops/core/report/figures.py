"""The report's figures: each a chart, the same in words, and the same as a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.report import charts
from ccobs_ops.core.report.model import Calendar, Drill, Event, Known, Report, Series
from ccobs_ops.core.units import format_seconds

_NAMES = {
    "rto_seconds": "recovery time (RTO)",
    "rpo_seconds": "loss (RPO)",
    "lag_max_seconds": "longest lag",
    "lag_p95_seconds": "p95 lag",
    "lag_p50_seconds": "median lag",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. `chart` is None where there is nothing to draw: `text` then says why."""

    id: str
    title: str
    text: str
    chart: charts.Spec | None = None
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def calendars(report: Report | Known) -> list[Figure]:
    """The days that each database could be restored to."""
    return [_calendar(each) for each in report.calendars if each.kind == "recoverable"]


def _calendar(found: Calendar) -> Figure:
    proven, failed, unknown, untried = (
        found.of(each) for each in (Verdict.PASSED, Verdict.FAILED, Verdict.UNKNOWN, None)
    )
    text = f"{proven} of {len(found.days)} days proven"
    text += "".join(
        f", {count} {what}"
        for count, what in ((failed, "failed"), (unknown, "could not be checked"), (untried, "not tried"))
        if count
    )
    return Figure(
        _id("calendar", found.target),
        found.target,
        text,
        charts.calendar(found),
        ("day", "verdict", "restores", "told"),
        tuple(
            (
                each.day.isoformat(),
                each.verdict or "not tried",
                str(each.exercises),
                " ".join(part for part in (each.note, each.exercise or "") if part),
            )
            for each in reversed(found.days)
        ),
    )


def strips(report: Report | Known) -> list[Figure]:
    """What was exercised of each target, a row for each of its capabilities; the roots of Terraform in one figure."""
    made: list[Figure] = []
    groups: dict[str, list[Calendar]] = {}
    for each in report.calendars:
        if each.kind == "exercised":
            noun = each.target.partition("/")[0]
            groups.setdefault("terraform" if noun == "terraform" else each.target, []).append(each)
    for name, found in groups.items():
        title = "terraform: drift" if name == "terraform" else name
        told = [
            f"{one.target.partition('/')[2] if name == 'terraform' else one.capability} {_days(one)}"
            for one in found
        ]
        rows = [
            (each.day.isoformat(), one.target, one.capability, each.verdict or "nothing", each.note)
            for one in found
            for each in reversed(one.days)
            if each.verdict is not Verdict.PASSED
        ]
        made.append(
            Figure(
                _id("exercised", name),
                title,
                "; ".join(told),
                charts.strips(found),
                ("day that is not PASSED", "target", "capability", "worst", "exercises"),
                tuple(rows) or (("none", "", "", "", "every day PASSED"),),
            )
        )
    return made


def _days(found: Calendar) -> str:
    if found.of(None) == len(found.days):
        return "never exercised in this time"
    told = f"PASSED on {found.of(Verdict.PASSED)} of {len(found.days)} days"
    for verdict, what in (
        (Verdict.FAILED, "FAILED on"),
        (Verdict.UNKNOWN, "UNKNOWN on"),
        (None, "nothing on"),
    ):
        told += f", {what} {found.of(verdict)}" if found.of(verdict) else ""
    return told


def restores(report: Report | Known) -> list[Figure]:
    """Recovery time and loss of each target over time."""
    return [
        _over_time(report, [each], f"{each.target}: {_NAMES[each.measurement]}")
        for each in report.series
        if each.capability != "canary"
    ]


def lags(report: Report | Known) -> list[Figure]:
    """The lag of each pair over time."""
    groups: dict[str, list[Series]] = {}
    for each in report.series:
        if each.capability == "canary" and each.target.startswith("replication/"):
            groups.setdefault(each.target, []).append(each)
    return [_over_time(report, found, target) for target, found in groups.items()]


def _over_time(report: Report | Known, found: Sequence[Series], title: str) -> Figure:
    first = found[0]
    identifier = _id("time", f"{first.target}-{first.capability}-{first.measurement}")
    if not any(each.points for each in found):
        return Figure(identifier, title, f"never measured by {first.capability} in this time")
    told = [_summary(each, named=len(found) > 1) for each in found if each.points]
    limit = first.objective_seconds
    if limit is not None:
        over = sum(1 for value in first.values if value > limit)
        told.append(
            f"promised {format_seconds(limit)}, " + (f"exceeded {over} times" if over else "never exceeded")
        )
    if first.forecast is not None:
        ahead = first.forecast
        span = f"{format_seconds(ahead.low_seconds)} to {format_seconds(ahead.high_seconds)}"
        told.append(f"forecast {format_seconds(ahead.rto_seconds)} ({span})")
        if ahead.breaches_at is not None:
            told.append(f"breaks its objective {ahead.breaches_at:%Y-%m-%d}")
    rows = [
        (
            f"{point.at:%Y-%m-%d %H:%M}",
            _NAMES[each.measurement],
            "not measured" if point.value is None else format_seconds(point.value),
            str(point.verdict),
            point.exercise,
        )
        for each in found
        for point in reversed(each.points)
    ]
    chart = charts.over_time([each for each in found if each.points], report.since, report.until)
    head = ("finished (UTC)", "measurement", "value", "verdict", "exercise")
    return Figure(identifier, title, "; ".join(told), chart, head, tuple(rows))


def _summary(found: Series, *, named: bool) -> str:
    name = f"{_NAMES[found.measurement]} " if named else ""
    values = found.values
    if not values:
        return f"{name}exercised {found.of} times and never measured"
    told = f"{name}median {format_seconds(statistics.median(values))}, longest {format_seconds(max(values))}"
    lost = sum(1 for point in found.points if point.value is None)
    drawn = f", the worst of each day of {found.of:,} exercises" if found.of > len(found.points) else ""
    return told + (f", {lost} not measured" if lost else "") + drawn


def drill(found: Drill) -> Figure:
    """The timeline of a drill."""
    title = f"{found.target}: {found.scenario}, {found.declared_at:%Y-%m-%d %H:%M} UTC"
    rto = (
        "service was not ready"
        if found.rto_seconds is None
        else f"service ready after {format_seconds(found.rto_seconds)}"
    )
    rpo = "loss not known" if found.rpo_seconds is None else f"{format_seconds(found.rpo_seconds)} lost"
    path = " → ".join(found.critical_path) or "none, as service was not ready"
    text = f"{rto}, {rpo}; critical path: {path}"
    if not found.steps:
        return Figure(_id("drill", found.exercise), title, f"{found.reason}: no step was recorded")
    rows = tuple(
        (
            each.name,
            each.target,
            each.kind,
            _offset(each.started_seconds),
            _offset(each.finished_seconds),
            "yes" if each.critical else "",
            str(each.verdict),
            each.reason,
        )
        for each in found.steps
    )
    head = ("step", "target", "kind", "started", "finished", "critical path", "verdict", "told")
    return Figure(_id("drill", found.exercise), title, text, charts.gantt(found), head, rows)


def incidents(report: Report) -> Figure:
    """From when to when there were incidents."""
    found = report.incidents
    still = sum(1 for each in found if each.verified_at is None)
    text = f"{len(found)} incidents of {len({each.target for each in found})} targets, {still} still open"
    return Figure(
        "incident-spans",
        "From detection to proof",
        text,
        charts.incident_spans(found, report.since, report.until) if found else None,
        ("target", "claim", "detected", "closed", "why"),
        tuple(
            (
                each.target,
                f"{each.capability} {each.claim}",
                f"{each.detected_at:%Y-%m-%d %H:%M}",
                "open" if each.verified_at is None else f"{each.verified_at:%Y-%m-%d %H:%M}",
                each.reason,
            )
            for each in found
        ),
    )


def spans_of(events: Sequence[Event]) -> int:
    """How many of `events` are open."""
    return sum(1 for each in events if each.verified_at is None)


def _offset(seconds: float | None) -> str:
    return "never" if seconds is None else format_seconds(seconds)


def _id(kind: str, name: str) -> str:
    return f"{kind}-" + "".join(letter if letter.isalnum() else "-" for letter in name.lower())
