"""Inventory of alerts: the channels, who is told what over which, and when people are left in peace."""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ccobs_ops.inventory_types import Duration, Model, Name, SecretRef

RUNBOOKS = "https://github.com/ccobservatory/ccobs-ops/blob/main/docs/runbooks"


def _clock(value: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError(f"{value!r} is no time of day; write it in quotes, for example '08:00'")
    return value


def _zone(value: str) -> str:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 - where no zone is named, none is read

    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is no time zone; write for example UTC or Europe/Berlin") from None
    return value


def _http(value: str) -> str:
    if not re.match(r"https?://[^\s/]", value):
        raise ValueError("an address begins with http:// or https://; for example http://alertmanager:9093")
    return value.rstrip("/")


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Clock = Annotated[str, AfterValidator(_clock)]
Zone = Annotated[str, AfterValidator(_zone)]
Address = Annotated[str, AfterValidator(_http)]
AtLeast = Literal["info", "warning", "critical"]


def time_of_day(text: Clock) -> time:
    """`08:00` as a time."""
    return time.fromisoformat(text)


class Channel(Model):
    """One way to reach people: an apprise URL, which is a secret, or Alertmanagers of one cluster.

    `attempts` failures in a row make the channel itself an incident; it is tried on nevertheless. An Alertmanager is told
    of what is open every `repeat`, and keeps it for `expires` if we fall silent.
    """

    apprise: SecretRef | None = None
    alertmanager: Annotated[tuple[Address, ...], BeforeValidator(_several)] = ()
    username: str | None = None
    password: SecretRef | None = None
    timeout: Duration = timedelta(seconds=10)
    attempts: int = Field(default=5, ge=1, le=100)
    repeat: Duration = timedelta(minutes=1)
    expires: Duration = timedelta(hours=1)
    quiet_hours: bool = True
    heartbeat: bool = True


class Route(Model):
    """Who is told: an incident that fits every key goes to the channels. `targets` are shell patterns."""

    severity: AtLeast = "info"
    targets: tuple[str, ...] = ("*",)
    capabilities: tuple[str, ...] = ("*",)
    owners: tuple[str, ...] = ()
    channels: tuple[str, ...] = Field(min_length=1)


class QuietHours(Model):
    """From `start` to `end`, every day, in the time zone of the alerts, only what is critical is sent."""

    start: Clock
    end: Clock


class Escalation(Model):
    """What is open for `after`, at least this severe, and acknowledged by nobody, goes to further channels."""

    after: Duration = timedelta(minutes=30)
    severity: AtLeast = "critical"
    channels: tuple[str, ...] = Field(min_length=1)


class Storm(Model):
    """`size` incidents within `window` are one alert with its list."""

    size: int = Field(default=5, ge=2, le=1000)
    window: Duration = timedelta(minutes=2)


class Alerts(Model):
    """Who is told of what. Without routes, every channel is told of everything."""

    channels: dict[Name, Channel] = {}
    routes: tuple[Route, ...] = ()
    base_url: Address | None = None
    runbooks: Address = RUNBOOKS
    time_zone: Zone = "UTC"
    quiet_hours: QuietHours | None = None
    reminder: Duration = timedelta(hours=4)
    escalation: Escalation | None = None
    storm: Storm = Storm()
    heartbeat: Clock | None = "08:00"
