"""When two values mean the same, and where they differ.

Providers swap `null`, `{}`, `[]` and `""` without meaning, write JSON documents with other spaces and keys in another order,
and IAM policies with one action as a string or as a list of one. An array may be a set or a list; a plan does not say which.
So a mere change of order is told apart from others (`reordered`): whether it matters is seen by whether an apply would
touch it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import secrets
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_KEYS = (
    "id", "rule_id", "rule_name", "sid", "name", "key", "device_name", "target_id", "region", "region_name",
    "arn", "cidr_block", "location", "priority", "az", "availability_zone", "index_name", "attribute_name",
)  # fmt: skip
"""What the elements of a list of blocks are recognised by, the first that is there and unique in both lists."""
_JSON_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Leaf:
    """One place where two values differ; `where` is its path as keys and indexes, `path` as people write it."""

    where: tuple[str | int, ...]
    before: Any
    after: Any
    reordered: bool = False
    after_unknown: bool = False

    @property
    def path(self) -> str:
        """`rule[0].expiration[0].days`, `tags["a b"]`."""
        return written(self.where)


def written(where: tuple[str | int, ...]) -> str:
    """A path as people write it."""
    text = ""
    for step in where:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _WORD.match(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step)}]"
    return text


def blank(value: Any) -> bool:
    """Whether `value` says nothing: null, `""`, `[]`, `{}`, or an object of nothing else. A list of one `{}` says something:
    an empty block is often a switch.
    """
    if isinstance(value, dict):
        return all(blank(each) for each in value.values())
    return value is None or value == "" or value == []


def equal(one: Any, other: Any) -> bool:
    """Whether they mean the same, the order of lists included."""
    same = one == other and repr(one) == repr(
        other
    )  # within lists and objects True == 1, and their texts differ
    return same or _canonical(one, True) == _canonical(other, True)


def equal_unordered(one: Any, other: Any) -> bool:
    """Whether they mean the same if every list were a set (elements counted)."""
    return _canonical(one, False) == _canonical(other, False)


def canonical(value: Any) -> Hashable:
    """A hashable that is equal for values that mean the same, whatever the order of their lists."""
    return _canonical(value, False)


def differences(before: Any, after: Any, unknown: Any = None) -> tuple[Leaf, ...]:
    """Where two objects differ in what they mean; `unknown` marks what `after` does not know yet, as a plan does."""
    return tuple(_walk(before, after, unknown, ()))


def mark_of(value: Any) -> str:
    """A digest that is equal for values that mean the same, the order of lists included, and tells nothing of the value: its
    key is this process's own, so that short values cannot be guessed from it, and no two processes' marks are alike.
    """
    return hashlib.blake2b(
        _spelled(_canonical(value, True)).encode("utf-8", "surrogatepass"), key=_key()
    ).hexdigest()


@functools.cache
def _key() -> bytes:
    return secrets.token_bytes(32)


def _spelled(value: Hashable) -> str:
    """A canonical value as text: one text for one value, however its sets are ordered."""
    if isinstance(value, frozenset):
        return "{" + ",".join(sorted(map(_spelled, value))) + "}"
    if isinstance(value, tuple):
        return "(" + ",".join(map(_spelled, value)) + ")"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return repr(value)


def _canonical(value: Any, ordered: bool) -> Hashable:
    if blank(value):
        return None
    if isinstance(value, dict):
        return frozenset((key, _canonical(each, ordered)) for key, each in value.items() if not blank(each))
    if isinstance(value, list):
        parts = [_canonical(each, ordered) for each in value]
        return ("list", *parts) if ordered else ("list", frozenset(Counter(parts).items()))
    if isinstance(value, str):
        return _text(value, ordered)
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, float):
        return ("float", repr(value)) if value != value else ("number", value)
    return ("number", value)


def _text(value: str, ordered: bool) -> Hashable:
    document = parsed(value)
    if document is None:
        return value
    if isinstance(document, dict) and "Statement" in document:
        return ("policy", _policy(document))
    return ("json", _canonical(document, ordered))


def parsed(value: Any) -> Any:
    """The object or array that a string of JSON holds; None for everything else."""
    if not isinstance(value, str) or value[:1] not in ("{", "[") or len(value) > _JSON_MAX:
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _policy(value: Any) -> Hashable:
    """IAM reads its documents so: lists are sets, and a list of one is its element."""
    if isinstance(value, dict):
        return frozenset((key, _policy(each)) for key, each in value.items())
    if isinstance(value, list):
        parts = frozenset(_policy(each) for each in value)
        return next(iter(parts)) if len(parts) == 1 else parts
    return str(value) if isinstance(value, bool | int | float) else value


def _walk(before: Any, after: Any, unknown: Any, where: tuple[str | int, ...]) -> Iterator[Leaf]:
    if unknown is True:
        yield Leaf(where, before, None, after_unknown=True)
    elif isinstance(before, dict) and isinstance(
        after, dict
    ):  # each key by itself: most of them are the same
        yield from _objects(before, after, unknown, where)
    elif not _marks(unknown) and equal(before, after):
        return
    elif not _marks(unknown) and isinstance(before, list) and equal_unordered(before, after):
        yield Leaf(where, before, after, reordered=True)
    elif isinstance(before, Mapping | None) and isinstance(after, Mapping | None):
        yield from _objects(before or {}, after or {}, unknown, where)
    elif _blocks(before) and _blocks(after) and (before or after):
        yield from _lists(list(before or ()), list(after or ()), unknown, where)
    elif not equal(before, after):
        yield Leaf(where, before, after)


def _marks(unknown: Any) -> bool:
    """Whether anything below is marked."""
    if isinstance(unknown, dict):
        return any(each is not False and _marks(each) for each in unknown.values())
    if isinstance(unknown, list):
        return any(each is not False and _marks(each) for each in unknown)
    return unknown is True


def _objects(
    before: Mapping[str, Any], after: Mapping[str, Any], unknown: Any, where: tuple[str | int, ...]
) -> Iterator[Leaf]:
    marks: Mapping[str, Any] = unknown if isinstance(unknown, Mapping) else {}
    for key in dict.fromkeys((*before, *after, *marks)):
        yield from _walk(before.get(key), after.get(key), marks.get(key), (*where, key))


def _blocks(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(each, Mapping) for each in value))


def _lists(before: list[Any], after: list[Any], unknown: Any, where: tuple[str | int, ...]) -> Iterator[Leaf]:
    marks: list[Any] = unknown if isinstance(unknown, list) else []
    for old, new in pairs(before, after):
        index = new if new is not None else old
        assert index is not None
        was = None if old is None else before[old]
        now = None if new is None else after[new]
        mark = marks[new] if new is not None and new < len(marks) else None
        leaves = list(_walk(was, now, mark, (*where, index)))
        if not leaves and (was is None) is not (now is None):  # an empty block that is there, or is not
            leaves = [Leaf((*where, index), was, now)]
        yield from leaves


def pairs(before: list[Any], after: list[Any]) -> list[tuple[int | None, int | None]]:
    """Which element of one list of blocks is which of the other, as indexes; None where there is none.

    By a key that both have, else equal ones first and the rest in order.
    """
    key = next((name for name in _KEYS if _unique(before, name) and _unique(after, name)), None)
    found: list[tuple[int | None, int | None]] = []
    if key is not None:
        new_at = {canonical(each[key]): index for index, each in enumerate(after)}
        for index, each in enumerate(before):
            found.append((index, new_at.pop(canonical(each[key]), None)))
        return [*found, *((None, index) for index in new_at.values())]
    left: dict[Hashable, list[int]] = {}
    for index, each in enumerate(after):
        left.setdefault(canonical(each), []).append(index)
    alone: list[int] = []
    for index, each in enumerate(before):
        same = left.get(canonical(each))
        if same:
            found.append((index, same.pop(0)))
        else:
            alone.append(index)
    rest = sorted(index for indexes in left.values() for index in indexes)
    for position in range(max(len(alone), len(rest))):
        found.append(
            (
                alone[position] if position < len(alone) else None,
                rest[position] if position < len(rest) else None,
            )
        )
    return found


def _unique(blocks: list[Any], name: str) -> bool:
    values = [each.get(name) for each in blocks]
    return (
        bool(values)
        and all(isinstance(value, str | int) and value != "" for value in values)
        and len({canonical(value) for value in values}) == len(values)
    )
