"""Defragmentation: skeleton."""

from __future__ import annotations

from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Exercise


def defragment(ctx: Context, name: str, *, dry_run: bool = True, confirmation: str | None = None) -> Exercise:
    """Defragment the members of cluster `name` one by one, the leader last. Claim `defragmented`."""
    raise NotImplementedError
