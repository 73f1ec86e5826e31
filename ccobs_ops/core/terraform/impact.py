"""What a change does to recovery: the rules of `rules.py`, applied to one entry of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

from ccobs_ops.core.exercise import Severity
from ccobs_ops.core.redaction import MASK
from ccobs_ops.core.terraform.change import Direction, Impact, Objective
from ccobs_ops.core.terraform.direction import Tags, Turn, turn
from ccobs_ops.core.terraform.equal import written
from ccobs_ops.core.terraform.plan import Difference, Entry, Held, Top, pattern_of
from ccobs_ops.core.terraform.rules import SELECTORS, ImpactRules, Rule, load_rules
from ccobs_ops.core.terraform.values import is_on, members

__all__ = ["ImpactRules", "judge", "load_rules", "selection_tags"]

LOST = "what it held is gone, and can only come back from a backup"


def judge(
    entry: Entry, rules: ImpactRules, *, role: str, tags: Tags, event: str | None = None
) -> tuple[Impact, ...]:
    """Every impact of `entry` on recovery. `event` is `deleted` or `created` if the whole object came or went.

    `role` is the root's; `tags` are those that select backups, from `selection_tags`.
    """
    found: dict[tuple[str, str], Impact] = {}
    tops = {top.name: top for top in entry.tops}
    for rule in rules.of(entry.type):
        if not _about(rule, entry, role):
            continue
        if rule.of_object:
            if rule.weaker == event:
                found[rule.name, ""] = _of_object(rule)
        elif event != "deleted":
            for impact in _of_attributes(rule, tops, entry.differences, tags):
                found.setdefault((rule.name, impact.statement), impact)  # tags and tags_all say the same
    if event == "deleted" and rules.is_stateful(entry.type) and not found:
        found["stateful-deleted", ""] = Impact(
            rule="stateful-deleted",
            attribute="",
            direction=Direction.WEAKENS,
            objective=Objective.SURVIVAL,
            severity=Severity.CRITICAL,
            statement=LOST,
            why="it is of a type that holds data",
        )
    return tuple(found.values())


def selection_tags(held: Iterable[Held]) -> dict[str, frozenset[str]]:
    """The tags by which backup selections and snapshot policies of a state choose, with the values that do."""
    found: dict[str, frozenset[str]] = {}

    def add(key: Any, value: Any) -> None:
        if isinstance(key, str) and isinstance(value, str | int | float | bool):
            found[key] = found.get(key, frozenset()) | {str(value)}

    for one in held:
        if one.type not in SELECTORS:
            continue
        for tag in members(one.get("selection_tag"), ()):
            if isinstance(tag, Mapping):
                add(tag.get("key"), tag.get("value"))
        for tag in members(one.get("condition"), ("string_equals",)):
            if isinstance(tag, Mapping):
                add(str(tag.get("key", "")).removeprefix("aws:ResourceTag/"), tag.get("value"))
        for tags in members(one.get("policy_details"), ("target_tags",)):
            for key, value in tags.items() if isinstance(tags, Mapping) else ():
                add(key, value)
    return found


def _about(rule: Rule, entry: Entry, role: str) -> bool:
    if rule.roles and role not in rule.roles:
        return False
    if rule.where is None:
        return True
    names = (entry.address, *(value for _, value in entry.identity))
    return any(rule.where.search(name) for name in names)


def _of_object(rule: Rule) -> Impact:
    return Impact(
        rule=rule.name,
        attribute="",
        direction=Direction.WEAKENS,
        objective=rule.objective,
        severity=rule.severity,
        statement=rule.says,
        why=rule.why,
    )


def _of_attributes(
    rule: Rule, tops: Mapping[str, Top], differences: tuple[Difference, ...], tags: Tags
) -> Iterator[Impact]:
    for path in rule.attributes:
        top = tops.get(path[0])
        if top is None:
            continue
        hidden = _hidden(rule, path, top, differences)
        if hidden is not None:
            yield _impact(rule, path, Turn(Direction.WEAKENS), hidden)
            continue
        found = turn(rule, top.before, top.after, path[1:], tags)
        if found is not None:
            yield _impact(rule, path, found, _said(rule, path, found))


def _hidden(rule: Rule, path: tuple[str, ...], top: Top, differences: tuple[Difference, ...]) -> str | None:
    """Why the direction cannot be told, if it cannot: the values are secret, or not known before an apply."""
    if not top.sensitive and not top.after_unknown and not _masked(top, path):
        return None
    looked_at = ".".join(path)
    mine = [each for each in differences if each.top == top.name and _touches(each.path, looked_at)]
    if any(each.after_unknown for each in mine):
        if rule.weaker == "turned_on" and not is_on(top.after):
            return None
        return f"{looked_at} changes to what is known only after an apply"
    if any(each.sensitive or MASK in (each.before, each.after) for each in mine):
        return f"{looked_at} changed; its values are secret, so nobody can tell here whether that is better or worse"
    return None


def _masked(top: Top, path: tuple[str, ...]) -> bool:
    return MASK in (*members(top.before, path[1:]), *members(top.after, path[1:]))


def _touches(path: str, looked_at: str) -> bool:
    plain = pattern_of(path)
    return plain == looked_at or plain.startswith(f"{looked_at}.") or looked_at.startswith(f"{plain}.")


def _said(rule: Rule, path: tuple[str, ...], found: Turn) -> str:
    lost = "; ".join(found.lost) if found.lost else "nothing"
    gained = "; ".join(found.gained) if found.gained else "nothing"
    if found.direction is Direction.STRENGTHENS and (found.lost or found.gained):
        return f"{'.'.join(path)} covers more: {gained if found.gained else lost}"
    says = rule.says
    if found.direction is Direction.STRENGTHENS:  # what follows a colon says what is bad about it
        head, colon, tail = says.partition(": ")
        says = head if colon and "{" not in tail else says
    return says.format(before=found.before, after=found.after, lost=lost[:400], gained=gained[:400])


def _impact(rule: Rule, path: tuple[str, ...], found: Turn, statement: str) -> Impact:
    worse = found.direction is Direction.WEAKENS
    return Impact(
        rule=rule.name,
        attribute=written((*path, found.below)) if found.below else ".".join(path),
        direction=found.direction,
        objective=rule.objective,
        severity=rule.severity if worse else Severity.INFO,
        statement=statement,
        why=rule.why,
        unit=rule.unit if found.before_amount is not None or found.after_amount is not None else None,
        before=_finite(found.before_amount),
        after=_finite(found.after_amount),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
