"""Who is told what: routes, storms, escalation, reminders. Pure: no ledger, no receiver."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccobs_ops.core.alerts import compose
from ccobs_ops.core.alerts.model import Kind
from ccobs_ops.core.alerts.plan import Place
from ccobs_ops.core.alerts.routing import channels_for
from ccobs_ops.core.exercise import Severity
from ccobs_ops.core.incident import Incident, State, Transition
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.inventory_problems import InventoryError
from tests.alerts_support import NOON, closed, happened, incident
from tests.unit.told import HOUR, KEY, MINUTE, ONE, QUIET, TWO, Told, inventory, opening, several

# -- routes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "fits"),
    [
        ("{channels: [chat]}", True),
        ("{severity: critical, channels: [chat]}", True),
        ("{targets: ['postgres/obs*'], channels: [chat]}", True),
        ("{targets: [postgres/reports], channels: [chat]}", False),
        ("{capabilities: [backup, window], channels: [chat]}", False),
        ("{capabilities: ['valid*'], channels: [chat]}", True),
        ("{owners: [team:databases], channels: [chat]}", True),
        ("{owners: [team:observatory], channels: [chat]}", False),
    ],
)
def test_a_route_takes_what_fits_every_key(route: str, fits: bool) -> None:
    assert channels_for(inventory(f"{ONE}  routes: [{route}]\n"), incident()) == (("chat",) if fits else ())


def test_a_target_without_owners_has_those_of_the_inventory() -> None:
    found = inventory(f"{ONE}  routes: [{{owners: [team:observatory], channels: [chat]}}]\n")
    assert channels_for(found, incident(target="postgres/reports")) == ("chat",)


def test_a_severity_is_the_least_that_a_route_takes() -> None:
    found = inventory(f"{ONE}  routes: [{{severity: warning, channels: [chat]}}]\n")
    assert channels_for(found, incident(severity=Severity.INFO)) == ()
    assert channels_for(found, incident(severity=Severity.WARNING)) == ("chat",)


def test_a_channel_that_fails_is_told_by_the_others() -> None:
    found = inventory(f"{TWO}  routes: [{{channels: [am]}}]\n")
    own = incident(target="ccobs/alerts", capability="watch", claim="delivered")
    assert channels_for(found, own, failing=frozenset({"am"})) == ("chat",)
    assert channels_for(found, own) == ("chat", "am")


@pytest.mark.parametrize(
    ("alerts", "key"),
    [
        ("  channels: {chat: {}}\n", "alerts.channels.chat"),
        ("  channels: {chat: {apprise: env:A, alertmanager: http://am}}\n", "alerts.channels.chat"),
        ("  channels: {am: {alertmanager: 'http://u:p@am'}}\n", "alerts.channels.am.alertmanager"),
        ("  channels: {am: {alertmanager: am:9093}}\n", "alerts.channels.am.alertmanager[0]"),
        ("  channels: {am: {alertmanager: http://am, username: u}}\n", "alerts.channels.am.username"),
        ("  channels: {am: {alertmanager: http://am, expires: 90s}}\n", "alerts.channels.am.expires"),
        ("  channels: {chat: {apprise: 'json://hook'}}\n", "alerts.channels.chat.apprise"),
        (f"{ONE}  routes: [{{channels: [caht]}}]\n", "alerts.routes[0].channels"),
        (
            f"{ONE}  routes: [{{targets: [postgres/observatroy], channels: [chat]}}]\n",
            "alerts.routes[0].targets",
        ),
        (f"{ONE}  escalation: {{channels: [pager]}}\n", "alerts.escalation.channels"),
        (f"{ONE}  time_zone: Mars/Olympus\n", "alerts.time_zone"),
        (f"{ONE}  heartbeat: '25:00'\n", "alerts.heartbeat"),
        (f"{ONE}  quiet_hours: {{start: '22:00', end: '22:00'}}\n", "alerts.quiet_hours.end"),
    ],
)
def test_what_contradicts_itself_is_named(alerts: str, key: str) -> None:
    with pytest.raises(InventoryError) as caught:
        inventory(alerts)
    assert key in [problem.key for problem in caught.value.problems]


# -- opened, escalated, resolved ---------------------------------------------------------------------------------


def test_an_incident_is_told_once_and_resolved_where_it_was_told() -> None:
    told = Told(TWO)
    assert told.after(MINUTE, happened("opened", incident())) == [
        ("chat", "opened", KEY),
        ("am", "opened", KEY),
    ]
    assert told.after(MINUTE, happened("changed", incident(reason="4 canaries are missing"))) == []
    assert told.after(MINUTE) == []
    assert told.after(MINUTE, happened("verified", closed(incident(), told.now))) == [
        ("chat", "resolved", KEY),
        ("am", "resolved", KEY),
    ]
    assert told.alerts == {}
    assert told.said[1].labels == told.said[3].labels


def test_what_opens_and_closes_between_two_looks_is_told_both() -> None:
    told = Told()
    both = (happened("opened", incident()), happened("verified", closed(incident(), NOON)))
    assert told.after(MINUTE, *both) == [("chat", "opened", KEY), ("chat", "resolved", KEY)]


def test_what_opens_again_has_the_same_key() -> None:
    told = Told()
    told.after(MINUTE, happened("opened", incident(1)))
    told.after(MINUTE, happened("verified", closed(incident(1), NOON)))
    assert told.after(MINUTE, happened("opened", incident(2))) == [("chat", "opened", KEY)]


def test_a_transition_that_is_read_again_is_told_once() -> None:
    told = Told()
    told.after(MINUTE, happened("opened", incident()))
    assert told.after(MINUTE, happened("opened", incident())) == []


def test_what_becomes_worse_says_so_and_reaches_who_was_spared_before() -> None:
    told = Told(f"{TWO}  routes: [{{channels: [chat]}}, {{severity: critical, channels: [am]}}]\n")
    assert told.after(MINUTE, happened("opened", incident(severity=Severity.WARNING))) == [
        ("chat", "opened", KEY)
    ]
    assert sorted(told.after(MINUTE, happened("escalated", incident()))) == [
        ("am", "opened", KEY),
        ("chat", "escalated", KEY),
    ]


def test_a_changed_label_ends_the_alert_that_had_the_old_one() -> None:
    told = Told("  channels: {am: {alertmanager: http://am}}\n")
    told.after(MINUTE, happened("opened", incident(severity=Severity.WARNING)))
    told.after(MINUTE, happened("escalated", incident()))
    assert told.said[1].ended == told.said[0].labels
    told.after(MINUTE, happened("verified", closed(incident(), NOON)))
    assert told.said[2].labels == told.said[1].labels


def test_history_is_told_to_nobody() -> None:
    told = Told()
    assert told.after(MINUTE, happened("opened", incident(replayed=True))) == []


def test_messages_hold_no_secret_and_are_short() -> None:
    REDACT.add("hunter2hunter2")
    told = Told()
    told.after(MINUTE, happened("opened", incident(reason="password hunter2hunter2 " + "x" * 5000)))
    assert "hunter2" not in told.said[0].title + told.said[0].body + str(told.said[0].annotations)
    assert len(told.said[0].body) < 1500


# -- reminders and escalation ------------------------------------------------------------------------------------


def test_what_stays_open_is_told_again_but_not_to_alertmanager() -> None:
    told = Told(TWO)
    told.after(timedelta(0), happened("opened", incident()))
    assert told.after(timedelta(hours=3, minutes=59)) == []
    assert told.after(MINUTE) == [("chat", "reminder", KEY)]
    assert told.after(MINUTE) == []
    assert told.after(4 * HOUR) == [("chat", "reminder", KEY)]
    assert "still open after 4h" in told.said[2].body


ESCALATION = """\
  channels:
    chat: {apprise: env:CHAT}
    pager: {apprise: env:PAGER}
  routes: [{channels: [chat]}]
  escalation: {after: 30m, channels: [pager]}
