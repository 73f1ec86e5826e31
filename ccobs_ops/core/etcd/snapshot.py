"""The exercise `snapshot`: skeleton."""

from __future__ import annotations

from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Exercise


def take_snapshot(ctx: Context, name: str) -> Exercise:
    """Take a snapshot of cluster `name`. Claims `complete` and `in_time`. Raises UsageError for an unknown cluster."""
    raise NotImplementedError
