"""Which channels an incident goes to, and until when people are left in peace. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from ccobs_ops.core.alerts.model import RANK
from ccobs_ops.core.exercise import Severity
from ccobs_ops.core.incident import Incident
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_alerts import Alerts, Route, time_of_day

ITSELF = "ccobs/alerts"
"""The target of the channels themselves: an incident about it goes to every channel that works, whatever the routes."""


def owners_of(inventory: Inventory, target: str) -> tuple[str, ...]:
    """The owners of `target`, as `noun/name`: its own, else the inventory's."""
    noun, _, name = target.partition("/")
    found = getattr(inventory, noun, None)
    entry = found.get(name) if isinstance(found, dict) else None
    return tuple(getattr(entry, "owners", ())) or inventory.owners


def channels_for(
    inventory: Inventory, incident: Incident, *, failing: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """The channels that `incident` goes to, in the inventory's order. `failing` do not deliver at present."""
    alerts = inventory.alerts
    if incident.target == ITSELF:
        return tuple(name for name in alerts.channels if name not in failing) or tuple(alerts.channels)
    if not alerts.routes:
        return tuple(alerts.channels)
    owners = owners_of(inventory, incident.target)
    wanted = {name for route in alerts.routes if _fits(route, incident, owners) for name in route.channels}
    return tuple(name for name in alerts.channels if name in wanted)


def _fits(route: Route, incident: Incident, owners: tuple[str, ...]) -> bool:
    return (
        RANK[incident.severity] >= RANK[Severity(route.severity)]
        and any(fnmatchcase(incident.target, pattern) for pattern in route.targets)
        and any(fnmatchcase(incident.capability, pattern) for pattern in route.capabilities)
        and (not route.owners or bool(set(route.owners) & set(owners)))
    )


def quiet_until(alerts: Alerts, channel: str, severity: Severity, now: datetime) -> datetime | None:
    """When the quiet hours that hold back this severity on `channel` end, or None if nothing holds it back at `now`.

    Start and end are times of day on the clock of the alerts' time zone, also across its changes.
    """
    hours = alerts.quiet_hours
    if hours is None or severity is Severity.CRITICAL or not alerts.channels[channel].quiet_hours:
        return None
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - where no zone is named, none is read

    local = now.astimezone(ZoneInfo(alerts.time_zone))
    start, end = time_of_day(hours.start), time_of_day(hours.end)
    at = local.time().replace(tzinfo=None)
    inside = start <= at < end if start < end else at >= start or at < end
    if not inside:
        return None
    day = local.date() if at < end else local.date() + timedelta(days=1)
    return datetime.combine(day, end, local.tzinfo).astimezone(now.tzinfo)


def heartbeat_due(alerts: Alerts, channel: str, last: str | None, now: datetime) -> str | None:
    """The day (ISO, in the alerts' time zone) whose heartbeat `channel` is due, or None. `last` is the day of its last."""
    if alerts.heartbeat is None or not alerts.channels[channel].heartbeat:
        return None
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - where no zone is named, none is read

    local = now.astimezone(ZoneInfo(alerts.time_zone))
    day = local.date().isoformat()
    if local.time().replace(tzinfo=None) < time_of_day(alerts.heartbeat) or (
        last is not None and last >= day
    ):
        return None
    return day
