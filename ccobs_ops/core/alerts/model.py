"""What alerts are made of: a message to one channel, and what a channel has been told is open."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ccobs_ops.core.exercise import Severity, rfc3339
from ccobs_ops.core.incident import Incident
from ccobs_ops.core.incidents import from_json, to_json

RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
STORM = "storm "
"""What the key of a storm begins with; the key of its first incident follows."""


class Kind(StrEnum):
    """What a message says. `grown` is a storm that took in more incidents."""

    OPENED = "opened"
    ESCALATED = "escalated"
    GROWN = "grown"
    REMINDER = "reminder"
    RESOLVED = "resolved"
    HEARTBEAT = "heartbeat"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one channel. `key` is what receivers deduplicate by, and never holds the id of a run.

    `labels` are few and stable, for Alertmanager; `ended` are labels that were sent before and no longer hold.
    """

    channel: str
    key: str
    kind: Kind
    severity: Severity
    title: str
    body: str
    at: datetime
    labels: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    link: str = ""
    starts_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """The form in which it waits in the outbox."""
        document = asdict(self)
        document["at"] = rfc3339(self.at)
        document["starts_at"] = None if self.starts_at is None else rfc3339(self.starts_at)
        return document

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Message:
        """The message that `to_json` wrote."""
        starts = document["starts_at"]
        known: dict[str, Any] = document | {
            "kind": Kind(document["kind"]),
            "severity": Severity(document["severity"]),
            "at": datetime.fromisoformat(document["at"]),
            "starts_at": None if starts is None else datetime.fromisoformat(starts),
        }
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Alert:
    """What `channel` has been told is open under `key`; moments are aware, in UTC.

    `held` until the quiet hours end: it was told nothing yet. `storm` is the key of the storm that it is told as part of;
    a storm itself has no `incident`, and `joined_at` is when it last took one in. `told_at` is when the newest message was
    put into the outbox; `labels` are what an Alertmanager was told.
    """

    channel: str
    key: str
    opened_at: datetime
    severity: Severity
    incident: Incident | None = None
    held: bool = False
    storm: str = ""
    told_at: datetime | None = None
    escalated_at: datetime | None = None
    joined_at: datetime | None = None
    stale: bool = False
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def is_storm(self) -> bool:
        """Whether this stands for several incidents."""
        return self.incident is None

    def to_json(self) -> dict[str, Any]:
        """The form in which it is kept."""
        document: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("channel", "key", "severity", "held", "storm", "stale", "labels")
        }
        for name in _MOMENTS:
            moment = getattr(self, name)
            document[name] = None if moment is None else rfc3339(moment)
        return document | {"incident": None if self.incident is None else to_json(self.incident)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Alert:
        """The alert that `to_json` wrote."""
        known: dict[str, Any] = dict(document) | {"severity": Severity(document["severity"])}
        for name in _MOMENTS:
            known[name] = None if known[name] is None else datetime.fromisoformat(known[name])
        known["incident"] = None if known["incident"] is None else from_json(known["incident"])
        return cls(**known)


_MOMENTS = ("opened_at", "told_at", "escalated_at", "joined_at")
