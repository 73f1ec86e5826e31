"""Which way a value went, for each `weaker:` that a rule may name.

Every function takes the whole attribute before and after and says whether recovery got weaker, stronger, or neither. What
cannot be told counts as weaker: to be warned once too often costs a look, once too little costs the backups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from ccobs_ops.core.terraform import iam_policy, scope
from ccobs_ops.core.terraform.change import Direction
from ccobs_ops.core.terraform.equal import blank, canonical, equal_unordered
from ccobs_ops.core.terraform.rules import Rule, fits
from ccobs_ops.core.terraform.values import (
    Path_,
    amount,
    interval_hours,
    is_on,
    members,
    number,
    shown,
    tracks,
)

Tags = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Turn:
    """Which way, and the two values: as text, and as numbers in the rule's unit where they are. `below` is the key of the
    attribute that decided, where it is one of a map.
    """

    direction: Direction
    before: str = ""
    after: str = ""
    before_amount: float | None = None
    after_amount: float | None = None
    lost: tuple[str, ...] = ()
    gained: tuple[str, ...] = ()
    below: str = ""


def turn(rule: Rule, before: Any, after: Any, path: Path_, tags: Tags) -> Turn | None:
    """How the attribute at `path` below a top-level value went; None if it did not change, or to no effect.

    `tags` are the tags that select what is backed up, with the values that do; an empty set means any value.
    """
    whole = _WHOLE.get(rule.weaker)
    if whole is not None:
        return whole(rule, before, after, path, tags)
    one = _EACH[rule.weaker]
    turns = [found for old, new in tracks(before, after, path) if (found := one(rule, old, new)) is not None]
    return next((each for each in turns if each.direction is Direction.WEAKENS), turns[0] if turns else None)


def _weaker(is_weaker: bool) -> Direction:
    return Direction.WEAKENS if is_weaker else Direction.STRENGTHENS


# ---------------------------------------------------------------- one value


def _measured(rule: Rule, value: Any) -> float | None:
    found = rule.unset if blank(value) else number(value)
    return inf if found is not None and found == rule.forever else found


def _compared(rule: Rule, before: Any, after: Any, sign: int) -> Turn | None:
    old, new = _measured(rule, before), _measured(rule, after)
    if old is None and blank(before):
        return None
    if old is None or new is None:
        return Turn(Direction.WEAKENS, shown(before), shown(after), old, new)
    if old == new:
        return None
    return Turn(
        _weaker((new - old) * sign < 0),
        amount(old, rule.unit),
        amount(new, rule.unit),
        old,
        new,
    )


def _lowered(rule: Rule, before: Any, after: Any) -> Turn | None:
    return _compared(rule, before, after, 1)


def _raised(rule: Rule, before: Any, after: Any) -> Turn | None:
    return _compared(rule, before, after, -1)


def _switched(before: Any, after: Any, *, off_is_weaker: bool) -> Turn | None:
    old, new = is_on(before), is_on(after)
    if old == new:
        return None
    return Turn(_weaker(old is off_is_weaker), _switch(before, old), _switch(after, new))


def _switch(value: Any, is_it_on: bool) -> str:
    return value if isinstance(value, str) and value else "on" if is_it_on else "off"


def _turned_off(rule: Rule, before: Any, after: Any) -> Turn | None:
    return _switched(before, after, off_is_weaker=True)


def _turned_on(rule: Rule, before: Any, after: Any) -> Turn | None:
    return _switched(before, after, off_is_weaker=False)


def _ranked(rule: Rule, before: Any, after: Any) -> Turn | None:
    if before == after or (blank(before) and blank(after)):
        return None
    old = rule.order.index(before) if before in rule.order else -1
    new = rule.order.index(after) if after in rule.order else -1
    if blank(before) and new <= 0:
        return None
    return Turn(_weaker(new <= old), shown(before), shown(after))


def _removed(rule: Rule, before: Any, after: Any) -> Turn | None:
    if blank(before) == blank(after):
        return None
    return Turn(_weaker(blank(after)), shown(before), shown(after))


def _added(rule: Rule, before: Any, after: Any) -> Turn | None:
    found = _removed(rule, before, after)
    return found and Turn(_weaker(blank(before)), found.before, found.after)


def _exchanged(rule: Rule, before: Any, after: Any) -> Turn | None:
    if blank(before) or equal_unordered(before, after):
        return None
    old, new = str(before), str(after)
    if not blank(after) and (old.endswith(f"/{new}") or new.endswith(f"/{old}")):
        return None  # the same key by its id and by its ARN
    return Turn(Direction.WEAKENS, shown(before), shown(after))


# ---------------------------------------------------------------- the whole attribute


def _sum(rule: Rule, before: Any, after: Any, path: Path_, tags: Tags) -> Turn | None:
    if not rule.plus:
        turns = [each for old, new in tracks(before, after, path) if (each := _lowered(rule, old, new))]
        return next(
            (each for each in turns if each.direction is Direction.WEAKENS), turns[0] if turns else None
        )
    terms = ((path, 1.0), *((other[1:], factor) for other, factor in rule.plus))

    def total(value: Any) -> float:
        found = [
            factor * read
            for below, factor in terms
            for each in members(value, below)
            if (read := number(each)) is not None
        ]
        return sum(found) if found else (rule.unset or 0.0)

    return _lowered(rule, total(before), total(after))


def _changed(rule: Rule, before: Any, after: Any, path: Path_, tags: Tags) -> Turn | None:
    old, new = members(before, path), members(after, path)
    return None if equal_unordered(old, new) else Turn(Direction.WEAKENS, shown(old), shown(new))


def _set(before: Any, after: Any, path: Path_) -> tuple[tuple[str, ...], tuple[str, ...]]:
    old, new = members(before, path), members(after, path)
    old_keys, new_keys = {canonical(each) for each in old}, {canonical(each) for each in new}
    lost = tuple(shown(each) for each in old if canonical(each) not in new_keys and not _covered(each, new))
    gained = tuple(shown(each) for each in new if canonical(each) not in old_keys and not _covered(each, old))
    return lost, gained


def _covered(one: Any, others: list[Any]) -> bool:
    return isinstance(one, str) and any(
        isinstance(other, str) and "*" in other and fits(one, other) for other in others
    )


def _narrowed(rule: Rule, before: Any, after: Any, path: Path_, tags: Tags) -> Turn | None:
    lost, gained = _set(before, after, path)
    if not lost and not gained:
        return None
    return Turn(
        _weaker(bool(lost)),
        shown(members(before, path)),
        shown(members(after, path)),
        lost=lost,
        gained=gained,
    )


def _widened(rule: Rule, before: Any, after: Any, path: Path_, tags: Tags) -> Turn | None:
    lost, gained = _set(before, after, path)
    if not lost and not gained:
        return None
    return Turn(
        _weaker(bool(gained)),
        shown(members(before, path)),
        shown(members(after, path)),
        lost=lost,
        gained=gained,
    )


def _untagged(rule: Rule, before: Any, after: Any, path: Path_, tags: Tags) -> Turn | None:
    old = before if isinstance(before, Mapping) else {}
    new = after if isinstance(after, Mapping) else {}
    better: Turn | None = None
    for key in dict.fromkeys((*old, *new)):
        named = rule.keys is not None and rule.keys.search(key) is not None
        if old.get(key) == new.get(key) or not (named or key in tags):
            continue
        was, now = _selects(key, old, tags), _selects(key, new, tags)
        texts = (f"{key}={shown(old.get(key))}", f"{key}={shown(new.get(key))}")
        if was:
            return Turn(Direction.WEAKENS, *texts, below=key)
        if now:
            better = Turn(Direction.STRENGTHENS, *texts, below=key)
    return better


def _selects(key: str, found: Mapping[str, Any], tags: Tags) -> bool:
    """Whether a tag may select for backup: by a known selection, else unless it says no."""
    if key not in found:
        return False
    values = tags.get(key)
    if values:
        return str(found[key]) in values
    return str(found[key]).lower() not in ("false", "no", "off", "none", "disabled", "0", "")


def _rarer(rule: Rule, before: Any, after: Any, path: Path_, tags: Tags) -> Turn | None:
    turns: list[Turn] = []
    for old, new in tracks(before, after, path):
        if old == new or blank(old):
            continue
        was, now = interval_hours(old), interval_hours(new)
        if was is None or now is None:
            turns.append(Turn(Direction.WEAKENS, shown(old), shown(new)))
        elif was != now:
            turns.append(Turn(_weaker(now > was), amount(was, "hours"), amount(now, "hours"), was, now))
    return next((each for each in turns if each.direction is Direction.WEAKENS), turns[0] if turns else None)


def _expires_sooner(rule: Rule, before: Any, after: Any, path: Path_, tags: Tags) -> Turn | None:
    found = scope.sooner(before, after, rule.days, members)
    if found is None:
        return None
    old, new = found
    texts = tuple("never" if each == inf else amount(each, rule.unit) for each in (old, new))
    return Turn(_weaker(new < old), texts[0], texts[1], old, new)


def _replicates_less(rule: Rule, before: Any, after: Any, path: Path_, tags: Tags) -> Turn | None:
    lost, gained = scope.replication(before, after), scope.replication(after, before)
    if not lost and not gained:
        return None
    return Turn(_weaker(bool(lost)), lost=lost, gained=gained)


def _policies(before: Any, after: Any, path: Path_) -> Iterator[iam_policy.PolicyChange | None]:
    for old, new in tracks(before, after, path):
        if not equal_unordered(old, new):
            yield iam_policy.compare(old, new)


def _by_policy(
    before: Any,
    after: Any,
    path: Path_,
    worse: Callable[[iam_policy.PolicyChange], tuple[iam_policy.Permission, ...]],
) -> Turn | None:
    better: Turn | None = None
    for change in _policies(before, after, path):
        if change is None:
            return Turn(Direction.WEAKENS, lost=("it changed in a way that cannot be compared",))
        if lost := worse(change):
            return Turn(Direction.WEAKENS, lost=tuple(map(str, lost)))
        back = iam_policy.PolicyChange(change.gained, change.lost)
        if gained := worse(back):
            better = Turn(Direction.STRENGTHENS, gained=tuple(map(str, gained)))
    return better


def _protects_less(rule: Rule, before: Any, after: Any, path: Path_, tags: Tags) -> Turn | None:
    return _by_policy(before, after, path, lambda change: change.protection_lost)


def _grants_less(rule: Rule, before: Any, after: Any, path: Path_, tags: Tags) -> Turn | None:
    return _by_policy(before, after, path, lambda change: change.grants_lost)


_EACH: Mapping[str, Callable[[Rule, Any, Any], Turn | None]] = {
    "raised": _raised,
    "turned_off": _turned_off,
    "turned_on": _turned_on,
    "ranked": _ranked,
    "removed": _removed,
    "added": _added,
    "exchanged": _exchanged,
}
_WHOLE: Mapping[str, Callable[[Rule, Any, Any, Path_, Tags], Turn | None]] = {
    "lowered": _sum,
    "changed": _changed,
    "narrowed": _narrowed,
    "widened": _widened,
    "untagged": _untagged,
    "rarer": _rarer,
    "expires_sooner": _expires_sooner,
    "replicates_less": _replicates_less,
    "protects_less": _protects_less,
    "grants_less": _grants_less,
}
