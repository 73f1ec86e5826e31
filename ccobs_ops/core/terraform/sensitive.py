"""Keep what a plan marks as sensitive out of all that is made of it, with every copy of it elsewhere in the document.

Terraform writes sensitive values in clear and marks where they stand (`before_sensitive`, `after_sensitive`,
`sensitive_values`). The same value may stand unmarked in another place: in a policy, a URL, an index, a check's message.
So what is marked anywhere is collected first, and masked everywhere. Safe beats readable: a mark that does not fit its
value masks the whole value.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from ccobs_ops.core.redaction import MASK, REDACT

SHORT = 4
"""Shorter values are masked where they are the whole value, not where they are part of a longer text."""
SHOWN_CHARS = 1000
_BLOCK = 1 << 18
_NEVER = frozenset({"", MASK})


def marked(mark: Any) -> bool:
    """Whether a mark marks anything. A mark of a form that is not known counts as one."""
    if isinstance(mark, dict):
        return any(each is not False and marked(each) for each in mark.values())
    if isinstance(mark, list):
        return any(each is not False and marked(each) for each in mark)
    return mark is not None and mark is not False


def below(mark: Any, where: Iterable[str | int]) -> Any:
    """What `mark` says of the value at `where` (keys and indexes): True where it says so of a value around it."""
    for step in where:
        if isinstance(mark, Mapping) and isinstance(step, str):
            mark = mark.get(step)
        elif isinstance(mark, list) and isinstance(step, int):
            mark = mark[step] if step < len(mark) else None
        else:
            return True if marked(mark) else None
    return mark


def at(mark: Any, where: Iterable[str | int]) -> bool:
    """Whether the value at the path `where`, or anything in it, is marked by `mark`."""
    return marked(below(mark, where))


def either(one: Any, other: Any) -> Any:
    """A mark for what `one` or `other` marks."""
    if one == other or not marked(one):
        return other
    if not marked(other):
        return one
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return {key: either(one.get(key), other.get(key)) for key in dict.fromkeys((*one, *other))}
    if isinstance(one, list) and isinstance(other, list):
        size = max(len(one), len(other))
        return [either(_nth(one, index), _nth(other, index)) for index in range(size)]
    return True


def _nth(marks: list[Any], index: int) -> Any:
    return marks[index] if index < len(marks) else None


class Veil:
    """Learns what is sensitive, then masks it in whatever passes through."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def learn(self, value: Any, mark: Any) -> None:
        """Everything in `value` that `mark` marks is secret from now on."""
        if mark is None or mark is False:
            return
        if isinstance(mark, dict) and isinstance(value, dict):
            for key, below in mark.items():
                if below is not False and key in value:
                    self.learn(value[key], below)
        elif isinstance(mark, list) and isinstance(value, list):
            for each, below in zip(value, mark, strict=False):
                if below is not False:
                    self.learn(each, below)
        elif marked(mark):
            self._known.update(_scalars(value))

    def drawn(self, seen: Iterable[str], words: Collection[str] = ()) -> Drawn:
        """The veil for texts of which `seen` are all that will be shown: secrets that are in none of them cost nothing.

        `words` are names of attributes, which stay what they are where they are the key of an object.
        """
        whole = self._known - _NEVER
        forms = {form for secret in whole if len(secret) >= SHORT for form in _forms(secret)}
        return Drawn(whole, _within(forms, seen), frozenset(words))


def _within(forms: Collection[str], seen: Iterable[str]) -> set[str]:
    """Those of `forms` that stand anywhere in `seen`.

    There may be tens of thousands of either. So both ends of each form are looked up among all pieces of a text of that
    length, and only those that are there are searched for.
    """
    found: set[str] = set()
    by_size = {size: [form for form in forms if _piece(form) == size] for size in _PIECES}
    for text in _joined(seen):
        for size, candidates in by_size.items():
            if not candidates:
                continue
            pieces = {text[at : at + size] for at in range(len(text) - size + 1)}
            found.update(
                form
                for form in candidates
                if form[:size] in pieces and form[-size:] in pieces and form in text
            )
    return found


_PIECES = (SHORT, 8)


def _piece(form: str) -> int:
    return _PIECES[len(form) >= _PIECES[1]]


def _joined(seen: Iterable[str]) -> Iterator[str]:
    """The texts in blocks of some size, none of them cut."""
    block: list[str] = []
    size = 0
    for text in seen:
        block.append(text)
        size += len(text)
        if size > _BLOCK:
            yield "\n".join(block)
            block, size = [], 0
    yield "\n".join(block)


class Drawn:
    """Masks values. Texts are also passed through the redactor of the whole process, which knows what secrets look like."""

    def __init__(self, whole: set[str], parts: set[str], words: frozenset[str]) -> None:
        self._whole = whole
        self._words = words
        self._parts = sorted(parts, key=len, reverse=True)

    def value(self, value: Any, mark: Any = None) -> Any:
        """`value` as it may be shown, also in length: what `mark` marks and all copies of secrets masked."""
        if mark is not None and marked(mark):
            if isinstance(mark, Mapping) and isinstance(value, Mapping):
                return {self.key(key): self.value(each, mark.get(key)) for key, each in value.items()}
            if isinstance(mark, list) and isinstance(value, list):
                return [self.value(each, _nth(mark, index)) for index, each in enumerate(value)]
            return None if value is None else MASK
        if isinstance(value, Mapping):
            return {self.key(key): self.value(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int | float):
            return self._number(value)
        return self.text(str(value))

    def text(self, text: str) -> str:
        """`text` as it may be shown, without any secret, and with nothing that no terminal or file can write."""
        if text in self._whole:
            return MASK
        for part in self._parts:
            text = text.replace(part, MASK)
        return REDACT(text.encode("utf-8", "replace").decode("utf-8"))

    def key(self, key: str) -> str:
        """The key of an object."""
        return key if key in self._words else self.text(key)

    def index(self, address: str) -> str:
        """An address: only what stands in quotes can be a copy of a secret, all else are words of the configuration."""
        head, quoted, rest = address.partition('["')
        if not quoted:
            return head.encode("utf-8", "replace").decode("utf-8")
        key, end, tail = rest.partition('"]')
        return f"{head}{quoted}{self.text(key)}{end}{self.index(tail)}"

    def _number(self, value: float) -> Any:
        if value in (float("inf"), float("-inf")) or value != value:
            return None
        written = _number(value)
        return MASK if len(written) >= SHORT and written in self._whole else value


def _scalars(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _scalars(each)
    elif isinstance(value, list):
        for each in value:
            yield from _scalars(each)
    elif isinstance(value, str):
        yield value
        if value.strip() != value:
            yield value.strip()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield _number(value)


def _number(value: float) -> str:
    try:
        return json.dumps(value)
    except ValueError:  # more digits than Python turns into text
        return ""


def _forms(secret: str) -> Iterator[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield quote(raw, safe="")
    yield base64.b64encode(raw).decode()
    yield secret.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def bounded(value: Any) -> Any:
    """`value` short enough to be shown in a table and kept in the ledger."""
    if isinstance(value, str) and len(value) > SHOWN_CHARS:
        return f"{value[:SHOWN_CHARS]}… ({len(value)} characters)"
    if isinstance(value, list | Mapping):
        text = json.dumps(value)
        return value if len(text) <= 4 * SHOWN_CHARS else f"{text[:SHOWN_CHARS]}… ({len(text)} characters)"
    return value
