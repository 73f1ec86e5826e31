"""Do the alerts themselves work: a channel that does not deliver is an exercise, and by it an incident."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from ccobs_ops.core.alerts import outbox
from ccobs_ops.core.alerts.outbox import ChannelState, Waiting
from ccobs_ops.core.alerts.routing import ITSELF
from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Claim, Exercise, Recorder, Severity, failed, passed, unknown
from ccobs_ops.inventory_alerts import Alerts

CAPABILITY = "watch"
CLAIM = "delivered"
EVERY = timedelta(hours=24)
UNCLEAR = "no answer: "
"""What the error of a channel begins with when it is not known whether the message was taken."""


def failing(alerts: Alerts, states: Mapping[str, ChannelState], left: Sequence[Waiting]) -> dict[str, str]:
    """The channels that failed as often as the inventory bears, in a row or on one message, and how."""
    found: dict[str, str] = {}
    for name, channel in alerts.channels.items():
        state = states.get(name)
        if state is not None and state.failures >= channel.attempts:
            found[name] = state.error
        for each in left:
            if each.message.channel == name and each.attempts >= channel.attempts:
                found.setdefault(name, each.error)
    return found


def note(ctx: Context) -> Exercise | None:
    """Record how the channels do, where that changed since the last exercise or that is a day old; None if not."""
    with ctx.ledger.reading() as connection:
        states = outbox.channels(connection)
        bad = failing(ctx.inventory.alerts, states, outbox.waiting(connection))
    if not bad and not any(state.delivered_at for state in states.values()):
        return None  # nothing was ever sent: nothing is known
    latest = ctx.ledger.latest(ITSELF, CAPABILITY)
    known = None if latest is None else latest.details.get("failing")
    if latest is not None and known == sorted(bad) and ctx.clock() - latest.finished_at < EVERY:
        return None

    def body(recorder: Recorder) -> None:
        recorder.details["failing"] = sorted(bad)
        recorder.measurements["channels"] = len(ctx.inventory.alerts.channels)
        recorder.measurements["failing_channels"] = len(bad)
        for name, told in bad.items():
            since = states[name].failing_since if name in states else None
            recorder.find(
                "channel_failing",
                Severity.CRITICAL,
                name,
                f"{told}" + (f", since {since:%Y-%m-%d %H:%M:%S} UTC" if since else ""),
                f"try it with: ccobs-ops alerts test {name}",
            )
        recorder.claim(_claim(len(ctx.inventory.alerts.channels), bad))

    return attempt(ctx, ITSELF, CAPABILITY, CLAIM, body)


def _claim(channels: int, bad: Mapping[str, str]) -> Claim:
    if not bad:
        return passed(CLAIM, f"{channels} of {channels} channels deliver")
    told = "; ".join(f"{name}: {error}" for name, error in bad.items())
    reason = f"{len(bad)} of {channels} channels do not deliver: {told}"
    if all(error.startswith(UNCLEAR) for error in bad.values()):
        return unknown(CLAIM, reason)
    return failed(CLAIM, reason)
