"""Show alerts: on a terminal in 80 columns, or as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ccobs_ops.cli.output import console, print_json, table
from ccobs_ops.core.alerts import health
from ccobs_ops.core.alerts.dispatch import Dispatched
from ccobs_ops.core.alerts.model import Alert
from ccobs_ops.core.alerts.outbox import ChannelState, Stage, Waiting
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.units import format_seconds
from ccobs_ops.inventory_alerts import Alerts


@dataclass(frozen=True, slots=True)
class View:
    """What `alerts list` shows."""

    settings: Alerts
    states: dict[str, ChannelState]
    alerts: Sequence[Alert]
    waiting: Sequence[Waiting]
    messages: Sequence[Waiting]

    def word(self, name: str) -> str:
        """How the channel `name` does: `delivers`, `failing`, `retrying` or `unused`."""
        state = self.states.get(name)
        if name in health.failing(self.settings, self.states, self.waiting):
            return "failing"
        if state is not None and state.failures:
            return "retrying"
        return "delivers" if state is not None and state.delivered_at else "unused"


def print_dispatched(done: Dispatched, *, json: bool) -> None:
    """Show what one dispatch did."""
    if json:
        print_json(
            {
                "planned": done.planned,
                "sent": done.sent,
                "waiting": done.waiting,
                "failed": list(done.failed),
                "failing": list(done.failing),
            }
        )
        return
    out = console()
    out.print(f"{done.sent} sent, {done.waiting} waiting")
    for name in dict.fromkeys((*done.failing, *done.failed)):
        out.print(f"✗ {name} did not take a message: ccobs-ops alerts list says why")


def print_test(name: str, seconds: float, *, json: bool) -> None:
    """Show that a test was taken."""
    if json:
        print_json({"channel": name, "taken": True, "seconds": round(seconds, 3)})
    else:
        console().print(f"✓ {name} took a test message in {format_seconds(seconds)}: see whether it arrived")


def print_alerts(view: View, *, json: bool) -> None:
    """Show channels, what is open, and messages."""
    if json:
        print_json(_document(view))
        return
    out = console()
    if not view.settings.channels:
        out.print("the inventory has no channel; inventory.example.yaml shows `alerts:`")
        return
    out.print(_channels(view))
    for name in view.settings.channels:
        state = view.states.get(name)
        if state is not None and state.error:
            out.print(f"✗ {name}: {state.error}", markup=False)
    out.print()
    rows = table()
    for title in ("open since (UTC)", "channel", "severity", "told", "alert"):
        rows.add_column(title, no_wrap=title != "alert", overflow="fold")
    shown = [alert for alert in view.alerts if not alert.storm]
    for alert in shown:
        members = sum(each.storm == alert.key and each.channel == alert.channel for each in view.alerts)
        told = "held" if alert.held else "yes"
        subject = f"{members} incidents, {alert.key}" if alert.is_storm else alert.key
        rows.add_row(_short(alert.opened_at), alert.channel, alert.severity.value, told, subject)
    out.print(rows if shown else "nothing is open")
    if not view.messages:
        return
    out.print()
    rows = table()
    for title in ("no.", "made (UTC)", "channel", "message", "state", "about"):
        rows.add_column(title, no_wrap=title != "about", overflow="fold")
    for each in view.messages:
        state = each.stage.value.replace("_", " ") + (f" ({each.attempts} failed)" if each.attempts else "")
        message = each.message
        rows.add_row(
            str(each.id), _short(each.created_at), message.channel, message.kind.value, state, message.key
        )
    out.print(rows)


def _channels(view: View) -> Any:
    rows = table()
    for title in ("channel", "by", "state", "waiting", "last delivered (UTC)"):
        rows.add_column(title, no_wrap=True)
    for name, channel in view.settings.channels.items():
        state = view.states.get(name)
        rows.add_row(
            name,
            "alertmanager" if channel.alertmanager else "apprise",
            view.word(name),
            str(sum(each.message.channel == name for each in view.waiting)),
            _short(state.delivered_at) if state is not None and state.delivered_at else "never",
        )
    return rows


def _document(view: View) -> dict[str, Any]:
    return {
        "channels": [
            {
                "name": name,
                "kind": "alertmanager" if channel.alertmanager else "apprise",
                "state": view.word(name),
                "waiting": sum(each.message.channel == name for each in view.waiting),
                **_state(view.states.get(name) or ChannelState(name)),
            }
            for name, channel in view.settings.channels.items()
        ],
        "open": [
            {
                "channel": alert.channel,
                "key": alert.key,
                "severity": alert.severity.value,
                "opened_at": rfc3339(alert.opened_at),
                "told_at": _moment(alert.told_at),
                "held": alert.held,
                "storm": alert.storm or None,
                "incident": alert.incident.id if alert.incident else None,
            }
            for alert in view.alerts
        ],
        "messages": [
            {
                "number": each.id,
                "channel": each.message.channel,
                "key": each.message.key,
                "kind": each.message.kind.value,
                "severity": each.message.severity.value,
                "title": each.message.title,
                "state": each.stage.value,
                "attempts": each.attempts + (each.stage is Stage.SENT),
                "created_at": rfc3339(each.created_at),
                "due_at": rfc3339(each.due_at),
                "sent_at": _moment(each.sent_at),
                "error": each.error or None,
            }
            for each in view.messages
        ],
    }


def _state(state: ChannelState) -> dict[str, Any]:
    return {
        "failures": state.failures,
        "failing_since": _moment(state.failing_since),
        "retry_at": _moment(state.retry_at),
        "delivered_at": _moment(state.delivered_at),
        "heartbeat_on": state.heartbeat_on,
        "error": state.error or None,
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def _short(moment: datetime) -> str:
    return rfc3339(moment)[5:19].replace("T", " ")
