"""Inventory of drills: which disaster is rehearsed, on which targets, in which order, and what is promised of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from ccobs_ops.inventory_types import Cron, Duration, Model, Name

ScenarioName = Literal[
    "accidental-delete",
    "database-loss",
    "etcd-quorum-loss",
    "region-loss",
    "ransomware",
    "control-plane-and-data",
]


class DrillTarget(Model):
    """One layer of a drill. `needs` are targets of the same drill that must be restored and verified before it.

    `store` is where it is restored from: the target's own store without it, of a replicated pair its replica.
    """

    target: str
    needs: tuple[str, ...] = ()
    store: Name | None = None


class DrillObjectives(Model):
    """What the whole drill promises: from declared to service ready, and the worst loss of its layers."""

    rto: Duration = timedelta(hours=1)
    rpo: Duration = timedelta(minutes=15)


class Probe(Model):
    """One question to the restored service, in one of three forms.

    `sql` is asked of the restored copy of the PostgreSQL `target` and must give `expect`; `path` is asked over HTTP of the
    restored copy of the etcd `target`; `url` is asked as it is. HTTP must answer `status`, and the body hold `contains`.
    """

    name: Name
    target: str | None = None
    sql: str | None = None
    database: str | None = None
    expect: str | int | float | bool | None = None
    path: str | None = Field(default=None, pattern=r"^/")
    url: str | None = Field(default=None, pattern=r"^https?://")
    status: int = Field(default=200, ge=100, le=599)
    contains: str = ""
    timeout: Duration = timedelta(seconds=10)


class Drill(Model):
    """One drill; its own target is called `drill/NAME`. Whatever it restores is restored into sandboxes of this host."""

    scenario: ScenarioName
    targets: tuple[DrillTarget, ...] = Field(min_length=1)
    objectives: DrillObjectives = DrillObjectives()
    probes: tuple[Probe, ...] = ()
    drift: tuple[Name, ...] | None = None
    lost_region: str | None = None
    table: str | None = Field(default=None, pattern=r"^[^\s.\"*?]+\.[^\s.\"*?]+$")
    tolerance: Duration = timedelta(seconds=5)
    proof_age: Duration = timedelta(hours=26)
    approval: bool = False
    approval_expires: Duration = timedelta(hours=4)
    deadline: Duration = timedelta(hours=4)
    schedule: Cron | None = None
    owners: tuple[str, ...] = ()
    tags: dict[str, str] = {}
