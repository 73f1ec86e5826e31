"""The ledger's tables, and the frozen rows that are read from them.

Moments are stored as whole microseconds since 1970 in UTC (BIGINT): exact, and ordered alike by SQLite and PostgreSQL.
LSNs are BIGINT. Documents are JSON text, so that what is read back is what was written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

HEAD = "0004_alerts"
"""The newest revision in `migrations/versions`; a ledger that says so needs no migration (a test compares the two)."""

VERSION_TABLE = "ccobs_ledger_version"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

metadata = sa.MetaData()

exercises = sa.Table(
    "ccobs_exercises",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("target", sa.String(255), nullable=False),
    sa.Column("capability", sa.String(64), nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("finished_at", sa.BigInteger, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Index("ccobs_exercises_latest", "target", "capability", "finished_at", "id"),
    sa.Index("ccobs_exercises_verdict", "target", "capability", "verdict", "finished_at", "id"),
    sa.Index("ccobs_exercises_newest", "finished_at", "id"),
)

canaries = sa.Table(
    "ccobs_canaries",
    metadata,
    sa.Column("target", sa.String(255), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("timeline", sa.BigInteger, nullable=False),
    sa.Column("committed_at", sa.BigInteger, nullable=False),
    sa.Column("lsn_low", sa.BigInteger, nullable=False),
    sa.Column("lsn_high", sa.BigInteger, nullable=False),
    sa.Column("reconciled", sa.Boolean, nullable=False),
    sa.Index("ccobs_canaries_committed", "target", "committed_at"),
    sqlite_with_rowid=False,
)

events = sa.Table(
    "ccobs_events",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("target", sa.String(255), nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
    sa.Index("ccobs_events_target", "target", "at"),
    sa.Index("ccobs_events_newest", "at"),
)

heartbeats = sa.Table(
    "ccobs_heartbeats",
    metadata,
    sa.Column("target", sa.String(255), primary_key=True),
    sa.Column("component", sa.String(64), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("details", sa.Text, nullable=False),
)

arrivals = sa.Table(
    "ccobs_arrivals",
    metadata,
    sa.Column("target", sa.String(255), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("md5", sa.String(32), nullable=False),
    sa.Column("written_at", sa.BigInteger, nullable=False),
    sa.Column("absent_at", sa.BigInteger),
    sa.Column("seen_at", sa.BigInteger),
    sa.Column("given_up_at", sa.BigInteger),
    sa.Column("removed_at", sa.BigInteger),
    sa.Column("reconciled", sa.Boolean, nullable=False),
    sa.Index("ccobs_arrivals_written", "target", "written_at"),
    sqlite_with_rowid=False,
)

chain = sa.Table(
    "ccobs_chain",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("row", sa.String(128), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("link", sa.String(64), nullable=False),
    sa.Index("ccobs_chain_row", "kind", "row", unique=True),
)

incidents = sa.Table(
    "ccobs_incidents",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("target", sa.String(255), nullable=False),
    sa.Column("capability", sa.String(64), nullable=False),
    sa.Column("claim", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    # "target capability claim" while it is not closed, NULL afterwards: the database lets one be open at a time
    sa.Column("open_key", sa.String(400)),
    sa.Column("detected_at", sa.BigInteger, nullable=False),
    sa.Column("verified_at", sa.BigInteger),
    sa.Column("document", sa.Text, nullable=False),
    sa.Index("ccobs_incidents_open", "open_key", unique=True),
    sa.Index("ccobs_incidents_target", "target", "detected_at"),
    sa.Index("ccobs_incidents_newest", "detected_at", "id"),
)

transitions = sa.Table(
    "ccobs_transitions",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("incident", sa.String(128), nullable=False),
    sa.Column("name", sa.String(16), nullable=False),
    sa.Column("cause", sa.String(255), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Index("ccobs_transitions_once", "incident", "name", "cause", unique=True),
)

cursors = sa.Table(
    "ccobs_cursors",
    metadata,
    sa.Column("reader", sa.String(64), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
)

alerts = sa.Table(
    "ccobs_alerts",
    metadata,
    sa.Column("channel", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(420), primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

alert_channels = sa.Table(
    "ccobs_alert_channels",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("failing_since", sa.BigInteger),
    sa.Column("retry_at", sa.BigInteger),
    sa.Column("lease_until", sa.BigInteger),
    sa.Column("delivered_at", sa.BigInteger),
    sa.Column("refreshed_at", sa.BigInteger),
    sa.Column("heartbeat_on", sa.String(10)),
    sa.Column("error", sa.Text, nullable=False),
)

outbox = sa.Table(
    "ccobs_outbox",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("channel", sa.String(64), nullable=False),
    sa.Column("key", sa.String(420), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("due_at", sa.BigInteger, nullable=False),
    sa.Column("sent_at", sa.BigInteger),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Index("ccobs_outbox_waiting", "state", "channel", "id"),
)


@dataclass(frozen=True, slots=True)
class Canary:
    """A canary row that was committed: its sequence, commit time, timeline, and the LSNs that its commit lies between.

    `reconciled` is set on what was found in the database and had not been recorded when it was committed.
    """

    target: str
    seq: int
    timeline: int
    committed_at: datetime
    lsn_low: int
    lsn_high: int
    reconciled: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a target outside any exercise: a WAL gap, an agent that started, a lost slot."""

    target: str
    kind: str
    subject: str
    at: datetime
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Beat:
    """The last sign of life of a component (such as the agent) that looks after a target."""

    target: str
    component: str
    at: datetime
    details: dict[str, Any] = field(default_factory=dict)


class Tally(NamedTuple):
    """How many exercises ended with each verdict."""

    passed: int
    failed: int
    unknown: int


def to_microseconds(moment: datetime) -> int:
    """`moment` as whole microseconds since 1970; a moment without a time zone raises ValueError."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone: the ledger holds moments in UTC")
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(count: int) -> datetime:
    """The moment that `to_microseconds` stored."""
    return _EPOCH + timedelta(microseconds=count)
