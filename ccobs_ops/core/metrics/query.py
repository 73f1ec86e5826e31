"""What a scrape reads from the ledger: a few queries for all targets, each along an index, whatever the ledger's size."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ccobs_ops.core import incidents, ledger_chain
from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core.alerts import outbox
from ccobs_ops.core.alerts.outbox import ChannelState
from ccobs_ops.core.exercise import Exercise
from ccobs_ops.core.incident import Incident
from ccobs_ops.core.ledger_schema import from_microseconds

# The distinct pairs of target and capability, one step along the index for each instead of a pass over all rows; then the
# newest exercise of each, and when it last PASSED. Read alike by SQLite and PostgreSQL.
_NEWEST = sa.text(
    """
    WITH RECURSIVE
    targets(target) AS (
        SELECT min(target) FROM ccobs_exercises
        UNION ALL
        SELECT (SELECT min(e.target) FROM ccobs_exercises e WHERE e.target > t.target)
        FROM targets t WHERE t.target IS NOT NULL
    ),
    pairs(target, capability) AS (
        SELECT t.target, (SELECT min(e.capability) FROM ccobs_exercises e WHERE e.target = t.target)
        FROM targets t WHERE t.target IS NOT NULL
        UNION ALL
        SELECT p.target, (SELECT min(e.capability) FROM ccobs_exercises e
                          WHERE e.target = p.target AND e.capability > p.capability)
        FROM pairs p WHERE p.capability IS NOT NULL
    )
    SELECT p.target, p.capability,
           (SELECT e.document FROM ccobs_exercises e
            WHERE e.target = p.target AND e.capability = p.capability
            ORDER BY e.finished_at DESC, e.id DESC LIMIT 1) AS document,
           (SELECT max(e.finished_at) FROM ccobs_exercises e
            WHERE e.target = p.target AND e.capability = p.capability AND e.verdict = 'PASSED') AS passed_at
    FROM pairs p WHERE p.capability IS NOT NULL
    ORDER BY p.target, p.capability
    """
)


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest exercise of one capability of a target, and when one last PASSED."""

    exercise: Exercise
    passed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Found:
    """All that a scrape reads. `beats` are (target, component, at), `canaries` the last commit of each target."""

    newest: tuple[Newest, ...]
    open: tuple[Incident, ...]
    beats: tuple[tuple[str, str, datetime], ...]
    canaries: dict[str, datetime]
    channels: dict[str, ChannelState]
    waiting: dict[str, int]
    links: int


def read(connection: Connection, *, canaries_of: tuple[str, ...]) -> Found:
    """Read everything; `canaries_of` are the targets whose canaries are committed by us."""
    newest = tuple(
        Newest(
            Exercise.from_json(json.loads(row.document)),
            None if row.passed_at is None else from_microseconds(row.passed_at),
        )
        for row in connection.execute(_NEWEST)
    )
    table = schema.incidents.c
    open_ = connection.scalars(sa.select(table.document).where(table.open_key.is_not(None)))
    beats = connection.execute(
        sa.select(schema.heartbeats.c.target, schema.heartbeats.c.component, schema.heartbeats.c.at)
    )
    waiting = connection.execute(
        sa.select(schema.outbox.c.channel, sa.func.count())
        .where(schema.outbox.c.state == outbox.Stage.WAITING.value)
        .group_by(schema.outbox.c.channel)
    )
    return Found(
        newest=newest,
        open=tuple(incidents.from_json(json.loads(text)) for text in open_),
        beats=tuple((row.target, row.component, from_microseconds(row.at)) for row in beats),
        canaries=_canaries(connection, canaries_of),
        channels=outbox.channels(connection),
        waiting={row[0]: row[1] for row in waiting},
        links=ledger_chain.head(connection),
    )


def _canaries(connection: Connection, targets: tuple[str, ...]) -> dict[str, datetime]:
    table = schema.canaries.c
    found: dict[str, datetime] = {}
    for target in targets:
        newest = (
            sa.select(table.committed_at).where(table.target == target).order_by(table.seq.desc()).limit(1)
        )
        if (at := connection.execute(newest).scalar()) is not None:
            found[target] = from_microseconds(at)
    return found
