"""Choosing what a validation restores to. Seeded: the same seed and archive give the same target."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.postgres.archive import Archive
from ccobs_ops.core.postgres.strategy import Strategy
from ccobs_ops.core.postgres.target import RecoveryTarget
from ccobs_ops.core.postgres.view import Span, ToolsFor, View
from ccobs_ops.core.postgres.waldump import commits_of


def choose(
    archive: Archive, view: View, strategy: Strategy, *, seed: int, day: date | None, tools_for: ToolsFor
) -> RecoveryTarget:
    """A recovery target inside the window (and inside the UTC day `day`, if given) by `strategy`.

    Raises UnknownError when the window has no moment there: nothing can then be proven about that day.
    """
    if not view.usable:
        return RecoveryTarget(latest=True)  # the plan then says why nothing can be restored
    dice = random.Random(seed)
    end = view.spans[-1].end if view.spans else None
    if strategy is Strategy.NEWEST and (day is None or (end is not None and end.at.date() == day)):
        return RecoveryTarget(latest=True)
    runs = _runs(view, day)
    if not runs:
        when = f"of {day} " if day is not None else ""
        raise UnknownError(
            f"the recovery window holds no moment {when}to restore to: {view.describe()}",
            hint="the archive does not reach there; choose another day",
        )
    if strategy is Strategy.NEWEST:
        return RecoveryTarget(at=runs[-1][2])
    if strategy is Strategy.AFTER_BACKUP:
        starts = [
            entry.stopped_at
            for entry in view.usable
            if any(low <= entry.stopped_at <= high for _, low, high in runs)
        ]
        if starts:
            begin = dice.choice(starts)
            _, _, high = next(run for run in runs if run[1] <= begin <= run[2])
            return RecoveryTarget(at=min(begin + timedelta(seconds=dice.uniform(0.0, 5.0)), high))
    if strategy is Strategy.SEGMENT_BOUNDARY:
        found = _boundary(archive, view, runs, dice, tools_for)
        if found is not None:
            return RecoveryTarget(at=found)
    return RecoveryTarget(at=_anywhere(runs, dice))


def _runs(view: View, day: date | None) -> list[tuple[Span, datetime, datetime]]:
    """The spans that have commits, cut to the day."""
    low = datetime.combine(day, time.min, UTC) if day is not None else datetime.min.replace(tzinfo=UTC)
    high = low + timedelta(days=1, microseconds=-1) if day is not None else datetime.max.replace(tzinfo=UTC)
    return [
        (span, max(span.start, low), min(span.end.at, high))
        for span in view.spans
        if span.end is not None and max(span.start, low) <= min(span.end.at, high)
    ]


def _anywhere(runs: list[tuple[Span, datetime, datetime]], dice: random.Random) -> datetime:
    weights = [max((high - low).total_seconds(), 1e-6) for _, low, high in runs]
    _, low, high = dice.choices(runs, weights)[0]
    return low + (high - low) * dice.random()


def _boundary(
    archive: Archive,
    view: View,
    runs: list[tuple[Span, datetime, datetime]],
    dice: random.Random,
    tools_for: ToolsFor,
) -> datetime | None:
    """The time of the last commit in a finished segment or the first in the next, for a few segments by chance."""
    tools = tools_for(view.usable[-1].major)
    for _ in range(6):
        span, low, high = dice.choice(runs)
        if span.last <= span.first:
            continue
        number = dice.randrange(span.first, span.last)
        last_side = dice.random() < 0.5
        segment = view.pick(number if last_side else number + 1)
        if segment is None:
            continue
        commits = [c for c in commits_of(archive, tools, segment, view.segment_size) if low <= c.at <= high]
        if commits:
            return (commits[-1] if last_side else commits[0]).at
    return None
