"""Retention: skeleton."""

from __future__ import annotations

from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Exercise


def prune(ctx: Context, name: str, *, dry_run: bool = True, confirmation: str | None = None) -> Exercise:
    """Delete what retention no longer needs. Claim `pruned`."""
    raise NotImplementedError
