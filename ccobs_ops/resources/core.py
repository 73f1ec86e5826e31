"""The bridge from a Dagster run to the core: inventory, ledger and progress, opened when a step runs."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
from pydantic import Field

from ccobs_ops.core.context import Context
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.units import format_bytes
from ccobs_ops.inventory_load import load

LOG_EVERY_SECONDS = 10.0


class Log(Protocol):
    """The part of Dagster's `context.log` that is used."""

    def info(self, msg: object) -> None:
        """Write one line to the run's log."""


class LogProgress:
    """Progress as lines in the run's log: each phase as it begins, and how far it is every ten seconds."""

    def __init__(self, log: Log, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._timer = timer
        self._lock = threading.Lock()
        self._start("", None)

    def begin(self, phase: str, total_bytes: int | None = None, *, unit: str = "bytes") -> None:
        """Say that `phase` starts, and how much it has to move."""
        with self._lock:
            self._start(phase, total_bytes, unit)
        self._log.info(phase if total_bytes is None else f"{phase}: {self._counted(total_bytes)}")

    def advance(self, count: int) -> None:
        """Count bytes; a line every ten seconds."""
        with self._lock:
            self._done += count
            now = self._timer()
            if now - self._told < LOG_EVERY_SECONDS:
                return
            self._told = now
            total = f" of {self._counted(self._total)}" if self._total else ""
            rate = self._counted(self._done / max(now - self._began, 0.001))
            line = f"{self._phase}: {self._counted(self._done)}{total}, {rate}/s"
        self._log.info(line)

    def note(self, message: str) -> None:
        """Write `message`."""
        self._log.info(message)

    def _counted(self, count: float) -> str:
        return format_bytes(count) if self._unit == "bytes" else f"{count:,.0f} {self._unit}"

    def _start(self, phase: str, total: int | None, unit: str = "bytes") -> None:
        self._phase, self._total, self._done, self._unit = phase, total, 0, unit
        self._began = self._told = self._timer()


class CoreResource(dg.ConfigurableResource[Any]):
    """Hands a step the core's `Context`. Nothing is opened before a step asks."""

    inventory: str = Field(description="Path of the inventory; it is read again when a step runs.")

    @contextmanager
    def open(self, log: Log) -> Iterator[Context]:
        """The context for one step, its progress written to `log`; the ledger is closed afterwards.

        Raises OpsError when the inventory or the ledger cannot be read.
        """
        inventory = load(Path(self.inventory))
        with Ledger.of(inventory) as ledger:
            yield Context(inventory, ledger, progress=LogProgress(log))
