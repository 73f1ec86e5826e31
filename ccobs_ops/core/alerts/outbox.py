"""Alerts in the ledger: what each channel was told, how it does, and the messages that wait for it.

Messages are written in the transaction that moves the cursor over the transitions that they come from, and marked as sent
after a receiver took them: whoever is killed in between leaves a message that is sent again. So every message arrives at
least once, and at most once more for every kill; receivers tell by its key and number.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core.alerts.model import Alert, Message
from ccobs_ops.core.alerts.plan import Due, Place
from ccobs_ops.core.ledger_schema import from_microseconds, to_microseconds

_LOCK = 0x63616C657274  # "calert"


class Stage(StrEnum):
    """Where a message is. `given_up` is what nobody took for a day, or what a receiver will never take."""

    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message in the outbox. `attempts` have failed so far; `id` is its number, the same on every attempt."""

    id: int
    stage: Stage
    created_at: datetime
    due_at: datetime
    sent_at: datetime | None
    attempts: int
    error: str
    message: Message


@dataclass(frozen=True, slots=True)
class ChannelState:
    """How a channel does. `failures` in a row since `failing_since`; no attempt before `retry_at`.

    `lease_until` is how long one dispatcher has it to itself; `heartbeat_on` the day of its last heartbeat (ISO).
    """

    name: str
    failures: int = 0
    failing_since: datetime | None = None
    retry_at: datetime | None = None
    lease_until: datetime | None = None
    delivered_at: datetime | None = None
    refreshed_at: datetime | None = None
    heartbeat_on: str | None = None
    error: str = ""


def lock(connection: Connection) -> None:
    """One planner at a time, until the transaction of `connection` ends."""
    if connection.dialect.name == "postgresql":  # SQLite's writers wait for each other anyway
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def has_cursor(connection: Connection, reader: str) -> bool:
    """Whether `reader` has read before."""
    found = sa.select(schema.cursors.c.seq).where(schema.cursors.c.reader == reader)
    return connection.execute(found).first() is not None


def alerts(connection: Connection) -> dict[Place, Alert]:
    """What every channel was told is open, in the order in which they were told."""
    rows = connection.scalars(sa.select(schema.alerts.c.document))
    found = sorted(
        (Alert.from_json(json.loads(text)) for text in rows), key=lambda each: (each.opened_at, each.key)
    )
    return {(alert.channel, alert.key): alert for alert in found}


def save(connection: Connection, before: Mapping[Place, Alert], after: Mapping[Place, Alert]) -> None:
    """Keep what changed between `before` and `after`."""
    table = schema.alerts
    for place in before.keys() - after.keys():
        connection.execute(sa.delete(table).where(table.c.channel == place[0], table.c.key == place[1]))
    for place, alert in after.items():
        row = {"document": _dumps(alert.to_json())}
        if place not in before:
            connection.execute(sa.insert(table), row | {"channel": place[0], "key": place[1]})
        elif before[place] != alert:
            connection.execute(
                sa.update(table).where(table.c.channel == place[0], table.c.key == place[1]).values(row)
            )


def put(connection: Connection, messages: Iterable[Due], now: datetime) -> int:
    """Put `messages` into the outbox, in their order; returns how many."""
    rows = [
        {
            "channel": due.message.channel,
            "key": due.message.key,
            "kind": due.message.kind.value,
            "state": Stage.WAITING.value,
            "created_at": to_microseconds(now),
            "due_at": to_microseconds(due.at),
            "attempts": 0,
            "error": "",
            "document": _dumps(due.message.to_json()),
        }
        for due in messages
    ]
    for row in rows:  # one by one: their numbers are their order
        connection.execute(sa.insert(schema.outbox), row)
    return len(rows)


def waiting(connection: Connection, channel: str | None = None) -> list[Waiting]:
    """What waits to be sent (over `channel`), by number."""
    table = schema.outbox.c
    query = sa.select(*table).where(table.state == Stage.WAITING.value).order_by(table.id)
    if channel is not None:
        query = query.where(table.channel == channel)
    return [_row(row) for row in connection.execute(query)]


