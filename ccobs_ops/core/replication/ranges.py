"""The key space in ranges that are listed side by side, cut while they are listed.

Invariant: the ranges handed out never overlap and leave nothing between them. A range is `(low, high]`, `None` standing for
the end of the key space. Only what a worker has not claimed yet can be cut off from it, so no key is listed by two, or by
none.

Nobody has to know the keys beforehand. It starts with one range; whoever has nothing to do cuts the range that has gone on
for longest, between two folders that the listing names, else between two keys of one folder, half-way by code point. A cut
that turns out to be lopsided costs little: the one with the short end comes back and cuts again. A store that does not list
in the order of bytes is listed in one range.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.replication.order import Order
from ccobs_ops.core.replication.page import Page

WORTH_CUTTING = 3
"""Pages that a range must have gone on for before it is cut, and again after each cut."""
_DISCOURAGED = -60
"""What `pages` is set to when there was nothing to cut, so that it is not tried again at once."""
_TOP = 0x10FFFF


class Probe(Protocol):
    """What is asked of a store to find where to cut."""

    def page(self, after: bytes | None, *, limit: int) -> Page:
        """The keys that follow `after`."""
        ...

    def folders(self, parent: bytes, after: bytes) -> tuple[list[bytes], bool]:
        """The folders directly below `parent` that follow `after`."""
        ...


@dataclass(slots=True)
class Range:
    """`(low, high]`, listed up to `cursor`. `pages` counts since it was last cut."""

    low: bytes | None
    high: bytes | None
    cursor: bytes | None = None
    pages: int = 0
    cutting: bool = field(default=False, compare=False)


class Board:
    """Hands ranges to workers, and cuts running ones for those that have none. Thread-safe."""

    def __init__(
        self, ranges: Iterable[tuple[bytes | None, bytes | None]], order: Order, probe: Probe | None
    ) -> None:
        self._order = order
        self._waiting = [Range(low, high, low) for low, high in ranges]
        self._waiting.reverse()
        self._running: list[Range] = []
        self._probe = probe if order is Order.BYTES else None
        self._changed = threading.Condition()
        self._stopped = False
        self.cuts = 0

    def take(self) -> Range | None:
        """A range to list, once there is one; None when everything is done or stopped."""
        while True:
            with self._changed:
                if self._stopped:
                    return None
                if self._waiting:
                    found = self._waiting.pop()
                    self._running.append(found)
                    return found
                if not self._running:
                    return None
                candidate = self._candidate()
                if candidate is None:
                    self._changed.wait(0.5)
                    continue
                candidate.cutting = True
            cut = False
            try:
                cut = self._cut(candidate)
            finally:
                with self._changed:
                    candidate.cutting = False
                    candidate.pages = 0 if cut else _DISCOURAGED

    def claim(self, taken: Range, bound: bytes | None) -> tuple[bytes | None, bool]:
        """Claim what follows the cursor up to `bound` (None: all there is).

        Returns how far, and whether that ends the range.
        """
        with self._changed:
            high = taken.high
            ends = high is not None and (bound is None or self._order.of(bound) >= self._order.of(high))
            if ends:
                bound = high
            taken.cursor = bound
            taken.pages += 1
            if taken.pages == WORTH_CUTTING:
                self._changed.notify()
            return bound, ends or bound is None

    def done(self, taken: Range) -> None:
        """`taken` is listed to its end."""
        with self._changed:
            self._running.remove(taken)
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand out nothing any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        """Whether workers are to end."""
        return self._stopped

    def _candidate(self) -> Range | None:
        if self._probe is None:
            return None
        worth = [each for each in self._running if each.pages >= WORTH_CUTTING and not each.cutting]
        return max(worth, key=lambda each: each.pages, default=None)

    def _cut(self, running: Range) -> bool:
        with self._changed:
            cursor, high = running.cursor, running.high
        if cursor is None or self._probe is None:
            return False
        try:
            point = cut_point(self._probe, cursor, high)
        except UnknownError:  # a store that does not answer is noticed by those who list
            return False
        with self._changed:
            now, high = running.cursor, running.high
            if point is None or now is None or point <= now or (high is not None and point >= high):
                return False
            self._waiting.append(Range(point, high, point))
            running.high = point
            self.cuts += 1
            self._changed.notify()
            return True


def cut_point(probe: Probe, cursor: bytes, high: bytes | None) -> bytes | None:
    """A key or folder between `cursor` and `high` that divides what lies between, None where nothing is found."""
    parts = cursor.split(b"/")
    for depth in range(len(parts)):
        parent = b"".join(part + b"/" for part in parts[:depth])
        if high is not None and high <= parent:
            break
        if depth < len(parts) - 1:
            inside = parent + parts[depth] + b"/" + chr(_TOP).encode()
            found, _ = probe.folders(parent, inside)
            found = [each for each in found if high is None or each < high]
            if found:
                return found[len(found) // 2]
    leaf = b"".join(part + b"/" for part in parts[:-1])
    return _among(probe, leaf, cursor, high)


def _among(probe: Probe, leaf: bytes, cursor: bytes, high: bytes | None) -> bytes | None:
    """A key of the folder `leaf` between `cursor` and `high`.

    First, by bisection, how many leading characters of the cursor all keys to come share; then half-way in the next one.
    """
    text, start = cursor.decode(errors="replace"), len(leaf.decode(errors="replace"))
    top = leaf + chr(_TOP).encode()
    end = top if high is None or high > top else high

    def following(after: str) -> bytes | None:
        page = probe.page(after.encode(), limit=1)
        found = page.last() if page.count() else None
        return found if found is not None and cursor < found < end else None

    shared, differs = start, len(text)
    if following(text[: differs - 1] + chr(_TOP)) is None:
        return None
    while differs - shared > 1:
        middle = (shared + differs) // 2
        if following(text[: middle - 1] + chr(_TOP)) is None:
            shared = middle
        else:
            differs = middle
    low, most = ord(text[differs - 1]), 0x80
    found = following(text[: differs - 1] + chr(0x7F))
    if found is not None:
        return found  # beyond ASCII: no alphabet to halve, but a place to cut
    while most - low > 1:
        middle = (low + most) // 2
        found = following(text[: differs - 1] + chr(middle))
        if found is not None:
            return found
        most = middle
    return following(text[:differs] + chr(_TOP))
