"""The exercise `archive`: skeleton."""

from __future__ import annotations

from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Exercise


def look_over(ctx: Context, name: str, *, deep: bool = False, store: str | None = None) -> Exercise:
    """List the snapshots of cluster `name` and check that all of them are there. Claims `intact` and `fresh`."""
    raise NotImplementedError