def newest(connection: Connection, *, limit: int) -> list[Waiting]:
    """The newest messages, whatever became of them."""
    query = sa.select(*schema.outbox.c).order_by(schema.outbox.c.id.desc()).limit(limit)
    return [_row(row) for row in connection.execute(query)]


def next_of(connection: Connection, channel: str, now: datetime) -> Waiting | None:
    """What is to be sent next: the oldest of each key, those first that failed least, so that one that a receiver will
    never take does not keep back the others.
    """
    first: dict[str, Waiting] = {}
    for each in waiting(connection, channel):
        first.setdefault(each.message.key, each)
    due = [each for each in first.values() if each.due_at <= now]
    return min(due, key=lambda each: (each.attempts, each.id), default=None)


def mark(connection: Connection, number: int, **values: Any) -> None:
    """Change the message `number`."""
    connection.execute(sa.update(schema.outbox).where(schema.outbox.c.id == number).values(**values))


def drop_channels(connection: Connection, known: Collection[str]) -> None:
    """What waits for channels that the inventory no longer has is given up; what they were told is forgotten."""
    table = schema.outbox
    connection.execute(
        sa.update(table)
        .where(table.c.state == Stage.WAITING.value, table.c.channel.not_in(known))
        .values(state=Stage.GIVEN_UP.value, error="the inventory no longer has this channel")
    )
    connection.execute(sa.delete(schema.alerts).where(schema.alerts.c.channel.not_in(known)))
    connection.execute(sa.delete(schema.alert_channels).where(schema.alert_channels.c.name.not_in(known)))


def prune(connection: Connection, before: datetime) -> None:
    """Forget messages that were dealt with and were made before `before`."""
    table = schema.outbox
    connection.execute(
        sa.delete(table).where(
            table.c.state != Stage.WAITING.value, table.c.created_at < to_microseconds(before)
        )
    )


def channels(connection: Connection) -> dict[str, ChannelState]:
    """How every channel that was ever used does."""
    return {row.name: _channel(row) for row in connection.execute(sa.select(*schema.alert_channels.c))}


def add_channel(connection: Connection, name: str, *, heartbeat_on: str | None) -> None:
    """A channel that is new. Its first heartbeat is due after `heartbeat_on`."""
    row = {"name": name, "failures": 0, "error": "", "heartbeat_on": heartbeat_on}
    connection.execute(sa.insert(schema.alert_channels), row)


def change_channel(connection: Connection, name: str, **values: Any) -> None:
    """Change what is kept of the channel `name`; moments as datetimes."""
    stored = {
        key: to_microseconds(each) if isinstance(each, datetime) else each for key, each in values.items()
    }
    table = schema.alert_channels
    connection.execute(sa.update(table).where(table.c.name == name).values(stored))


def lease(connection: Connection, name: str, now: datetime, span: timedelta) -> bool:
    """Have the channel `name` for oneself for `span`, unless it is another's or is not to be tried yet."""
    table = schema.alert_channels
    moment = to_microseconds(now)
    free = [sa.or_(column.is_(None), column <= moment) for column in (table.c.lease_until, table.c.retry_at)]
    taken = connection.execute(
        sa.update(table).where(table.c.name == name, *free).values(lease_until=to_microseconds(now + span))
    )
    return taken.rowcount == 1


def _row(row: Any) -> Waiting:
    return Waiting(
        id=row.id,
        stage=Stage(row.state),
        created_at=from_microseconds(row.created_at),
        due_at=from_microseconds(row.due_at),
        sent_at=_moment(row.sent_at),
        attempts=row.attempts,
        error=row.error,
        message=Message.from_json(json.loads(row.document)),
    )


def _channel(row: Any) -> ChannelState:
    return ChannelState(
        name=row.name,
        failures=row.failures,
        failing_since=_moment(row.failing_since),
        retry_at=_moment(row.retry_at),
        lease_until=_moment(row.lease_until),
        delivered_at=_moment(row.delivered_at),
        refreshed_at=_moment(row.refreshed_at),
        heartbeat_on=row.heartbeat_on,
        error=row.error,
    )


def _moment(count: int | None) -> datetime | None:
    return None if count is None else from_microseconds(count)


def _dumps(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))
