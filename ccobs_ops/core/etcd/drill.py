"""The exercise `restore_drill`: skeleton."""

from __future__ import annotations

from datetime import datetime

from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Exercise


def drill(
    ctx: Context,
    name: str,
    *,
    members: int | None = None,
    snapshot: str | None = None,
    at: datetime | None = None,
    store: str | None = None,
    bump_revision: int | None = None,
    seed: int | None = None,
) -> Exercise:
    """Restore into a sandbox, start it, prove it.

    Claims `restorable`, `exact` (canaries), `counts` (revision and key counts), `identical` (HashKV), `readable`, `writable`,
    `isolated`, `rto`, `rpo`; with three members `quorum`; with `bump_revision` `compacted`.
    """
    raise NotImplementedError
