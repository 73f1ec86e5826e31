"""Send what waits for one channel: in order, with a lease, back-off and bounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ccobs_ops.core.alerts import compose, outbox
from ccobs_ops.core.alerts.health import UNCLEAR
from ccobs_ops.core.alerts.model import Alert, Kind
from ccobs_ops.core.alerts.outbox import Stage, Waiting
from ccobs_ops.core.alerts.send import GRACE_SECONDS, Alertmanager, DeliveryError, Sender, alert, sender
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError, UnknownError
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.ledger_schema import to_microseconds
from ccobs_ops.core.redaction import REDACT

FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(minutes=5)
GIVE_UP = timedelta(days=1)
MOST_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one channel."""

    sent: int = 0
    failed: bool = False


def deliver(ctx: Context, name: str) -> Outcome:
    """Send over the channel `name` what is due, unless another does or it is not to be tried yet.

    It stops at the first failure: what waits is tried after 10 s, then 20 s, up to every 5 minutes, and given up after
    a day. A dispatcher that dies keeps the channel for three times its timeout at most.
    """
    channel = ctx.inventory.alerts.channels[name]
    span = 3 * channel.timeout + timedelta(seconds=2 * GRACE_SECONDS)
    with ctx.ledger.writing() as connection:
        if not outbox.lease(connection, name, ctx.clock(), span):
            return Outcome()
    done = Outcome()
    try:
        done = _send_all(ctx, name, sender(name, channel, base=ctx.inventory.path.parent), span)
    finally:
        with ctx.ledger.writing() as connection:
            outbox.change_channel(connection, name, lease_until=None)
    return done


def _send_all(ctx: Context, name: str, through: Sender, span: timedelta) -> Outcome:
    sent = 0
    while sent < MOST_AT_ONCE:
        now = ctx.clock()
        with ctx.ledger.reading() as connection:
            due = outbox.next_of(connection, name, now)
        if due is None:
            break
        try:
            through.send(due.message, due.id, now)
        except OpsError as error:
            _failed(ctx, name, error, due)
            return Outcome(sent, failed=True)
        sent += 1
        _succeeded(ctx, name, span, due)
    if isinstance(through, Alertmanager):
        try:
            _refresh(ctx, name, through)
        except OpsError as error:
            _failed(ctx, name, error, None)
            return Outcome(sent, failed=True)
    return Outcome(sent)


def _succeeded(ctx: Context, name: str, span: timedelta, due: Waiting | None) -> None:
    now = ctx.clock()
    with ctx.ledger.writing() as connection:
        if due is not None:
            outbox.mark(connection, due.id, state=Stage.SENT.value, sent_at=to_microseconds(now), error="")
        outbox.change_channel(
            connection,
            name,
            failures=0,
            failing_since=None,
            retry_at=None,
            error="",
            delivered_at=now,
            lease_until=now + span,
        )


def _failed(ctx: Context, name: str, error: OpsError, due: Waiting | None) -> None:
    now = ctx.clock()
    told = (UNCLEAR if isinstance(error, UnknownError) else "") + REDACT(error.message.splitlines()[0])
    ctx.progress.note(f"{name}: {told}")
    with ctx.ledger.writing() as connection:
        state = outbox.channels(connection)[name]
        wait = min(FIRST_RETRY * 2 ** min(state.failures, 10), LONGEST_RETRY)
        outbox.change_channel(
            connection,
            name,
            failures=state.failures + 1,
            failing_since=state.failing_since or now,
            retry_at=now + wait,
            error=told,
        )
        if due is None:
            return
        hopeless = isinstance(error, DeliveryError) and error.never
        stage = Stage.GIVEN_UP if hopeless or now - due.created_at > GIVE_UP else Stage.WAITING
        outbox.mark(connection, due.id, state=stage.value, attempts=due.attempts + 1, error=told)


def _refresh(ctx: Context, name: str, through: Alertmanager) -> None:
    """Tell an Alertmanager again of all that is open, so that it does not resolve by itself."""
    now = ctx.clock()
    channel = ctx.inventory.alerts.channels[name]
    with ctx.ledger.reading() as connection:
        state = outbox.channels(connection).get(name)
        pending = {each.message.key for each in outbox.waiting(connection, name)}
        told = [each for each in outbox.alerts(connection).values() if each.channel == name]
    if state is None or (state.refreshed_at is not None and now - state.refreshed_at < channel.repeat):
        return
    firing = [each for each in told if each.labels and each.key not in pending]
    if firing:
        through.post([_again(ctx, each, now, channel.expires) for each in firing])
        _succeeded(ctx, name, timedelta(0), None)
    with ctx.ledger.writing() as connection:
        outbox.change_channel(connection, name, refreshed_at=now)


def _again(ctx: Context, told: Alert, now: datetime, lasts: timedelta) -> dict[str, object]:
    message = compose.about_incident(ctx.inventory, told, Kind.REMINDER, now)
    document = alert(replace(message, labels=told.labels), now, lasts)
    document["annotations"]["refreshed_at"] = rfc3339(now)
    return document
