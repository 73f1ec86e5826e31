"""What a scenario is told, and what it decides: where the layers are to be restored to, and from what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.postgres.target import RecoveryTarget
from ccobs_ops.core.rehearsal import as_it_is
from ccobs_ops.core.storage import ObjectStore

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.drill.plan import DrillPlan
    from ccobs_ops.core.postgres.view import View
    from ccobs_ops.inventory import Inventory

Aim = Callable[["View"], tuple["View", RecoveryTarget]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What whoever launches a drill may say. `at` is the moment of the disaster; without it, the moment it is declared.

    `transaction` is the one that an accidental delete was done by.
    """

    operator: str = ""
    reason: str = ""
    at: datetime | None = None
    transaction: int | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """A drill at the moment that it was declared."""

    ctx: Context
    plan: DrillPlan
    asked: Asked
    declared_at: datetime

    @property
    def lost_at(self) -> datetime:
        """The moment that counts as the disaster: what is lost is counted from it."""
        return self.asked.at or self.declared_at


@dataclass(frozen=True, slots=True)
class Point:
    """Where the layers are restored to. `told` is that in words; `moment` the one that they must meet at, if they must.

    `inventory` is the one that the layers see; `aims` say where PostgreSQL clusters stop, `snapshots` which one of etcd
    is taken, each by the target's name; `opened` puts another view of a store in its place.
    """

    told: str
    inventory: Inventory
    lost_at: datetime
    moment: datetime | None = None
    aims: Mapping[str, Aim] = field(default_factory=dict)
    snapshots: Mapping[str, str] = field(default_factory=dict)
    before: datetime | None = None
    members: int | None = None
    opened: Callable[[ObjectStore], ObjectStore] = as_it_is


def newest_by(at: datetime | None) -> Aim | None:
    """Stop at the newest commit, or at the newest one by `at`."""
    if at is None:
        return None
    return lambda view: (view, by(view, at))


def by(view: View, at: datetime) -> RecoveryTarget:
    """The newest moment by `at` that `view` can be restored to. Raises DamagedError when there is none."""
    for span in reversed(view.spans):
        if span.holds(at):
            return RecoveryTarget(at=at)
        if span.end is not None and span.end.at <= at:
            return RecoveryTarget(at=span.end.at)
    raise DamagedError(
        f"nothing can be restored to {rfc3339(at)} or shortly before: {view.describe()}",
        code="outside_window",
        subject=rfc3339(at),
        hint="choose a later moment",
    )
