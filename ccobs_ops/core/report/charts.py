"""The report's charts, as Vega-Lite specifications; `drawing` makes SVG of them, the tests check them against the grammar.

Every colour is one of `COLOURS`; the page's style sheet replaces each by the variable of the same name, so that one drawing
serves light and dark. No meaning rests on colour alone: verdicts have marks of their own (✓ ✗ ?), the critical path a frame.
All are drawn narrow, to be readable on a telephone as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.report.drawing import COLOURS
from ccobs_ops.core.report.model import Calendar, Drill, Event, Forecast, Series
from ccobs_ops.core.units import format_seconds

Spec = dict[str, Any]
"""A specification, or a part of one: https://vega.github.io/vega-lite/docs/spec.html."""

WIDTH = 400
MARKS = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.UNKNOWN: "?", None: ""}
_FILLS = {
    Verdict.PASSED: COLOURS["good"],
    Verdict.FAILED: COLOURS["bad"],
    Verdict.UNKNOWN: COLOURS["unknown"],
    None: COLOURS["none"],
}
_SHAPES = {Verdict.PASSED: "circle", Verdict.FAILED: "cross", Verdict.UNKNOWN: "triangle-up"}
_DASHES = ([1, 0], [5, 3], [2, 2])
_TICKS = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400)
_TOLD = (
    "datum.value < 1 ? datum.value * 1000 + ' ms' : datum.value < 60 ? datum.value + ' s'"
    " : datum.value < 3600 ? datum.value / 60 + ' min' : datum.value < 86400 ? datum.value / 3600 + ' h'"
    " : datum.value / 86400 + ' d'"
)
_DAY = "timeFormat(toDate(datum.value + 'T12:00'), '%d %b')"
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def calendar(found: Calendar) -> Spec:
    """The days of a target as weeks: one column a week, one row a weekday."""
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
    places = {
        "x": _of("week", "ordinal", axis=_weeks(sorted({row["week"] for row in rows}))),
        "y": _of(
            "weekday", "ordinal",
            sort=list(_WEEKDAYS), axis={"title": None, "values": ["Mon", "Wed", "Fri", "Sun"]},
        ),
    }  # fmt: skip
    cells = _layer(
        {"type": "rect", "stroke": COLOURS["line"], "strokeWidth": 1, "cornerRadius": 3}, color=_as_is("fill")
    )
    return _chart(step * weeks, step * 7, [cells, _marks(rows, min(13, step - 6))], rows, places)


def strips(found: Sequence[Calendar]) -> Spec:
    """One row for each capability of a target, one narrow column a day; marks only where something was not PASSED."""
    days = len(found[0].days)
    step = max(3.2, min(26.0, (WIDTH - 90) / days))
    wide = step >= 9
    one_target = len({each.target for each in found}) == 1
    rows = [
        {
            "day": each.day.isoformat(),
            "row": one.capability if one_target else one.target.partition("/")[2],
            "fill": _FILLS[each.verdict],
            "mark": MARKS[each.verdict] if each.verdict is not Verdict.PASSED and wide else "",
        }
        for one in found
        for each in one.days
    ]
    names = list(dict.fromkeys(row["row"] for row in rows))
    places = {
        "x": _of("day", "ordinal", axis=_days([each.day.isoformat() for each in found[0].days])),
        "y": _of("row", "nominal", sort=names, axis={"title": None, "labelLimit": 110}),
    }
    cells = _layer({"type": "rect", "stroke": COLOURS["paper"], "strokeWidth": 0.6}, color=_as_is("fill"))
    return _chart(step * days, 24 * len(names), [cells, _marks(rows, 11)], rows, places)


