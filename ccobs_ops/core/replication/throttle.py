"""How many requests may run at once: halved when the store asks to slow down, raised one by one while it does not.

Additive increase and multiplicative decrease, as in TCP's congestion avoidance (RFC 5681, section 3.1).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

RAISE_AFTER = 20
"""Answers without a complaint before one more request is allowed."""


class Throttle:
    """Shared by all threads that ask one store. `throttled` counts complaints, `lowest` is the smallest limit so far."""

    def __init__(self, limit: int, *, timer: Callable[[], float]) -> None:
        self._most = self._limit = self.lowest = limit
        self._timer = timer
        self._running = 0
        self._good = 0
        self._lowered_at = float("-inf")
        self._free = threading.Condition()
        self.throttled = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for room, and hold it for the length of the block."""
        with self._free:
            while self._running >= self._limit:
                self._free.wait(1.0)
            self._running += 1
        try:
            yield
        finally:
            with self._free:
                self._running -= 1
                self._free.notify()

    def answered(self) -> None:
        """The store answered as it should."""
        if self._limit == self._most:
            return
        with self._free:
            self._good += 1
            if self._good >= RAISE_AFTER and self._limit < self._most:
                self._limit += 1
                self._good = 0
                self._free.notify()

    def slow_down(self) -> None:
        """The store complained. Complaints within a second are about the same burst and halve the limit once."""
        with self._free:
            self.throttled += 1
            self._good = 0
            if self._timer() - self._lowered_at >= 1.0:
                self._limit = max(1, self._limit // 2)
                self.lowest = min(self.lowest, self._limit)
                self._lowered_at = self._timer()
