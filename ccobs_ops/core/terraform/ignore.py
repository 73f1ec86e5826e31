"""Ignore rules: they silence what a scan reports, and never change a plan.

A rule has an owner, a reason and a date until which it holds. It never silences a weakening of what recovery rests on without
its extra word (`covers_recovery`), and what it would have silenced then is a finding of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Protocol

from ccobs_ops.core.exercise import Finding, Severity
from ccobs_ops.core.terraform.change import AttributeChange, Change, Direction, IgnoredBy
from ccobs_ops.core.terraform.plan import pattern_of


class IgnoreRule(Protocol):
    """As the inventory writes it: `address` and `attribute` may hold `*`; without `attribute` the whole object is meant.

    An address covers what lies below it: `module.cache`, or every instance of `aws_instance.web`.
    """

    @property
    def address(self) -> str:
        """The object, or a pattern of several."""
        ...

    @property
    def attribute(self) -> str | None:
        """The attribute, or a pattern of several."""
        ...

    @property
    def owner(self) -> str:
        """Who answers for it."""
        ...

    @property
    def reason(self) -> str:
        """Why it is right to ignore it."""
        ...

    @property
    def expires(self) -> date:
        """The last day on which it holds."""
        ...

    @property
    def covers_recovery(self) -> bool:
        """Whether it also silences what weakens recovery."""
        ...


@dataclass(frozen=True, slots=True)
class Silenced:
    """Changes after the rules were applied, and what is to be said about the rules."""

    changes: tuple[Change, ...]
    notes: tuple[Finding, ...]


def apply(
    changes: Iterable[Change], rules: Sequence[IgnoreRule], *, today: date, settle: Callable[[Change], Change]
) -> Silenced:
    """Mark what the rules in force silence. A change of which they cover a part is split in two; `settle` then gives each
    part the severity that is left to it.

    Notes are `ignore_rule_expired` for each rule past its date, and `ignore_rule_refused` for each that would have hidden
    what recovery rests on.
    """
    valid = [rule for rule in rules if rule.expires >= today]
    notes = [_expired(rule) for rule in rules if rule.expires < today]
    refused: dict[tuple[str, str], Finding] = {}
    result: list[Change] = []
    for change in changes:
        fitting = [rule for rule in valid if covers(rule.address, change.address)]
        result.extend(_silence(change, fitting, refused, settle) if fitting else (change,))
    return Silenced(tuple(result), (*notes, *refused.values()))


def _silence(
    change: Change,
    rules: Sequence[IgnoreRule],
    refused: dict[tuple[str, str], Finding],
    settle: Callable[[Change], Change],
) -> tuple[Change, ...]:
    weakened = [impact.attribute for impact in change.impacts if impact.direction is Direction.WEAKENS]

    def rule_for(path: str | None) -> IgnoreRule | None:
        for rule in rules:
            if rule.attribute is not None and (path is None or not covers(rule.attribute, path)):
                continue
            if rule.covers_recovery or not any(path is None or _touch(path, each) for each in weakened):
                return rule
            refused.setdefault((rule.address, change.address), _refusal(rule, change))
        return None

    if not change.attributes:
        rule = rule_for(None)
        return (change,) if rule is None else (replace(change, ignored_by=_by(rule)),)
    hidden = [(each, rule) for each in change.attributes if (rule := rule_for(each.path)) is not None]
    if not hidden:
        return (change,)
    rest = tuple(each for each in change.attributes if all(each is not other for other, _ in hidden))
    silenced = _part(change, tuple(each for each, _ in hidden))
    marked = replace(settle(silenced), ignored_by=_by(hidden[0][1]))
    return (settle(_part(change, rest)), marked) if rest else (marked,)


def _part(change: Change, attributes: tuple[AttributeChange, ...]) -> Change:
    """`change` as if only `attributes` had changed."""
    impacts = tuple(
        impact
        for impact in change.impacts
        if not impact.attribute or any(_touch(each.path, impact.attribute) for each in attributes)
    )
    return replace(change, attributes=attributes, impacts=impacts)


def covers(pattern: str, name: str) -> bool:
    """Whether `pattern` means `name` or something that it lies in: `tags` means `tags.Team`, `module.a` all that is in it."""
    return _regex(pattern).match(name) is not None


@lru_cache(maxsize=1024)
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))) + r"(?:\Z|[.\[])", re.DOTALL)


def _touch(path: str, attribute: str) -> bool:
    plain, other = pattern_of(path), pattern_of(attribute)
    return plain == other or covers(plain, other) or covers(other, plain)


def _by(rule: IgnoreRule) -> IgnoredBy:
    return IgnoredBy(rule.owner, rule.reason, rule.expires.isoformat())


def _named(rule: IgnoreRule) -> str:
    return rule.address if rule.attribute is None else f"{rule.address} {rule.attribute}"


def _expired(rule: IgnoreRule) -> Finding:
    return Finding(
        "ignore_rule_expired",
        Severity.WARNING,
        _named(rule),
        f"the ignore rule of {rule.owner} ended on {rule.expires.isoformat()}: {rule.reason}",
        "take the rule out of the inventory, or give it a new date if its reason still holds",
    )


def _refusal(rule: IgnoreRule, change: Change) -> Finding:
    return Finding(
        "ignore_rule_refused",
        Severity.WARNING,
        change.address,
        f"the ignore rule for {_named(rule)} does not hide a change that weakens recovery",
        "put it right, or write covers_recovery: true into the rule if it is meant",
    )
