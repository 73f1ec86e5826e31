"""What every exercise is handed: the inventory, the ledger, time, and somewhere to say how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ccobs_ops.core.exercise import Clock, utc_now

if TYPE_CHECKING:
    from ccobs_ops.core.ledger import Ledger
    from ccobs_ops.inventory import Inventory


class Progress(Protocol):
    """Where long work reports to: a bar on a terminal, plain lines elsewhere, Dagster's log."""

    def begin(self, phase: str, total_bytes: int | None = None, *, unit: str = "bytes") -> None:
        """`phase` starts; `total_bytes` is what it will move, None where that is not known.

        Where it moves something else than bytes, `unit` says what is counted, such as `rows`.
        """

    def advance(self, count: int) -> None:
        """`count` more bytes (or of its unit) of the running phase are done. May be called from any thread."""

    def note(self, message: str) -> None:
        """A line worth reading."""


class Silent:
    """Progress for callers that want none."""

    def begin(self, phase: str, total_bytes: int | None = None, *, unit: str = "bytes") -> None:
        """Say nothing."""

    def advance(self, count: int) -> None:
        """Say nothing."""

    def note(self, message: str) -> None:
        """Say nothing."""


@dataclass(frozen=True, slots=True)
class Context:
    """Handed to every exercise. `timer` and `sleep` are in seconds and injected, as is `clock` (aware UTC)."""

    inventory: Inventory
    ledger: Ledger
    progress: Progress = field(default_factory=Silent)
    clock: Clock = utc_now
    timer: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