def over_time(found: Sequence[Series], since: datetime, until: datetime) -> Spec:
    """Measurements of one target over time, against what it promises, with the forecast; on a logarithmic scale.

    An exercise that measured nothing stands as ? at the foot: it is not left out.
    """
    values = [value for each in found for value in each.values if value > 0]
    limit = found[0].objective_seconds
    ahead = found[0].forecast
    bounds = [*values, *([limit] if limit else [])]
    if ahead is not None:
        bounds += [max(ahead.low_seconds, 0.001), ahead.high_seconds]
    low, high = _span(bounds)
    end = until + (until - since) * 0.12
    ticks = [each for each in _TICKS if low <= each <= high]
    y = {
        "type": "quantitative",
        "scale": {"type": "log", "domain": [low, high], "nice": False},
        "axis": {"title": None, "values": ticks, "labelExpr": _TOLD, "grid": True},
    }
    layers: list[Spec] = []
    for place, each in enumerate(found):
        colour = (COLOURS["accent"], COLOURS["accent2"], COLOURS["soft"])[place % 3]
        layers += _points(each, colour, y, low, _DASHES[place % 3])
    if limit is not None:
        layers += _promise(limit, y, since, end)
    if ahead is not None:
        layers += _ahead(ahead, end, y)
    return _chart(WIDTH - 60, 150, layers, None, {"x": _when("at", since, end)})


def gantt(found: Drill) -> Spec:
    """The steps of a drill from the moment that it was declared; the critical path is framed and in full colour."""
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
    places = {
        "y": _of("step", "nominal", sort=names, axis={"title": None, "labelLimit": 150, "domain": False})
    }
    bars = _layer(
        {"type": "bar", "height": 13, "cornerRadius": 2},
        x=_of(
            "from", "quantitative",
            scale={"domain": [0, end * 1.28], "nice": False},
            axis={"title": "seconds since declared", "values": _round(end), "grid": True},
        ),
        x2={"field": "to"},
        color=_as_is("fill"),
        stroke=_as_is("frame"),
        strokeWidth=_as_is("thick", "quantitative"),
    )  # fmt: skip
    told = _layer(
        {"type": "text", "align": "left", "dx": 4, "color": COLOURS["ink"], "fontSize": 10},
        x=_of("to", "quantitative"),
        text=_of("told", "nominal"),
    )
    return _chart(WIDTH - 150, 22 * len(names), [bars, told], rows, places)


def incident_spans(found: Sequence[Event], since: datetime, until: datetime) -> Spec:
    """From when to when each target had an incident; one that is open goes on to the edge."""
    rows = [
        {
            "target": each.target,
            "from": _ms(max(each.detected_at, since)),
            "to": _ms(each.verified_at or until),
            "fill": COLOURS["bad"] if each.kind is Verdict.FAILED else COLOURS["unknown"],
        }
        for each in found
    ]
    names = sorted({each.target for each in found})
    places = {"y": _of("target", "nominal", sort=names, axis={"title": None, "labelLimit": 150})}
    bars = _layer(
        {"type": "bar", "height": 11, "minBandSize": 3},
        x=_when("from", since, until),
        x2={"field": "to"},
        color=_as_is("fill"),
        stroke=_as_is("fill"),
        strokeWidth={"value": 1.5},
    )
    return _chart(WIDTH - 150, 22 * len(names), [bars], rows, places)


def _points(found: Series, colour: str, y: Spec, low: float, dash: Sequence[int]) -> list[Spec]:
    rows = [
        {
            "at": _ms(point.at),
            "value": max(point.value, low) if point.value is not None else None,
            "mark": _SHAPES[point.verdict],
            "fill": colour if point.verdict is Verdict.PASSED else _FILLS[point.verdict],
        }
        for point in found.points
    ]
    there = [row for row in rows if row["value"] is not None]
    lost = [row | {"value": low} for row in rows if row["value"] is None]
    value = {"field": "value"} | y
    made: list[Spec] = []
    if there:
        line = {"type": "line", "color": colour, "strokeWidth": 1.2, "strokeDash": dash}
        point = {"type": "point", "filled": True, "size": 22 if len(rows) < 60 else 9, "opacity": 1}
        both = [_layer(line), _layer(point, color=_as_is("fill"), shape=_as_is("mark"))]
        made.append({"data": {"values": there}, "encoding": {"y": value}, "layer": both})
    if lost:
        mark = {
            "type": "text", "text": "?", "color": COLOURS["unknown"],
            "fontWeight": "bold", "fontSize": 13, "dy": -5,
        }  # fmt: skip
        made.append(_layer(mark, lost, y=value))
    return made


