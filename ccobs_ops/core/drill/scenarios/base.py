"""What a scenario is. A new one is one module, and one line in `scenarios/__init__.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ccobs_ops.core.drill.situation import Point, Situation


@dataclass(frozen=True, slots=True)
class Scenario:
    """A disaster: `told` in a sentence; `settle` decides where its layers are restored to; it raises OpsError if they cannot.

    `requires` are keys of the drill that it needs; `extract` brings one table back out of the restored copy; `proves` is the
    claim that it adds about the whole drill, and what that says.
    """

    name: str
    told: str
    settle: Callable[[Situation], Point]
    requires: tuple[str, ...] = ()
    extract: bool = False
    proves: tuple[str, str] | None = None
