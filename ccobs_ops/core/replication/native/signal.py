"""The one form that every native signal is brought into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Signal:
    """What one source says. `in_sync` is None when it could not be asked, or says nothing either way.

    `subjects` are keys, images or jobs that it calls replicated, or not, as the message says.
    """

    source: str
    in_sync: bool | None
    message: str
    subjects: tuple[str, ...] = ()
    measurements: dict[str, float] = field(default_factory=dict[str, float])


class Source(Protocol):
    """One native source, opened for a pair."""

    @property
    def name(self) -> str:
        """What it is called in findings."""
        ...

    def ask(self, suspects: Sequence[str]) -> Signal:
        """Ask it. `suspects` are keys that our comparison found missing or different, as the store's bucket calls them.

        Raises botocore's errors or OSError when it cannot be asked.
        """
        ...
