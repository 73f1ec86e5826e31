"""What a fault is. A new one is one function that chooses what to break, and one line in `faults/__init__.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from ccobs_ops.lab.faults.actions import (
    Action,
    DeleteObject,
    DropNewestVersion,
    FlipBit,
    PutObject,
    TruncateObject,
)

if TYPE_CHECKING:
    from ccobs_ops.lab.lab import Lab


@dataclass(frozen=True, slots=True)
class Site:
    """Where a fault is being planned: the lab, the target, the seeded choice, and the folder for what is kept.

    `spoiled` holds the keys that other faults have broken already; they are left alone, so that every fault can be
    healed by itself.
    """

    lab: Lab
    target: str
    rng: Random
    folder: Path
    spoiled: frozenset[str]


@dataclass(frozen=True, slots=True)
class Fault:
    """`choose` decides what to break, and keeps what healing needs; it changes nothing of what it is about to break.

    `targets` are the valid values of `--at`; the first is the default.
    """

    name: str
    targets: tuple[str, ...]
    help: str
    choose: Callable[[Site], tuple[Action, ...]]


class Damage(BaseModel):
    """A fault that is in: what exactly was broken, and how to undo it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fault: str
    target: str
    seed: int
    at: datetime
    actions: tuple[Action, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """What was broken, one line an action."""
        return tuple(action.describe() for action in self.actions)

    @property
    def keys(self) -> frozenset[str]:
        """Keys of the objects that were deleted, changed or added."""
        changed = {
            action.kept.key
            for action in self.actions
            if isinstance(action, DeleteObject | FlipBit | TruncateObject | DropNewestVersion)
        }
        return frozenset(changed | {action.key for action in self.actions if isinstance(action, PutObject)})
