"""A bound on bytes and requests a second, shared by threads."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Pace:
    """Token bucket (RFC 2697's meter without its colours): at most `rate` units a second, bursts of one second at most.

    `timer` and `sleep` are in seconds. A single demand larger than the burst is allowed and paid for afterwards.
    """

    def __init__(self, rate: float, *, timer: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._rate = rate
        self._timer = timer
        self._sleep = sleep
        self._tokens = rate
        self._last = timer()
        self._lock = threading.Lock()

    def take(self, units: float) -> None:
        """Wait until `units` more may pass."""
        with self._lock:
            now = self._timer()
            self._tokens = min(self._rate, self._tokens + (now - self._last) * self._rate)
            self._last = now
            self._tokens -= units
            wait = -self._tokens / self._rate if self._tokens < 0 else 0.0
        if wait > 0:
            self._sleep(wait)
