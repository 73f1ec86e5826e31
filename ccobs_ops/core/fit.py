"""Straight lines through measurements with outliers: the median of all slopes between two points (Theil, Sen).

Up to 29 % of the points may be anything without moving the line far (P. K. Sen, Journal of the American Statistical
Association 63, 1968, 1379-1389). No library in use here brings it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

ENOUGH = 0.05
"""How far apart, against their median, the x of a line must be for its slope to mean anything."""


@dataclass(frozen=True, slots=True)
class Line:
    """y = base + slope · x."""

    base: float
    slope: float

    def at(self, x: float) -> float:
        """The line's y at `x`."""
        return self.base + self.slope * x


def line(points: Sequence[tuple[float, float]]) -> Line:
    """The line through `points`, at least two of them with different x. Raises ValueError where there are not."""
    slopes = [
        (later_y - y) / (later_x - x)
        for position, (x, y) in enumerate(points, 1)
        for later_x, later_y in points[position:]
        if later_x != x
    ]
    if not slopes:
        raise ValueError("a line needs two points with different x")
    slope = median(slopes)
    return Line(median(y - slope * x for x, y in points), slope)


def cost(points: Sequence[tuple[float, float]]) -> Line:
    """What moving `x` bytes takes in seconds: a fixed part and a rate, neither below nothing.

    Where the sizes hardly differ, or larger ones took no longer, all of it is put down to the bytes: growth is then rather
    over- than underestimated. Points of no bytes say what is fixed.
    """
    moved = [point for point in points if point[0] > 0]
    if not moved:
        return Line(median(y for _, y in points) if points else 0.0, 0.0)
    sizes = sorted(x for x, _ in moved)
    if len(moved) > 2 and sizes[-1] - sizes[0] > ENOUGH * median(sizes):
        found = line(moved)
        if found.slope > 0 and found.base >= 0:
            return found
    return Line(0.0, median(y / x for x, y in moved))


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of `values` lie, between two of them by the line."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
