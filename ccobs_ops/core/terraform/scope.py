"""Rules of a bucket that hold for a part of its keys: lifecycle and replication.

A rule's scope is a prefix and a set of tags; it covers another's if it holds for every key that the other holds for
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-filters.html).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from ccobs_ops.core.terraform.equal import blank


@dataclass(frozen=True, slots=True)
class Scope:
    """Keys that begin with `prefix` and carry all of `tags`."""

    prefix: str
    tags: frozenset[tuple[str, str]]

    def covers(self, other: Scope) -> bool:
        """Whether every key of `other` is one of this."""
        return other.prefix.startswith(self.prefix) and self.tags <= other.tags

    def __str__(self) -> str:
        parts = [f"prefix {self.prefix}"] if self.prefix else []
        parts += [f"{key}={value}" for key, value in sorted(self.tags)]
        return " and ".join(parts) or "everything"


def _enabled(rules: Any) -> list[Mapping[str, Any]]:
    found = rules if isinstance(rules, list) else []
    return [
        rule
        for rule in found
        if isinstance(rule, Mapping) and str(rule.get("status", "Enabled")).lower() in ("enabled", "true")
    ]


def _one(value: Any) -> Mapping[str, Any]:
    if isinstance(value, list):
        value = value[0] if value else None
    return value if isinstance(value, Mapping) else {}


def of(rule: Mapping[str, Any]) -> Scope:
    """The scope of one rule, in any of the forms of its filter."""
    filters = _one(rule.get("filter"))
    both = _one(filters.get("and"))
    tag = _one(filters.get("tag"))
    prefix = next(
        (
            str(each)
            for each in (rule.get("prefix"), filters.get("prefix"), both.get("prefix"))
            if not blank(each)
        ),
        "",
    )
    tags: dict[str, str] = {}
    if tag.get("key"):
        tags[str(tag["key"])] = str(tag.get("value", ""))
    for found in (both.get("tags"), filters.get("tags"), rule.get("tags")):
        if isinstance(found, Mapping):
            tags.update({str(key): str(value) for key, value in found.items()})
    return Scope(prefix, frozenset(tags.items()))


def sooner(
    before: Any, after: Any, path: tuple[str, ...], members: Callable[[Any, tuple[str, ...]], list[Any]]
) -> tuple[float, float] | None:
    """For the first scope for which it changed: after how many days its keys expired and do now (infinity: never).

    A scope that now expires sooner comes first; None if nothing changed.
    """
    old, new = _expiries(before, path, members), _expiries(after, path, members)
    shorter = [(_days(old, scope), days) for scope, days in new if days < _days(old, scope)]
    if shorter:
        return shorter[0]
    longer = [(days, _days(new, scope)) for scope, days in old if days < _days(new, scope)]
    return longer[0] if longer else None


def _expiries(
    rules: Any, path: tuple[str, ...], members: Callable[[Any, tuple[str, ...]], list[Any]]
) -> list[tuple[Scope, float]]:
    found: list[tuple[Scope, float]] = []
    for rule in _enabled(rules):
        days = [
            float(each)
            for each in members(rule, path)
            if isinstance(each, int | float) and not isinstance(each, bool)
        ]
        if days and min(days) > 0:
            found.append((of(rule), min(days)))
    return found


def _days(expiries: list[tuple[Scope, float]], scope: Scope) -> float:
    return min((days for each, days in expiries if each.covers(scope)), default=inf)


def replication(before: Any, after: Any) -> tuple[str, ...]:
    """What enabled rules `before` replicated and no enabled rule `after` does, in words."""
    kept = [(of(rule), _destination(rule)) for rule in _enabled(after)]
    return tuple(
        f"{of(rule)} to {_destination(rule) or 'nowhere'}"
        for rule in _enabled(before)
        if not any(scope.covers(of(rule)) and to == _destination(rule) for scope, to in kept)
    )


def _destination(rule: Mapping[str, Any]) -> str:
    return str(_one(rule.get("destination")).get("bucket") or "")
