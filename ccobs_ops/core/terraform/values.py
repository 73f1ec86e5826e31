"""Values of attributes as providers write them: what stands at a path, and how it reads as a number, a switch, a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from math import isfinite
from typing import Any

from ccobs_ops.core.terraform.equal import blank, pairs

Path_ = tuple[str, ...]
_ON = frozenset({"true", "enabled", "enable", "on", "active", "1", "yes"})


def tracks(before: Any, after: Any, path: Path_) -> Iterator[tuple[Any, Any]]:
    """What stands at `path` before and after, block by block. Where one of several blocks came or went there is nothing
    to compare; that is another rule's business.
    """
    if isinstance(before, list) or isinstance(after, list):
        old, new = _list(before), _list(after)
        if not path and not all(isinstance(each, Mapping) for each in (*old, *new)):
            yield before, after
            return
        several = max(len(old), len(new)) > 1
        for one, other in pairs(_blocks(old), _blocks(new)):
            if not several or (one is not None and other is not None):
                yield from tracks(
                    None if one is None else old[one], None if other is None else new[other], path
                )
    elif path:
        yield from tracks(_step(before, path[0]), _step(after, path[0]), path[1:])
    else:
        yield before, after


def _blocks(values: list[Any]) -> list[Any]:
    return [each if isinstance(each, Mapping) else {"value": each} for each in values]


def _list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _step(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def members(value: Any, path: Path_) -> list[Any]:
    """Everything that stands at `path`, through all lists, what is blank left out."""
    if isinstance(value, list):
        return [found for each in value for found in members(each, path)]
    if path:
        return members(_step(value, path[0]), path[1:])
    return [] if blank(value) else [value]


def shown(value: Any) -> str:
    """A value in a sentence."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if blank(value):
        return "nothing"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={shown(each)}" for key, each in value.items() if not blank(each))[:200]
    if isinstance(value, list):
        return ", ".join(shown(each) for each in value)[:200]
    return str(value)[:200]


def number(value: Any) -> float | None:
    """The value as a number; None if it is none, as a switch is not."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def amount(value: float, unit: str | None) -> str:
    """An amount with its unit: `35 d`, `no limit`."""
    if not isfinite(value):
        return "no limit"
    short = {"days": " d", "hours": " h", "minutes": " min", "seconds": " s", "GiB": " GiB"}.get(
        unit or "", ""
    )
    return f"{value:g}{short}"


def is_on(value: Any) -> bool:
    """Whether a switch is on, in any of the ways in which providers write that."""
    if isinstance(value, list):
        return any(is_on(each) for each in value)
    return value is True or str(value).lower() in _ON


def interval_hours(schedule: Any) -> float | None:
    """The longest time between two runs of `rate(…)` or `cron(…)`, in hours; None if it cannot be told."""
    from croniter import croniter  # noqa: PLC0415 - costs start-up time where no schedule changed

    text = str(schedule).strip()
    name, _, rest = text.partition("(")
    words = rest.rstrip(")").split()
    if name == "rate" and len(words) == 2:
        factor = {"minute": 1 / 60, "hour": 1.0, "day": 24.0, "week": 168.0}.get(words[1].rstrip("s"))
        count = number(words[0])
        return None if factor is None or count is None else round(count * factor, 4)
    if name != "cron" or len(words) not in (5, 6):
        return None
    line = " ".join(words[:5]).replace("?", "*")
    try:
        times = croniter(line, datetime(2026, 1, 1, tzinfo=UTC))
        moments = [times.get_next(float) for _ in range(40)]
    except (ValueError, KeyError, AttributeError, TypeError):
        return None
    return round(max(late - early for early, late in pairwise(moments)) / 3600, 4)
