"""Plan what is to be said, and say it: once from a terminal or cron, every half minute from Dagster.

Two steps that can be killed at any moment. First, in one transaction: read the transitions of incidents from the cursor
"alerts", put the messages that follow into the outbox, keep what each channel will have been told, move the cursor. Then,
for each channel by itself: send what is due, oldest first, and mark it as sent.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from ccobs_ops.core import incidents
from ccobs_ops.core import ledger_chain as chain
from ccobs_ops.core.alerts import compose, health, outbox
from ccobs_ops.core.alerts.deliver import deliver
from ccobs_ops.core.alerts.plan import Due, plan
from ccobs_ops.core.alerts.routing import heartbeat_due
from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Clock
from ccobs_ops.core.incident import Incident
from ccobs_ops.inventory import Inventory

READER = "alerts"
BATCH = 1_000
MOST_OPEN = 100_000
KEPT = timedelta(days=30)
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What one dispatch did: messages put into the outbox, sent, and still waiting; channels that failed just now, and
    those that do not deliver at all at present.
    """

    planned: int
    sent: int
    waiting: int
    failed: tuple[str, ...]
    failing: tuple[str, ...]


def dispatch(ctx: Context) -> Dispatched:
    """Tell every channel what it has to be told by now. Safe to be called by several at once.

    Raises LedgerError when the ledger fails; a channel that fails is no error: its messages wait, and after some attempts
    it is an exercise of the capability `watch` on `ccobs/alerts`, of which the other channels are told.
    """
    names = tuple(ctx.inventory.alerts.channels)
    if not names:
        return Dispatched(0, 0, 0, (), ())
    planned = prepare(ctx)
    with ThreadPoolExecutor(max_workers=min(len(names), _THREADS), thread_name_prefix="alerts") as pool:
        outcomes = list(pool.map(lambda name: deliver(ctx, name), names))
    health.note(ctx)
    with ctx.ledger.reading() as connection:
        left = outbox.waiting(connection)
        failing = health.failing(ctx.inventory.alerts, outbox.channels(connection), left)
    return Dispatched(
        planned=planned,
        sent=sum(each.sent for each in outcomes),
        waiting=len(left),
        failed=tuple(name for name, each in zip(names, outcomes, strict=True) if each.failed),
        failing=tuple(failing),
    )


def prepare(ctx: Context) -> int:
    """The first step: put what is to be said into the outbox; returns how many messages."""
    now = ctx.clock()
    summary = _summary(ctx, now)
    planned = 0
    while True:
        count, more = _prepare(ctx, now, summary)
        planned += count
        if not more:
            return planned


def _prepare(ctx: Context, now: datetime, summary: compose.Summary | None) -> tuple[int, bool]:
    settings = ctx.inventory.alerts
    with ctx.ledger.writing() as connection:
        outbox.lock(connection)
        outbox.drop_channels(connection, list(settings.channels))
        newest = chain.head(connection)
        first = not outbox.has_cursor(connection, READER)
        after = newest if first else chain.cursor(connection, READER)
        found = incidents.transitions(ctx.ledger, after=after, limit=BATCH) if newest > after else []
        states = outbox.channels(connection)
        new = [name for name in settings.channels if name not in states]
        adopt = {name: _open(ctx) for name in new} if new else {}
        for name in new:
            # its first heartbeat comes when it is next due: it was not missed today
            outbox.add_channel(connection, name, heartbeat_on=heartbeat_due(settings, name, None, now))
        left = outbox.waiting(connection)
        known = outbox.alerts(connection)
        made = plan(
            ctx.inventory,
            known,
            found,
            now,
            adopt=adopt,
            waiting={(each.message.channel, each.message.key) for each in left},
            failing=frozenset(health.failing(settings, states, left)),
        )
        messages = [*made.messages]
        for name, state in states.items():
            day = heartbeat_due(settings, name, state.heartbeat_on, now)
            if day is None or summary is None:
                continue
            outbox.change_channel(connection, name, heartbeat_on=day)
            outbox.prune(connection, now - KEPT)
            if not any((each.message.channel, each.message.key) == (name, "heartbeat") for each in left):
                messages.append(Due(compose.heartbeat(ctx.inventory, name, summary, now), now))
        outbox.save(connection, known, made.alerts)
        count = outbox.put(connection, messages, now)
        more = len(found) == BATCH
        reached = found[-1].seq if more else max(newest, found[-1].seq if found else 0)
        chain.move(connection, READER, reached)
    return count, more


def _open(ctx: Context) -> list[Incident]:
    return list(reversed(incidents.listed(ctx.ledger, open_only=True, limit=MOST_OPEN)))


def _summary(ctx: Context, now: datetime) -> compose.Summary | None:
    """What heartbeats tell, if one is due."""
    with ctx.ledger.reading() as connection:
        states = outbox.channels(connection)
    settings = ctx.inventory.alerts
    if not any(
        heartbeat_due(settings, name, state.heartbeat_on, now)
        for name, state in states.items()
        if name in settings.channels
    ):
        return None
    from ccobs_ops.core.exercise import Verdict  # noqa: PLC0415 - once a day
    from ccobs_ops.core.status import look  # noqa: PLC0415

    targets = look(ctx.inventory, ctx.ledger, now=now)
    proven = sum(target.verdict is Verdict.PASSED for target in targets)
    return compose.Summary(proven, len(targets), len(_open(ctx)))


def test(inventory: Inventory, name: str, clock: Clock) -> float:
    """Send a test over the channel `name`, at once and past the outbox; returns how long it took, in seconds.

    Raises OpsError when it is not taken.
    """
    from ccobs_ops.core.alerts.send import sender  # noqa: PLC0415

    began = clock()
    through = sender(name, inventory.alerts.channels[name], base=inventory.path.parent)
    through.send(compose.trial(inventory, name, began), 0, began)
    return (clock() - began).total_seconds()
