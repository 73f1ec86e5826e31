"""SeaweedFS' filer.sync: its metrics page."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from ccobs_ops.core.replication.native.signal import Signal
from ccobs_ops.core.units import format_seconds

_LINE = re.compile(r"^SeaweedFS_filerSync_(\w+)\{[^}]*\}\s+(\S+)$", re.MULTILINE)
_TIMEOUT_SECONDS = 5.0
_LIMIT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FilerSync:
    """In sync, by its own word: nothing failed, and its checkpoint is no older than the RPO.

    What is on its way at this instant says nothing: something always is, where somebody writes.
    """

    metrics: str
    rpo_seconds: float
    name: str = "filer.sync"

    def ask(self, suspects: Sequence[str]) -> Signal:
        """Read the page. Raises OSError when it does not answer."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.metrics, timeout=_TIMEOUT_SECONDS) as answer:
            text = answer.read(_LIMIT_BYTES).decode("utf-8", "replace")
        found: dict[str, float] = {}
        for name, value in _LINE.findall(text):
            found[name] = found.get(name, 0.0) + float(value)
        if "events_received_total" not in found:
            return Signal(self.name, None, "filer.sync publishes no metrics of a replication yet")
        failed, lag = found.get("events_failed_total", 0.0), found.get("lag_seconds", 0.0)
        measurements = {
            "native_failed_events": failed,
            "native_jobs_in_flight": found.get("in_flight_jobs", 0.0),
            "native_lag_seconds": lag,
        }
        told = (
            f"filer.sync reports {found['events_received_total']:.0f} events, {failed:.0f} failed, "
            f"a lag of {format_seconds(lag)}"
        )
        return Signal(self.name, not failed and lag <= self.rpo_seconds, told, measurements=measurements)
