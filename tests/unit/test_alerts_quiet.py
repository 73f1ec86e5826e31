"""When people are told: quiet hours on the clock of their zone, and the heartbeat of the day. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ccobs_ops.core.alerts.model import Kind
from ccobs_ops.core.alerts.routing import heartbeat_due, quiet_until
from ccobs_ops.core.exercise import Severity
from tests.alerts_support import closed, happened, incident
from tests.unit.told import KEY, MINUTE, ONE, QUIET, Told, inventory, opening

NIGHT = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)  # 00:30 in Berlin


def test_at_night_only_what_is_critical_is_told_the_rest_in_the_morning_if_still_open() -> None:
    told = Told(QUIET)
    told.now = NIGHT
    mild = [incident(n, claim=f"c{n}", severity=Severity.WARNING) for n in (1, 2)]
    assert told.after(timedelta(0), *opening(mild)) == []
    assert [kind for _, kind, key in told.after(MINUTE, happened("opened", incident(3))) if key == KEY] == [
        "opened",
        "opened",
    ]
    assert told.after(MINUTE, happened("verified", closed(mild[0], told.now))) == []
    told.now = datetime(2026, 11, 24, 6, 1, tzinfo=UTC)  # 07:01 in Berlin
    opened = [(channel, key) for channel, kind, key in told.after() if kind == "opened"]
    assert sorted(opened) == [("am", mild[1].key), ("chat", mild[1].key)]


def test_what_becomes_critical_at_night_is_told_at_once() -> None:
    told = Told(QUIET)
    told.now = NIGHT
    told.after(timedelta(0), happened("opened", incident(severity=Severity.WARNING)))
    assert ("chat", "opened", KEY) in told.after(MINUTE, happened("escalated", incident()))


def test_what_was_told_by_day_is_not_called_back_at_night() -> None:
    told = Told(QUIET)
    mild = incident(severity=Severity.WARNING)
    told.after(timedelta(0), happened("opened", mild))
    told.now = NIGHT
    told.after(timedelta(0), happened("verified", closed(mild, NIGHT)))
    due = {
        message.channel: at
        for message, at in zip(told.said, told.due, strict=True)
        if message.kind is Kind.RESOLVED
    }
    assert due == {"chat": datetime(2026, 11, 24, 6, tzinfo=UTC), "am": NIGHT}


@pytest.mark.parametrize(
    ("moment", "until"),
    [
        ("2026-11-23T20:59Z", None),
        ("2026-11-23T21:00Z", "2026-11-24T06:00Z"),
        ("2026-11-24T05:59Z", "2026-11-24T06:00Z"),
        ("2026-11-24T06:00Z", None),
        # the clock goes back at 01:00Z and forward at 01:00Z: the hours end at seven on the wall all the same
        ("2026-10-24T22:00Z", "2026-10-25T06:00Z"),
        ("2026-03-28T22:00Z", "2026-03-29T05:00Z"),
    ],
)
def test_quiet_hours_are_on_the_clock_of_the_zone(moment: str, until: str | None) -> None:
    found = quiet_until(inventory(QUIET).alerts, "chat", Severity.WARNING, datetime.fromisoformat(moment))
    assert found == (None if until is None else datetime.fromisoformat(until))


def test_a_channel_may_have_no_quiet_hours() -> None:
    found = inventory(
        QUIET.replace("{alertmanager: http://am:9093}", "{alertmanager: http://am:9093, quiet_hours: false}")
    )
    assert quiet_until(found.alerts, "am", Severity.INFO, NIGHT) is None
    assert quiet_until(found.alerts, "chat", Severity.INFO, NIGHT) is not None


def test_a_heartbeat_is_due_once_a_day_from_its_time_on() -> None:
    alerts = inventory(f"{ONE}  time_zone: Europe/Berlin\n").alerts
    early, late = datetime(2026, 11, 23, 6, 59, tzinfo=UTC), datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
    assert heartbeat_due(alerts, "chat", "2026-11-22", early) is None
    assert heartbeat_due(alerts, "chat", "2026-11-22", late) == "2026-11-23"
    assert heartbeat_due(alerts, "chat", "2026-11-23", late) is None
