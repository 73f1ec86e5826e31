"""What the operating loop watches, and what it may repair without anybody; nothing that changes a target by default."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from ccobs_ops.inventory_types import Duration, Model

Allowed = Literal["backup", "snapshot", "slot", "objects", "plan", "restart"]
"""The repairs that an inventory can allow. Looking again changes nothing and needs no permission."""


class Breaker(Model):
    """After `failures` failed attempts on one target within `window`, nothing is tried for `rest`; then once."""

    failures: int = Field(default=3, ge=1, le=100)
    window: Duration = timedelta(hours=6)
    rest: Duration = timedelta(hours=1)


class Policy(Model):
    """What may be repaired at a target, how often, and how fast after one another."""

    allow: tuple[Allowed, ...] = ("backup", "snapshot")
    attempts: int = Field(default=3, ge=1, le=100)
    backoff: Duration = timedelta(minutes=1)
    backoff_most: Duration = timedelta(hours=1)
    deadline: Duration = timedelta(hours=6)
    breaker: Breaker = Breaker()


class TargetPolicy(Model):
    """What differs for one target; what is left out is as for all. `restart` starts its agent again."""

    allow: tuple[Allowed, ...] | None = None
    attempts: int | None = Field(default=None, ge=1, le=100)
    backoff: Duration | None = None
    backoff_most: Duration | None = None
    deadline: Duration | None = None
    breaker: Breaker | None = None
    restart: tuple[str, ...] = ()


class Remediation(Policy):
    """The policy of all targets, and of single ones by name (noun/NAME)."""

    automatic: bool = True
    targets: dict[str, TargetPolicy] = {}

    def of(self, target: str) -> Policy:
        """The policy that holds for `target`."""
        own = self.targets.get(target)
        if own is None:
            return self
        changed = {name: value for name in Policy.model_fields if (value := getattr(own, name)) is not None}
        return self.model_copy(update=changed)

    def restart_of(self, target: str) -> tuple[str, ...]:
        """The command that starts the agent of `target` again; empty where the inventory names none."""
        own = self.targets.get(target)
        return own.restart if own else ()


class Watch(Model):
    """How the agents and Dagster itself are watched, and how often Dagster's sensors look."""

    interval: Duration = timedelta(seconds=30)
    record_every: Duration = timedelta(minutes=15)
    agent_silence: Duration | None = None
    daemon_silence: Duration = timedelta(minutes=5)
    schedule_grace: Duration = timedelta(minutes=10)
    run_limit: Duration = timedelta(hours=6)
    run_window: Duration = timedelta(hours=26)
