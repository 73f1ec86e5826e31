"""The recovery target: the point that a restore stops at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RecoveryTarget:
    """Exactly one of `at` (aware), `lsn` (inclusive), `before_xid` (exclusive) or `latest`.

    `timeline` is the timeline to follow; None follows the newest.
    """

    at: datetime | None = None
    lsn: int | None = None
    before_xid: int | None = None
    latest: bool = False
    timeline: int | None = None
