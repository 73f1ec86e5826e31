"""The report's charts: Altair specifications, drawn to SVG by vl-convert without a browser or a network.

Every colour is one of `COLOURS`; the page's style sheet replaces each by the variable of the same name, so that one drawing
serves light and dark. No meaning rests on colour alone: verdicts have marks of their own (✓ ✗ ?), the critical path a frame.
All are drawn narrow, to be readable on a telephone as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.report.drawing import COLOURS, chart, drawing, svg
from ccobs_ops.core.report.model import Calendar, Drill, Event, Series
from ccobs_ops.core.units import format_seconds

if TYPE_CHECKING:
    import altair as alt

WIDTH = 400
MARKS = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.UNKNOWN: "?", None: ""}
_FILLS = {
    Verdict.PASSED: COLOURS["good"],
    Verdict.FAILED: COLOURS["bad"],
    Verdict.UNKNOWN: COLOURS["unknown"],
    None: COLOURS["none"],
}
_TICKS = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400)
_TOLD = (
    "datum.value < 1 ? datum.value * 1000 + ' ms' : datum.value < 60 ? datum.value + ' s'"
    " : datum.value < 3600 ? datum.value / 60 + ' min' : datum.value < 86400 ? datum.value / 3600 + ' h'"
    " : datum.value / 86400 + ' d'"
)
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@drawing()
def calendar(found: Calendar) -> str:
    """The days of a target as weeks: one column a week, one row a weekday."""
    import altair as alt  # noqa: PLC0415

    first = found.days[0].day - timedelta(days=found.days[0].day.weekday())
    rows = [
        {
            "week": (each.day - timedelta(days=each.day.weekday())).isoformat(),
            "weekday": _WEEKDAYS[each.day.weekday()],
            "fill": _FILLS[each.verdict],
            "mark": MARKS[each.verdict],
        }
        for each in found.days
    ]
    weeks = (found.days[-1].day - first).days // 7 + 1
    step = max(12, min(26, (WIDTH - 40) // weeks))
    base = chart(rows).encode(
        x=alt.X("week:O", axis=_weeks(sorted({row["week"] for row in rows}))),
        y=alt.Y(
            "weekday:O", sort=list(_WEEKDAYS), axis=alt.Axis(title=None, values=["Mon", "Wed", "Fri", "Sun"])
        ),
    )
    cells = base.mark_rect(stroke=COLOURS["line"], strokeWidth=1, cornerRadius=3).encode(
        color=alt.Color("fill:N", scale=None)
    )
    marks = base.mark_text(color=COLOURS["paper"], fontSize=min(13, step - 6), fontWeight="bold").encode(
        text="mark:N"
    )
    return svg(alt.layer(cells, marks).properties(width=step * weeks, height=step * 7))


@drawing()
def strips(found: Sequence[Calendar]) -> str:
    """One row for each capability of a target, one narrow column a day; marks only where something was not PASSED."""
    import altair as alt  # noqa: PLC0415

    days = len(found[0].days)
    step = max(3.2, min(26.0, (WIDTH - 90) / days))
    wide = step >= 9
    rows = [
        {
            "day": each.day.isoformat(),
            "row": one.capability
            if len({other.target for other in found}) == 1
            else one.target.partition("/")[2],
            "fill": _FILLS[each.verdict],
            "mark": MARKS[each.verdict] if each.verdict is not Verdict.PASSED and wide else "",
        }
        for one in found
        for each in one.days
    ]
    names = list(dict.fromkeys(row["row"] for row in rows))
    base = chart(rows).encode(
        x=alt.X("day:O", axis=_days([each.day.isoformat() for each in found[0].days])),
        y=alt.Y("row:N", sort=names, axis=alt.Axis(title=None, labelLimit=110)),
    )
    cells = base.mark_rect(stroke=COLOURS["paper"], strokeWidth=0.6).encode(
        color=alt.Color("fill:N", scale=None)
    )
    marks = base.mark_text(color=COLOURS["paper"], fontSize=11, fontWeight="bold").encode(text="mark:N")
    return svg(alt.layer(cells, marks).properties(width=step * days, height=24 * len(names)))


@drawing()
def over_time(found: Sequence[Series], since: datetime, until: datetime) -> str:
    """Measurements of one target over time, against what it promises, with the forecast; on a logarithmic scale.

    An exercise that measured nothing stands as ? at the foot: it is not left out.
    """
    import altair as alt  # noqa: PLC0415

    values = [value for each in found for value in each.values if value > 0]
    limit = found[0].objective_seconds
    ahead = found[0].forecast
    bounds = [*values, *([limit] if limit else [])]
    if ahead is not None:
        bounds += [max(ahead.low_seconds, 0.001), ahead.high_seconds]
    low, high = _span(bounds)
    y = alt.Scale(type="log", domain=[low, high], nice=False)
    ticks = [each for each in _TICKS if low <= each <= high]
    axis = alt.Axis(title=None, values=ticks, labelExpr=_TOLD, grid=True)
    end = until + (until - since) * 0.12
    x = alt.X("at:T", scale=alt.Scale(domain=[_utc(since), _utc(end)], type="utc"), axis=_dates())
    layers: list[Any] = []
    for place, each in enumerate(found):
        colour = (COLOURS["accent"], COLOURS["accent2"], COLOURS["soft"])[place % 3]
        layers += _points(alt, each, colour, x, y, axis, low, dash=place)
    if limit is not None:
        layers += _promise(alt, limit, x, y, axis, since, end)
    if ahead is not None:
        layers += _ahead(alt, ahead.low_seconds, ahead.rto_seconds, ahead.high_seconds, end, x, y, axis)
    return svg(alt.layer(*layers).properties(width=WIDTH - 60, height=150))


@drawing()
def gantt(found: Drill) -> str:
    """The steps of a drill from the moment that it was declared; the critical path is framed and in full colour."""
    import altair as alt  # noqa: PLC0415

    ran = [each for each in found.steps if each.started_seconds is not None]
    end = max([each.finished_seconds or each.started_seconds or 0.0 for each in ran], default=0.0) or 1.0
    rows: list[dict[str, Any]] = []
    for each in found.steps:
        started = each.started_seconds
        finished = each.finished_seconds if each.finished_seconds is not None else end
        rows.append(
            {
                "step": each.name,
                "from": started or 0.0,
                "to": (started or 0.0) if started is None else max(finished, started + end * 0.004),
                "fill": COLOURS["bad"]
                if each.verdict is Verdict.FAILED
                else COLOURS["accent"]
                if each.critical
                else COLOURS["line"],
                "frame": COLOURS["ink"] if each.critical else COLOURS["soft"],
                "thick": 1.6 if each.critical else 0.6,
                "told": "not started"
                if started is None
                else f"{'◆ ' if each.critical else ''}{format_seconds(finished - started)}"
                + (f" {MARKS[each.verdict]}" if each.verdict is not Verdict.PASSED else ""),
            }
        )
    names = [each.name for each in found.steps]
    base = chart(rows).encode(
        y=alt.Y("step:N", sort=names, axis=alt.Axis(title=None, labelLimit=150, domain=False))
    )
    x = alt.X(
        "from:Q",
        scale=alt.Scale(domain=[0, end * 1.28], nice=False),
        axis=alt.Axis(title="seconds since declared", values=_round(end), grid=True),
    )
    bars = base.mark_bar(height=13, cornerRadius=2).encode(
        x=x,
        x2="to:Q",
        color=alt.Color("fill:N", scale=None),
        stroke=alt.Stroke("frame:N", scale=None),
        strokeWidth=alt.StrokeWidth("thick:Q", scale=None),
    )
    told = base.mark_text(align="left", dx=4, color=COLOURS["ink"], fontSize=10).encode(
        x="to:Q", text="told:N"
    )
    return svg(alt.layer(bars, told).properties(width=WIDTH - 150, height=22 * len(names)))


@drawing()
def incident_spans(found: Sequence[Event], since: datetime, until: datetime) -> str:
    """From when to when each target had an incident; one that is open goes on to the edge."""
    import altair as alt  # noqa: PLC0415

    rows = [
        {
            "target": each.target,
            "from": _ms(max(each.detected_at, since)),
            "to": _ms(each.verified_at or until),
            "fill": COLOURS["bad"] if each.kind is Verdict.FAILED else COLOURS["unknown"],
            "told": "open" if each.verified_at is None else "",
        }
        for each in found
    ]
    names = sorted({each.target for each in found})
    base = chart(rows).encode(y=alt.Y("target:N", sort=names, axis=alt.Axis(title=None, labelLimit=150)))
    x = alt.X("from:T", scale=alt.Scale(domain=[_utc(since), _utc(until)], type="utc"), axis=_dates())
    bars = base.mark_bar(height=11, minBandSize=3).encode(
        x=x,
        x2="to:T",
        color=alt.Color("fill:N", scale=None),
        stroke=alt.Stroke("fill:N", scale=None),
        strokeWidth=alt.value(1.5),
    )
    return svg(alt.layer(bars).properties(width=WIDTH - 150, height=22 * len(names)))


def _points(
    alt: Any, found: Series, colour: str, x: Any, y: Any, axis: Any, low: float, *, dash: int
) -> list[Any]:
    rows = [
        {
            "at": _ms(point.at),
            "value": max(point.value, low) if point.value is not None else None,
            "mark": {Verdict.PASSED: "circle", Verdict.FAILED: "cross", Verdict.UNKNOWN: "triangle-up"}[
                point.verdict
            ],
            "fill": colour if point.verdict is Verdict.PASSED else _FILLS[point.verdict],
        }
        for point in found.points
    ]
    there = [row for row in rows if row["value"] is not None]
    lost = [row | {"value": low} for row in rows if row["value"] is None]
    value = alt.Y("value:Q", scale=y, axis=axis)
    size = 22 if len(rows) < 60 else 9
    made: list[Any] = []
    if there:
        base = chart(there).encode(x=x, y=value)
        made.append(
            base.mark_line(color=colour, strokeWidth=1.2, strokeDash=[[1, 0], [5, 3], [2, 2]][dash % 3])
        )
        made.append(
            base.mark_point(filled=True, size=size, opacity=1).encode(
                color=alt.Color("fill:N", scale=None), shape=alt.Shape("mark:N", scale=None)
            )
        )
    if lost:
        foot = chart(lost).encode(x=x, y=value)
        made.append(foot.mark_text(text="?", color=COLOURS["unknown"], fontWeight="bold", fontSize=13, dy=-5))
    return made


def _promise(alt: Any, limit: float, x: Any, y: Any, axis: Any, since: datetime, end: datetime) -> list[Any]:
    rows = [{"at": _ms(since), "value": limit}, {"at": _ms(end), "value": limit}]
    base = chart(rows).encode(x=x, y=alt.Y("value:Q", scale=y, axis=axis))
    told = chart(rows[:1]).encode(x=x, y=alt.Y("value:Q", scale=y, axis=axis))
    text = f"objective {format_seconds(limit)}"
    return [
        base.mark_line(color=COLOURS["ink"], strokeDash=[6, 4], strokeWidth=1.4),
        told.mark_text(text=text, align="left", dy=-7, dx=2, color=COLOURS["ink"], fontSize=10.5),
    ]


def _ahead(
    alt: Any, low: float, middle: float, high: float, end: datetime, x: Any, y: Any, axis: Any
) -> list[Any]:
    rows = [{"at": _ms(end - timedelta(hours=12)), "value": middle, "low": max(low, 0.001), "high": high}]
    base = chart(rows).encode(x=x)
    value = alt.Y("value:Q", scale=y, axis=axis)
    span = base.mark_rule(color=COLOURS["accent2"], strokeWidth=5, opacity=0.55).encode(
        y=alt.Y("low:Q", scale=y, axis=axis), y2="high:Q"
    )
    return [
        span,
        base.mark_point(shape="diamond", filled=True, size=60, color=COLOURS["accent2"]).encode(y=value),
    ]


def _span(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.1, 10.0
    low, high = min(values), max(values)
    return max(low / 3, 0.001), high * 2.2


def _round(end: float) -> list[float]:
    """A few round numbers from 0 to `end`."""
    rough = end / 4
    unit = 10 ** math.floor(math.log10(rough)) if rough > 0 else 1
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return [round(step * place, 6) for place in range(int(end / step) + 1)]


def _utc(moment: datetime) -> Any:
    import altair as alt  # noqa: PLC0415

    at = moment.astimezone(UTC)
    return alt.DateTime(
        year=at.year,
        month=at.month,
        date=at.day,
        hours=at.hour,
        minutes=at.minute,
        seconds=at.second,
        utc=True,
    )


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _dates() -> alt.Axis:
    import altair as alt  # noqa: PLC0415

    return alt.Axis(title=None, format="%d %b", tickCount=4, grid=False, labelOverlap=True)


def _weeks(names: Sequence[str]) -> alt.Axis:
    """A label for the first week of each month."""
    import altair as alt  # noqa: PLC0415

    chosen: dict[str, str] = {}
    for name in names:
        chosen.setdefault(name[:7], name)
    kept = [
        each for place, each in enumerate(chosen.values()) if place or len(names) < 3 or names[0][8:] <= "14"
    ]
    return alt.Axis(
        title=None, values=kept, labelExpr="timeFormat(toDate(datum.value + 'T12:00'), '%d %b')", labelAngle=0,
        labelAlign="left", labelOverlap=True, domain=False, ticks=False,
    )  # fmt: skip


def _days(names: Sequence[str]) -> alt.Axis:
    import altair as alt  # noqa: PLC0415

    every = max(1, len(names) // 4)
    return alt.Axis(
        title=None, values=list(names[::every]), labelExpr="timeFormat(toDate(datum.value + 'T12:00'), '%d %b')",
        labelAngle=0, labelAlign="left", labelOverlap=True,
    )  # fmt: skip
