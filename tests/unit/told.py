"""Who would be told what: a planner of alerts with its memory, and incidents to tell it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ccobs_ops.core.alerts.model import Alert, Message
from ccobs_ops.core.alerts.plan import Place, plan
from ccobs_ops.core.incident import Incident, Transition
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import loads
from tests.alerts_support import INVENTORY, NOON, happened, incident

TWO = """\
  channels:
    chat: {apprise: env:CHAT}
    am: {alertmanager: http://am:9093}
"""
ONE = "  channels: {chat: {apprise: env:CHAT}}\n"
QUIET = f"{TWO}  time_zone: Europe/Berlin\n  quiet_hours: {{start: '22:00', end: '07:00'}}\n"
KEY = incident().key
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def inventory(alerts: str) -> Inventory:
    return loads(f"{INVENTORY}alerts:\n{alerts}")


class Told:
    """A planner with its memory: what was said so far."""

    def __init__(self, alerts: str = ONE) -> None:
        self.inventory = inventory(alerts)
        self.alerts: dict[Place, Alert] = {}
        self.now = NOON
        self.said: list[Message] = []
        self.due: list[datetime] = []

    def after(self, span: timedelta = timedelta(0), *transitions: Transition) -> list[tuple[str, str, str]]:
        """(channel, kind, key) of what is said `span` later, given `transitions`."""
        self.now += span
        made = plan(self.inventory, self.alerts, transitions, self.now)
        self.alerts = made.alerts
        self.said += [due.message for due in made.messages]
        self.due += [due.at for due in made.messages]
        return [(due.message.channel, due.message.kind.value, due.message.key) for due in made.messages]


def several(count: int, **changes: object) -> list[Incident]:
    return [incident(n, claim=f"c{n}", **changes) for n in range(1, count + 1)]


def opening(found: Sequence[Incident]) -> list[Transition]:
    return [happened("opened", each) for each in found]
