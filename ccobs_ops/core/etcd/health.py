"""The exercise `health`: skeleton."""

from __future__ import annotations

from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Exercise


def examine(ctx: Context, name: str) -> Exercise:
    """Look at cluster `name`. Claims `members`, `quorum`, `no_alarms`, `within_quota`, `caught_up`, `consistent`."""
    raise NotImplementedError
