"""The exercise `restore`: skeleton."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Exercise


def restore(
    ctx: Context,
    name: str,
    *,
    to: Path,
    snapshot: str | None = None,
    at: datetime | None = None,
    store: str | None = None,
    members: Sequence[str] = (),
    bump_revision: int | None = None,
    mark_compacted: bool = False,
) -> Exercise:
    """Restore into `to`; neither `snapshot` (id) nor `at` means the newest. Claim `restored`."""
    raise NotImplementedError
