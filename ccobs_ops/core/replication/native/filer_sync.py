"""SeaweedFS' filer.sync: its metrics page."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

from ccobs_ops.core.replication.native.signal import Signal

_LINE = re.compile(r"^SeaweedFS_filerSync_(\w+)\{[^}]*\}\s+(\S+)$", re.MULTILINE)
_TIMEOUT_SECONDS = 5.0
_LIMIT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FilerSync:
    """In sync, by its own word: nothing failed, nothing is on its way, and all that it received is processed."""

    metrics: str
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
        failed = found.get("events_failed_total", 0.0)
        on_the_way = found.get("in_flight_jobs", 0.0)
        open_events = found["events_received_total"] - found.get("events_processed_total", 0.0)
        measurements = {
            "native_failed_events": failed,
            "native_jobs_in_flight": on_the_way,
        }
        if "lag_seconds" in found:
            measurements["native_lag_seconds"] = found["lag_seconds"]
        if failed or on_the_way or open_events > 0:
            told = f"filer.sync reports {failed:.0f} failed events and {max(on_the_way, open_events):.0f} on their way"
            return Signal(self.name, False, told, measurements=measurements)
        told = f"filer.sync reports {found['events_received_total']:.0f} events, all processed, none failed"
        return Signal(self.name, True, told, measurements=measurements)