def _promise(limit: float, y: Spec, since: datetime, end: datetime) -> list[Spec]:
    rows = [{"at": _ms(since), "value": limit}, {"at": _ms(end), "value": limit}]
    value = {"field": "value"} | y
    line = {"type": "line", "color": COLOURS["ink"], "strokeDash": [6, 4], "strokeWidth": 1.4}
    told = {
        "type": "text", "text": f"objective {format_seconds(limit)}", "align": "left",
        "dy": -7, "dx": 2, "color": COLOURS["ink"], "fontSize": 10.5,
    }  # fmt: skip
    return [_layer(line, rows, y=value), _layer(told, rows[:1], y=value)]


def _ahead(found: Forecast, end: datetime, y: Spec) -> list[Spec]:
    rows = [
        {
            "at": _ms(end - timedelta(hours=12)),
            "value": found.rto_seconds,
            "low": max(found.low_seconds, 0.001),
            "high": found.high_seconds,
        }
    ]
    span = {"type": "rule", "color": COLOURS["accent2"], "strokeWidth": 5, "opacity": 0.55}
    middle = {"type": "point", "shape": "diamond", "filled": True, "size": 60, "color": COLOURS["accent2"]}
    return [
        _layer(span, rows, y={"field": "low"} | y, y2={"field": "high"}),
        _layer(middle, rows, y={"field": "value"} | y),
    ]


def _chart(
    width: float, height: float, layers: list[Spec], rows: list[dict[str, Any]] | None, shared: Spec
) -> Spec:
    """`layers` over one another; `rows` and `shared` are of all of them."""
    data = {} if rows is None else {"data": {"values": rows}}
    return data | {"width": width, "height": height, "encoding": shared, "layer": layers}


def _layer(mark: Spec, rows: list[dict[str, Any]] | None = None, /, **encoding: Spec) -> Spec:
    data = {} if rows is None else {"data": {"values": rows}}
    return data | {"mark": mark, "encoding": encoding}


def _marks(rows: list[dict[str, Any]], size: float) -> Spec:
    """What stands in the cells that have a mark."""
    mark = {"type": "text", "color": COLOURS["paper"], "fontSize": size, "fontWeight": "bold"}
    return _layer(mark, [row for row in rows if row["mark"]], text=_of("mark", "nominal"))


def _of(field: str, kind: str, **more: Any) -> Spec:
    return {"field": field, "type": kind, **more}


def _as_is(field: str, kind: str = "nominal") -> Spec:
    """The field has the colour, the shape, the width itself: nothing is scaled."""
    return _of(field, kind, scale=None)


def _when(field: str, since: datetime, until: datetime) -> Spec:
    scale = {"domain": [_utc(since), _utc(until)], "type": "utc"}
    axis = {"title": None, "format": "%d %b", "tickCount": 4, "grid": False, "labelOverlap": True}
    return _of(field, "temporal", scale=scale, axis=axis)


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


def _utc(moment: datetime) -> Spec:
    at = moment.astimezone(UTC)
    return {
        "year": at.year, "month": at.month, "date": at.day,
        "hours": at.hour, "minutes": at.minute, "seconds": at.second, "utc": True,
    }  # fmt: skip


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _weeks(names: Sequence[str]) -> Spec:
    """A label for the first week of each month."""
    chosen: dict[str, str] = {}
    for name in names:
        chosen.setdefault(name[:7], name)
    kept = [
        each for place, each in enumerate(chosen.values()) if place or len(names) < 3 or names[0][8:] <= "14"
    ]
    return {
        "title": None, "values": kept, "labelExpr": _DAY, "labelAngle": 0,
        "labelAlign": "left", "labelOverlap": True, "domain": False, "ticks": False,
    }  # fmt: skip


def _days(names: Sequence[str]) -> Spec:
    every = max(1, len(names) // 4)
    return {
        "title": None, "values": list(names[::every]), "labelExpr": _DAY,
        "labelAngle": 0, "labelAlign": "left", "labelOverlap": True,
    }  # fmt: skip
