"""What an incident is: one claim about one target that stopped being PASSED, and all that happened to it since.

    open ──acknowledged──▶ acknowledged
      │                          │
      └──────remediating─────────┴──▶ remediating ──restored──▶ restored ──verified──▶ closed

Only a later exercise in which the same claim PASSED leads to `closed`, from whichever state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ccobs_ops.core.exercise import Severity, Verdict


class State(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    REMEDIATING = "remediating"
    RESTORED = "restored"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Incident:
    """One claim of one capability of a target that is not PASSED, with its clocks (aware, UTC).

    `kind` is FAILED or UNKNOWN: what the newest exercise of the claim said. `occurred_from` says where `occurred_at` is
    from: `cloudtrail`, `canary`, `fault`, `last_passed` (the newest exercise in which the claim PASSED: it happened after
    that), or `detected` where nothing earlier is known. `opened_by` and `verified_by` are ids of exercises.
    """

    id: str
    target: str
    capability: str
    claim: str
    kind: Verdict
    state: State
    severity: Severity
    reason: str
    hint: str
    occurred_at: datetime
    occurred_from: str
    detected_at: datetime
    opened_by: str
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""
    remediation_started_at: datetime | None = None
    restored_at: datetime | None = None
    verified_at: datetime | None = None
    verified_by: str = ""
    attempts: int = 0
    flaps: int = 0

    @property
    def key(self) -> str:
        """What it is about, and by what it is deduplicated: `target capability claim`. Never an id of a run."""
        return f"{self.target} {self.capability} {self.claim}"

    @property
    def is_open(self) -> bool:
        """Whether nothing has proven the claim again yet."""
        return self.state is not State.CLOSED


@dataclass(frozen=True, slots=True)
class Transition:
    """Something that happened to an incident: `opened`, `escalated`, `changed`, `acknowledged`, `remediating`, `restored`,
    `verified` or `reopened`. `cause` is what did it: the id of an exercise, a person, a run.

    `incident` is the incident as it was *after* it; `seq` is its position in the ledger's chain, 0 before it is kept.
    """

    name: str
    cause: str
    at: datetime
    incident: Incident
    details: dict[str, Any] = field(default_factory=dict)
    seq: int = 0
