"""How a drill takes part in a restore: the same functions as every night, told to wait while the restored copy is used.

Production counts as lost: it is asked nothing, and what is lost is counted from `lost_at`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.exercise import Recorder
from ccobs_ops.core.storage import ObjectStore

if TYPE_CHECKING:
    from ccobs_ops.core.postgres.target import RecoveryTarget
    from ccobs_ops.core.postgres.view import View

CAPABILITY = "drill_restore"
"""What the restore of one layer of a drill is recorded as."""


def as_it_is(store: ObjectStore) -> ObjectStore:
    """The store itself."""
    return store


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """`ready` is called once the copy answers. `proven` is called with the copy when all that needs it running was claimed,
    and returns when it may go. `opened` may put another view of a store in its place. Each of them may raise OpsError.
    """

    lost_at: datetime
    ready: Callable[[Recorder], None]
    proven: Callable[[Recorder, Any], None]
    opened: Callable[[ObjectStore], ObjectStore] = as_it_is


@dataclass(frozen=True, slots=True)
class PostgresRehearsal(Rehearsal):
    """`aim` says, with the archive in view, what of it may be used and where to stop; None is the newest commit."""

    aim: Callable[[View], tuple[View, RecoveryTarget]] | None = None
