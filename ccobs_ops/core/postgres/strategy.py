"""How the moment is chosen that a validation restores to, and which day is proven next. Pure functions."""

from __future__ import annotations

import random
from datetime import date, timedelta
from enum import StrEnum


class Strategy(StrEnum):
    """Where in a day the target time lies."""

    NEWEST = "newest"
    """The newest commit that the archive holds: what an emergency right now would bring back."""
    RANDOM = "random"
    """Any moment, evenly: finds what nobody thought of."""
    AFTER_BACKUP = "after-backup"
    """Soon after the end of a base backup: the earliest moment that it can be restored to."""
    SEGMENT_BOUNDARY = "segment-boundary"
    """Around the end of a WAL segment, where archiving and replay hand over."""


_OLDER = (Strategy.RANDOM, Strategy.AFTER_BACKUP, Strategy.SEGMENT_BOUNDARY)


def strategy_for(day: date, *, today: date) -> Strategy:
    """The strategy that proves `day`: the newest commit for today, for older days one of the other three.

    Which one depends on the day alone, so that a repeated run proves the same kind of moment, and takes turns: any
    three days in a row are proven by three strategies.
    """
    return Strategy.NEWEST if day >= today else _OLDER[day.toordinal() % len(_OLDER)]


def older_day(*, today: date, oldest: date, seed: str) -> date | None:
    """One day from `oldest` to yesterday, each as likely as the other, or None when there is no such day.

    The same `seed` gives the same day on the same date: asking twice does not launch two runs.
    """
    days = (today - oldest).days
    if days < 1:
        return None
    return oldest + timedelta(days=random.Random(f"{seed}:{today.isoformat()}").randrange(days))
