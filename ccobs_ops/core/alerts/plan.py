"""What is to be said: transitions and the present moment, against what each channel was told. Pure.

A channel holds one alert for each open incident that it was told of, under the incident's key. From that follows all else:
an incident that opens is told once, one that closes is resolved where it was told, a reminder is due from the last word.

Storms: incidents are told at once, and never wait for others. When within `window` a channel was told of `size`, those that
are new are told together, as one alert with its list; what opens within `window` of the last joins it. It resolves when all
of its incidents are closed. An Alertmanager groups by itself and is told of each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from ccobs_ops.core.alerts import compose
from ccobs_ops.core.alerts.model import RANK, STORM, Alert, Kind, Message
from ccobs_ops.core.alerts.routing import ITSELF, channels_for, quiet_until
from ccobs_ops.core.exercise import Severity
from ccobs_ops.core.incident import Incident, Transition
from ccobs_ops.inventory import Inventory

Place = tuple[str, str]
"""A channel, and a key."""


@dataclass(frozen=True, slots=True)
class Due:
    """A message, and when it may leave."""

    message: Message
    at: datetime


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be sent, and all that the channels hold afterwards."""

    messages: tuple[Due, ...]
    alerts: dict[Place, Alert]


def plan(
    inventory: Inventory,
    alerts: Mapping[Place, Alert],
    transitions: Iterable[Transition],
    now: datetime,
    *,
    adopt: Mapping[str, Collection[Incident]] | None = None,
    waiting: Collection[Place] = (),
    failing: frozenset[str] = frozenset(),
) -> Plan:
    """What follows from `transitions`, in their order, and from the time that has gone by.

    `alerts` is what each channel was told is open; `adopt` are open incidents that a new channel is to be told of; for
    what is `waiting` to be sent no reminder is added; `failing` channels are not told of their own failure.
    """
    work = _Work(inventory, now, dict(alerts), failing)
    for channel, incidents in (adopt or {}).items():
        for incident in incidents:
            if channel in channels_for(inventory, incident, failing=failing):
                work.open(channel, incident)
    for transition in transitions:
        work.take(transition)
    work.leave_quiet_hours()
    work.escalate()
    work.announce()
    work.close()
    work.tell_grown_storms()
    work.remind(waiting)
    return Plan(tuple(work.messages), work.alerts)


