"""What is wrong with an inventory: one `Problem` for each mistake, all of them in one `InventoryError`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccobs_ops.core.errors import UsageError

Key = tuple[str | int, ...]
"""Where something stands in the inventory: ("postgres", "observatory", "checks", 0, "sql")."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `line` counts from 1 and is 0 where there is none, as for a file that is missing."""

    file: Path
    line: int
    key: str
    message: str
    hint: str = ""

    @property
    def where(self) -> str:
        """`file:line`, or `file` alone."""
        return f"{self.file}:{self.line}" if self.line else str(self.file)

    def __str__(self) -> str:
        told = ": ".join(part for part in (self.where, self.key, self.message) if part)
        return f"{told}\nHINT: {self.hint}" if self.hint else told


class InventoryError(UsageError):
    """An inventory that cannot be used; `problems` has everything that is wrong with it, in the file's order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.key)))
        count = len(self.problems)
        heading = "the inventory has a problem" if count == 1 else f"the inventory has {count} problems"
        super().__init__("\n".join([heading, *map(str, self.problems)]))


def dotted(key: Key) -> str:
    """`key` as people write it: `postgres.observatory.checks[0].sql`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or an empty string where nothing is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold: where to point at, what is wrong, and which keys it was judged by."""

    key: Key
    message: str
    hint: str
    about: tuple[Key, ...]