"""


def test_what_nobody_acknowledged_goes_to_further_channels_once() -> None:
    told = Told(ESCALATION)
    told.after(timedelta(0), happened("opened", incident()))
    assert told.after(29 * MINUTE) == []
    assert told.after(MINUTE) == [("pager", "escalated", KEY)]
    assert told.after(MINUTE) == []
    assert "nobody acknowledged it: ccobs-ops incident ack I1" in told.said[-1].body
    assert sorted(told.after(MINUTE, happened("verified", closed(incident(), told.now)))) == [
        ("chat", "resolved", KEY),
        ("pager", "resolved", KEY),
    ]


@pytest.mark.parametrize(
    "changed", [{"acknowledged_at": NOON, "acknowledged_by": "ada"}, {"severity": Severity.WARNING}]
)
def test_what_is_acknowledged_or_mild_is_not_escalated(changed: dict[str, object]) -> None:
    told = Told(ESCALATION)
    told.after(timedelta(0), happened("opened", incident(**changed)))
    assert told.after(HOUR) == []


# -- storms ------------------------------------------------------------------------------------------------------


def test_a_storm_is_one_alert_with_its_list_resolved_when_all_are() -> None:
    told = Told()
    found = several(20)
    [(channel, kind, key)] = told.after(timedelta(0), *opening(found))
    assert (channel, kind, key) == ("chat", "opened", f"storm {found[0].key}")
    assert "20 incidents at once" in told.said[0].title
    assert all(each.key in told.said[0].body for each in found)
    for each in found[:-1]:
        assert told.after(MINUTE, happened("verified", closed(each, told.now))) == []
    assert told.after(MINUTE, happened("verified", closed(found[-1], told.now))) == [
        ("chat", "resolved", key)
    ]
    assert told.alerts == {}


def test_a_storm_that_trickles_in_takes_in_what_comes_later_and_says_so_seldom() -> None:
    told = Told()
    found = several(12)
    said = [told.after(timedelta(seconds=15), happened("opened", each)) for each in found]
    assert [len(each) for each in said[:4]] == [1, 1, 1, 1], "nobody waits for a storm to form"
    assert said[4][0][2] == f"storm {found[4].key}"
    assert "4 of the same minutes were told one by one" in told.said[4].body
    assert sum(len(each) for each in said[5:]) == 0, "what joins is told at most once in a window"
    assert told.after(timedelta(minutes=2)) == [("chat", "grown", f"storm {found[4].key}")]
    assert "8 incidents at once" in told.said[-1].title


def test_a_storm_that_becomes_worse_says_so_at_once() -> None:
    told = Told()
    told.after(timedelta(0), *opening(several(5, severity=Severity.WARNING)))
    assert [kind for _, kind, _ in told.after(MINUTE, happened("opened", incident(9)))] == ["grown"]
    assert told.said[-1].severity is Severity.CRITICAL


def test_fewer_or_further_apart_are_told_one_by_one() -> None:
    told = Told()
    assert len(told.after(timedelta(0), *opening(several(4)))) == 4
    assert told.after(timedelta(minutes=3), happened("opened", incident(9))) == [("chat", "opened", KEY)]


def test_alertmanager_groups_by_itself_and_is_told_of_each() -> None:
    told = Told(TWO)
    said = told.after(timedelta(0), *opening(several(7)))
    assert [channel for channel, _, _ in said].count("am") == 7
    assert [channel for channel, _, _ in said].count("chat") == 1


def test_a_failing_channel_is_never_lost_in_a_storm() -> None:
    told = Told()
    own = incident(99, target="ccobs/alerts", capability="watch", claim="delivered")
    said = told.after(timedelta(0), *opening([*several(6), own]))
    assert ("chat", "opened", own.key) in said
    assert len(said) == 2


# -- whatever happens --------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["opened", "verified", "escalated", "changed", "acknowledged"]),
        st.integers(0, 7),
        st.sampled_from([Severity.INFO, Severity.WARNING, Severity.CRITICAL]),
        st.integers(0, 400),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_who_was_told_that_it_is_open_is_told_that_it_ended_and_nothing_is_told_twice(
    steps: list[tuple[str, int, Severity, int, bool]],
) -> None:
    """Any order of transitions, at any times of day: per key, `opened` and `resolved` take turns, and in the end, with
    everything closed and the night over, nothing is left open anywhere.
    """
    told = Told(QUIET + "  escalation: {after: 1h, channels: [am]}\n")
    batch: list[Transition] = []
    last: dict[int, Incident] = {}
    for name, number, severity, minutes, flush in steps:
        found = incident(number, claim=f"c{number}", severity=severity)
        if name == "verified":
            found = closed(found, told.now)
        elif name == "acknowledged":
            found = replace(found, state=State.ACKNOWLEDGED, acknowledged_at=told.now)
        last[number] = found
        batch.append(happened(name, found, told.now))
        if flush:
            told.after(timedelta(minutes=minutes), *batch)
            batch = []
    told.after(timedelta(0), *batch)
    told.after(MINUTE, *(happened("verified", closed(each, told.now)) for each in last.values()))
    told.after(timedelta(days=1))

    assert told.alerts == {}
    is_open: dict[Place, bool] = {}
    for message in told.said:
        place = (message.channel, message.key)
        if message.kind is Kind.RESOLVED:
            assert is_open.get(place), f"{place} is resolved and was not open"
            is_open[place] = False
        elif message.kind is Kind.OPENED:
            assert not is_open.get(place), f"{place} is opened twice"
            is_open[place] = True
        else:
            # an escalation may be the first that its channel hears of it
            assert is_open.get(place) or message.kind is Kind.ESCALATED
            is_open[place] = True
    assert not any(is_open.values())


@pytest.mark.parametrize(
    "target", ["postgres/a", "drill/a", "ccobs/alerts", "ccobs/evidence", "ccobs/dagster", "terraform/a"]
)
def test_the_runbook_that_an_alert_names_is_there(target: str) -> None:
    named = compose.runbook_for(inventory(ONE), target).rpartition("/")[2]
    assert (Path(__file__).parents[2] / "docs" / "runbooks" / named).is_file()