@dataclass(slots=True)
class _Work:
    inventory: Inventory
    now: datetime
    alerts: dict[Place, Alert]
    failing: frozenset[str]
    messages: list[Due] = field(default_factory=list)
    fresh: list[Place] = field(default_factory=list)
    """What nobody was told yet, in order."""
    over: dict[Place, Incident] = field(default_factory=dict)
    """What has closed, to be resolved after it was announced."""

    def take(self, transition: Transition) -> None:
        """What `transition` means to every channel."""
        incident = transition.incident
        if not incident.is_open:
            for place in self._told(incident.key):
                self.over[place] = incident
            return
        if incident.replayed:  # long over when it was first read: no news to anybody
            return
        for channel in channels_for(self.inventory, incident, failing=self.failing):
            if (channel, incident.key) not in self.alerts:
                self.open(channel, incident)
        for place in self._told(incident.key):
            self.over.pop(place, None)
            before = self.alerts[place]
            self.alerts[place] = replace(before, incident=incident, severity=incident.severity)
            if transition.name == "escalated" and not before.held and place not in self.fresh:
                self._worse(place)

    def open(self, channel: str, incident: Incident) -> None:
        """`channel` is to be told of `incident`, now or when the quiet hours end."""
        place = (channel, incident.key)
        if place in self.alerts:
            return
        held = quiet_until(self.inventory.alerts, channel, incident.severity, self.now) is not None
        self.alerts[place] = Alert(channel, incident.key, self.now, incident.severity, incident, held=held)
        if not held:
            self.fresh.append(place)

    def leave_quiet_hours(self) -> None:
        """What was held back and is still open is told, once the hours are over or it has become critical."""
        for place, alert in self.alerts.items():
            if not alert.held or place in self.over:
                continue
            if quiet_until(self.inventory.alerts, alert.channel, alert.severity, self.now) is None:
                self.alerts[place] = replace(alert, held=False)
                self.fresh.append(place)

    def escalate(self) -> None:
        """What nobody acknowledged in time goes to further channels; where they know of it, they are told again."""
        policy = self.inventory.alerts.escalation
        if policy is None:
            return
        oldest: dict[str, Alert] = {}
        for alert in self.alerts.values():
            known = oldest.get(alert.key)
            if alert.incident is not None and (known is None or alert.opened_at < known.opened_at):
                oldest[alert.key] = alert
        for key, first in oldest.items():
            incident = first.incident
            if (
                incident is None
                or incident.acknowledged_at is not None
                or RANK[incident.severity] < RANK[Severity(policy.severity)]
                or self.now - first.opened_at < policy.after
                or any(place in self.over for place in self._told(key))
            ):
                continue
            for channel in policy.channels:
                self._escalated(channel, incident)

    def announce(self) -> None:
        """Tell what is new, one by one or as a storm."""
        for channel in dict.fromkeys(channel for channel, _ in self.fresh):
            places = [place for place in self.fresh if place[0] == channel]
            apart = [place for place in places if self._is_apart(place)]
            rest = [place for place in places if place not in apart]
            storm, window = self._growing(channel), self.inventory.alerts.storm.window
            recent = sum(
                alert.told_at is not None and not alert.storm and self.now - alert.opened_at < window
                for (name, _), alert in self.alerts.items()
                if name == channel and not alert.is_storm
            )
            if storm is not None and rest:
                self._join(storm, rest)
            elif rest and recent + len(rest) >= self.inventory.alerts.storm.size:
                self._gather(channel, rest, before=recent)
            else:
                apart = places
            for place in apart:
                alert = self.alerts[place]
                kind = Kind.OPENED if alert.escalated_at is None else Kind.ESCALATED
                self._say(place, compose.about_incident(self.inventory, alert, kind, self.now))

    def close(self) -> None:
        """Resolve what has closed, where it was told; a storm with the last of its incidents."""
        for place, incident in self.over.items():
            alert = self.alerts.pop(place)
            if alert.held:
                continue
            if alert.storm:
                self._leave((alert.channel, alert.storm))
                continue
            self._resolve(
                alert,
                compose.about_incident(self.inventory, alert, Kind.RESOLVED, self.now, incident=incident),
            )

    def tell_grown_storms(self) -> None:
        """A storm that took in more says so: at once if it became worse, else a window after its last word."""
        for place, storm in list(self.alerts.items()):
            if not storm.is_storm or not storm.stale:
                continue
            members = self._members(place)
            severity = max((each.severity for each in members), key=RANK.__getitem__, default=storm.severity)
            worse = RANK[severity] > RANK[storm.severity]
            if not worse and storm.told_at and self.now - storm.told_at < self.inventory.alerts.storm.window:
                continue
            self.alerts[place] = storm = replace(storm, stale=False, severity=severity)
            self._say(place, compose.about_storm(self.inventory, storm, members, Kind.GROWN, self.now))

    def remind(self, waiting: Collection[Place]) -> None:
        """What is open for long without a word is told again; Alertmanager repeats by itself."""
        alerts = self.inventory.alerts
        for place, alert in list(self.alerts.items()):
            if (
                alert.held
                or alert.storm
                or place in waiting
                or alert.told_at is None
                or self.now - alert.told_at < alerts.reminder
                or alerts.channels[alert.channel].alertmanager
                or quiet_until(alerts, alert.channel, alert.severity, self.now) is not None
            ):
                continue
            if alert.is_storm:
                members = self._members(place)
                message = compose.about_storm(self.inventory, alert, members, Kind.REMINDER, self.now)
            else:
                message = compose.about_incident(self.inventory, alert, Kind.REMINDER, self.now)
            self._say(place, message)

    # below: one step of these

    def _told(self, key: str) -> list[Place]:
        return [place for place in self.alerts if place[1] == key]

    def _is_apart(self, place: Place) -> bool:
        alert = self.alerts[place]
        return bool(
            self.inventory.alerts.channels[alert.channel].alertmanager
            or alert.escalated_at
            or (alert.incident is not None and alert.incident.target == ITSELF)
        )

    def _growing(self, channel: str) -> Place | None:
        window = self.inventory.alerts.storm.window
        return next(
            (
                place
                for place, alert in self.alerts.items()
                if place[0] == channel and alert.joined_at and self.now - alert.joined_at < window
            ),
            None,
        )

    def _members(self, storm: Place) -> list[Alert]:
        return [alert for alert in self.alerts.values() if (alert.channel, alert.storm) == storm]

    def _gather(self, channel: str, places: list[Place], *, before: int) -> None:
        place = (channel, f"{STORM}{places[0][1]}")
        if place in self.alerts:
            self._join(place, places)
            return
        severity = max((self.alerts[each].severity for each in places), key=RANK.__getitem__)
        self.alerts[place] = storm = Alert(channel, place[1], self.now, severity, joined_at=self.now)
        self._enter(place, places)
        self._say(
            place,
            compose.about_storm(
                self.inventory, storm, self._members(place), Kind.OPENED, self.now, before=before
            ),
        )

    def _join(self, storm: Place, places: list[Place]) -> None:
        self.alerts[storm] = replace(self.alerts[storm], joined_at=self.now, stale=True)
        self._enter(storm, places)

    def _enter(self, storm: Place, places: list[Place]) -> None:
        for place in places:
            self.alerts[place] = replace(self.alerts[place], storm=storm[1], told_at=self.now)

    def _leave(self, place: Place) -> None:
        if not self._members(place):
            storm = self.alerts.pop(place)
            self._resolve(storm, compose.about_storm(self.inventory, storm, (), Kind.RESOLVED, self.now))

    def _worse(self, place: Place) -> None:
        alert = self.alerts[place]
        if alert.storm:
            storm = (alert.channel, alert.storm)
            self.alerts[storm] = replace(self.alerts[storm], stale=True)
            return
        if quiet_until(self.inventory.alerts, alert.channel, alert.severity, self.now) is None:
            self._say(place, compose.about_incident(self.inventory, alert, Kind.ESCALATED, self.now))

    def _escalated(self, channel: str, incident: Incident) -> None:
        place = (channel, incident.key)
        known = self.alerts.get(place)
        if known is None:
            self.alerts[place] = Alert(
                channel, incident.key, self.now, incident.severity, incident, escalated_at=self.now
            )
            self.fresh.append(place)
        elif known.escalated_at is None and not known.held and place not in self.fresh:
            self.alerts[place] = alert = replace(known, escalated_at=self.now)
            self._say(place, compose.about_incident(self.inventory, alert, Kind.ESCALATED, self.now))

    def _say(self, place: Place, message: Message) -> None:
        alert = self.alerts[place]
        if alert.labels and alert.labels != message.labels:
            message = replace(message, ended=alert.labels)
        self.alerts[place] = replace(alert, told_at=self.now, labels=message.labels)
        self.messages.append(Due(message, self.now))

    def _resolve(self, alert: Alert, message: Message) -> None:
        # what was told in the day is not called back in the night
        quiet = quiet_until(self.inventory.alerts, alert.channel, alert.severity, self.now)
        if self.inventory.alerts.channels[alert.channel].alertmanager:
            quiet = None
        self.messages.append(Due(replace(message, labels=alert.labels or message.labels), quiet or self.now))
