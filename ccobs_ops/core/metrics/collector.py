"""The collector behind `/metrics`: reads inventory and ledger at each scrape, and never fails one.

What cannot be read makes `ccobs_up` 0, and the reason goes to the log: an exporter that answers nothing looks like one that
is not there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from ccobs_ops import __version__
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.metrics.families import families, targets_of
from ccobs_ops.core.metrics.query import read
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import load


class LedgerCollector(Collector):
    """Collects for one inventory file. `log` is told why something could not be read; scrapes wait for each other."""

    def __init__(
        self, path: Path, *, log: Callable[[str], None], timer: Callable[[], float] = time.perf_counter
    ):
        self._path = path
        self._log = log
        self._timer = timer
        self._lock = threading.Lock()
        self._inventory: Inventory | None = None
        self._ledger: Ledger | None = None
        self._stamp: tuple[int, int] | None = None
        self.up = False

    def describe(self) -> list[Metric]:
        """Nothing: registering reads nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything, anew."""
        with self._lock:
            began = self._timer()
            found: list[Metric] = []
            try:
                found = self._read()
                self.up = True
            except OpsError as error:
                self.up = False
                self.close()
                self._log(REDACT(str(error)))
            seconds = self._timer() - began
        yield GaugeMetricFamily("ccobs_up", "Whether inventory and ledger could be read.", float(self.up))
        yield GaugeMetricFamily("ccobs_scrape_seconds", "How long reading them took.", seconds)
        yield InfoMetricFamily("ccobs_build", "The version of ccobs-ops.", {"version": __version__})
        yield from found

    def close(self) -> None:
        """Close the ledger; the next scrape opens it again."""
        ledger, self._ledger, self._stamp = self._ledger, None, None
        if ledger is not None:
            ledger.close()

    def _read(self) -> list[Metric]:
        inventory = self._current()
        if self._ledger is None:
            self._ledger = Ledger.of(inventory)
        canaries = tuple(target for target in targets_of(inventory) if target.partition("/")[0] == "postgres")
        with self._ledger.reading() as connection:
            found = read(connection, canaries_of=canaries)
        return families(inventory, found)

    def _current(self) -> Inventory:
        """The inventory, read again when its file has changed."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
        except OSError:
            stamp = None
        if self._inventory is None or stamp is None or stamp != self._stamp:
            self.close()
            self._inventory = load(self._path)
            self._stamp = stamp
        return self._inventory
