"""An entry of a plan as it stands in the document, with its secrets, and the same entry masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ccobs_ops.core.terraform.equal import Leaf, mark_of, written
from ccobs_ops.core.terraform.plan import Difference, Entry, Held, Top, without_indexes
from ccobs_ops.core.terraform.sensitive import Drawn, at, below, marked

IDENTITY = (
    "id", "arn", "name", "bucket", "identifier", "cluster_identifier", "key_id", "role", "vault_name", "region",
    "path",
)  # fmt: skip


@dataclass(slots=True)
class Raw:
    """An entry as it stands in the document, with secrets: never leaves the reader unmasked."""

    fields: dict[str, Any]
    actions: tuple[str, ...]
    leaves: tuple[Leaf, ...]
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    unknown: Any
    mark: Any


def shown(raw: Raw, drawn: Drawn, configured: Mapping[str, frozenset[str]]) -> Entry:
    """The entry, masked; `configured` are the attributes that the configuration sets, by address."""
    fields = raw.fields
    address = str(fields["address"])
    previous, deposed = text_or_none(fields.get("previous_address")), text_or_none(fields.get("deposed"))
    return Entry(
        address=drawn.index(address),
        mode="managed",
        type=text_or_none(fields.get("type")) or _type_of(address),
        name=text_or_none(fields.get("name")) or "",
        provider=text_or_none(fields.get("provider_name")) or "",
        actions=raw.actions,
        previous_address=None if previous is None else drawn.index(previous),
        deposed=deposed,
        reason=text_or_none(fields.get("action_reason")),
        importing=bool(fields.get("importing")),
        differences=tuple(_difference(leaf, raw, drawn) for leaf in raw.leaves),
        tops=tuple(_tops(raw, drawn)),
        identity=tuple(_identity(raw, drawn)),
        configured=configured.get(without_indexes(address)),
    )


def held(raw: tuple[str, str, dict[str, Any], Any], drawn: Drawn) -> Held:
    """What the state holds of an object, masked."""
    address, kind, values, mark = raw
    seen = drawn.value(values, mark)
    return Held(drawn.index(address), kind, tuple(seen.items()) if isinstance(seen, dict) else ())


def texts(value: Any) -> Iterator[str]:
    """Every text in a value, and every number as text."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield str(key)
            yield from texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def text_or_none(value: Any) -> str | None:
    """The value if it is text."""
    return value if isinstance(value, str) else None


def _type_of(address: str) -> str:
    """The resource type that an address names: the last word but one of its last part."""
    return ["", *without_indexes(address).split(".")][-2]


def _difference(leaf: Leaf, raw: Raw, drawn: Drawn) -> Difference:
    where = tuple(
        drawn.key(step) if index and isinstance(step, str) else step for index, step in enumerate(leaf.where)
    )
    hidden = at(raw.mark, leaf.where)
    return Difference(
        path=written(where),
        top=str(leaf.where[0]) if leaf.where else "",
        before=drawn.value(leaf.before, below(raw.mark, leaf.where)),
        after=drawn.value(leaf.after, below(raw.mark, leaf.where)),
        sensitive=hidden,
        after_unknown=leaf.after_unknown,
        reordered=leaf.reordered,
        before_mark=mark_of(leaf.before),
        after_mark=None if leaf.after_unknown else mark_of(leaf.after),
    )


def _tops(raw: Raw, drawn: Drawn) -> Iterator[Top]:
    marks: Mapping[str, Any] = raw.mark if isinstance(raw.mark, Mapping) else {}
    for name in dict.fromkeys(str(leaf.where[0]) for leaf in raw.leaves if leaf.where):
        mark = marks.get(name) if isinstance(raw.mark, Mapping) else (True if marked(raw.mark) else None)
        yield Top(
            name,
            drawn.value(raw.before.get(name), mark),
            drawn.value(raw.after.get(name), mark),
            sensitive=marked(mark),
            after_unknown=any(leaf.after_unknown for leaf in raw.leaves if leaf.where[:1] == (name,)),
        )


def _identity(raw: Raw, drawn: Drawn) -> Iterator[tuple[str, str]]:
    for name in IDENTITY:
        value = raw.after.get(name) or raw.before.get(name)
        if isinstance(value, str) and value and not at(raw.mark, (name,)):
            yield name, drawn.text(value)
