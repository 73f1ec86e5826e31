"""Alerts arrive at real receivers: a recording webhook by apprise, and Debian's Alertmanager by its API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ccobs_ops.core.alerts.dispatch import dispatch
from ccobs_ops.core.exercise import Severity, Verdict, utc_now
from tests.alerts_support import (
    NOON,
    PASSWORD,
    Alertmanager,
    Clock,
    Webhook,
    closed,
    context,
    estate,
    free_port,
    happened,
    incident,
    keep,
    needs_alertmanager,
    wait_for,
)

KEY = "postgres/observatory validation exact"
HOOK = "  channels:\n    hook: {apprise: file:secrets/hook, timeout: 2s, attempts: 3, heartbeat: false}\n"


@pytest.fixture
def hook() -> Iterator[Webhook]:
    made = Webhook()
    try:
        yield made
    finally:
        made.close()


def test_a_webhook_is_told_of_an_incident_and_of_its_end(tmp_path: Path, hook: Webhook) -> None:
    inventory = estate(tmp_path, HOOK + "  base_url: https://dagster.example.com\n", {"hook": hook.url})
    clock = Clock()
    with context(inventory, clock) as ctx:
        dispatch(ctx)
        keep(ctx.ledger, happened("opened", incident()))
        done = dispatch(ctx)
        assert (done.planned, done.sent, done.waiting, done.failed) == (1, 1, 0, ())
        assert dispatch(ctx).sent == 0
        clock.forward(timedelta(minutes=7))
        keep(ctx.ledger, happened("verified", closed(incident(), clock.now), clock.now))
        assert dispatch(ctx).sent == 1

    opened, resolved = hook.bodies
    assert opened["title"] == "[CRITICAL] postgres/observatory validation: exact FAILED"
    assert (opened["type"], opened["key"], opened["kind"], opened["number"]) == (
        "failure",
        KEY,
        "opened",
        "1",
    )
    for part in (
        "3 canaries are missing",
        "HINT: see the window",
        "occurred 2026-11-23 11:55:00 UTC (last passed), detected 2026-11-23 12:00:00 UTC",
        "https://dagster.example.com/assets/postgres/observatory/validation",
        "docs/runbooks/postgres.md",
        "ccobs-ops incident show I1",
    ):
        assert part in opened["message"]
    assert (resolved["type"], resolved["key"], resolved["kind"]) == ("success", KEY, "resolved")
    assert "proven again after 7m" in resolved["title"]


def test_nothing_is_lost_while_a_receiver_is_down(tmp_path: Path) -> None:
    port = free_port()
    inventory = estate(tmp_path, HOOK, {"hook": f"json://127.0.0.1:{port}/hook"})
    clock = Clock()
    numbers = range(1, 4)
    with context(inventory, clock) as ctx:
        dispatch(ctx)
        keep(ctx.ledger, *(happened("opened", incident(n, claim=f"c{n}")) for n in numbers))
        assert dispatch(ctx).failed == ("hook",)
        assert dispatch(ctx).failed == (), "it is not tried again before its time"
        for _ in range(4):
            clock.forward(timedelta(minutes=5))
            dispatch(ctx)
        keep(ctx.ledger, happened("verified", closed(incident(1, claim="c1"), clock.now), clock.now))
        done = dispatch(ctx)
        assert done.failing == ("hook",)

        watched = ctx.ledger.latest("ccobs/alerts", "watch")
        assert watched is not None
        claim = watched.claim("delivered")
        assert claim is not None
        assert claim.verdict is Verdict.FAILED
        assert claim.reason.startswith("1 of 1 channels do not deliver: hook: the channel hook did not take")

        back = Webhook(port)
        try:
            clock.forward(timedelta(minutes=5))
            assert dispatch(ctx).waiting == 0
        finally:
            back.close()
        watched = ctx.ledger.latest("ccobs/alerts", "watch")
        assert watched is not None
        assert watched.verdict is Verdict.PASSED
    assert sorted(back.told) == sorted(
        [
            *(("opened", f"postgres/observatory validation c{n}") for n in numbers),
            ("resolved", "postgres/observatory validation c1"),
        ]
    )
    assert back.told.index(("opened", "postgres/observatory validation c1")) < back.told.index(
        ("resolved", "postgres/observatory validation c1")
    )


def test_a_receiver_that_does_not_answer_leaves_it_unknown_and_holds_up_no_other(
    tmp_path: Path, hook: Webhook
) -> None:
    slow = Webhook()
    slow.hang = 30
    alerts = (
        "  channels:\n"
        "    hook: {apprise: file:secrets/hook}\n"
        f"    am: {{alertmanager: 'http://127.0.0.1:{slow.port}', timeout: 500ms, attempts: 1}}\n"
    )
    inventory = estate(tmp_path, alerts, {"hook": hook.url})
    try:
        with context(inventory, Clock()) as ctx:
            dispatch(ctx)
            keep(ctx.ledger, happened("opened", incident()))
            done = dispatch(ctx)
            assert (done.sent, done.failed, done.failing) == (1, ("am",), ("am",))
            assert hook.told == [("opened", KEY)]
            watched = ctx.ledger.latest("ccobs/alerts", "watch")
            assert watched is not None
            assert watched.verdict is Verdict.UNKNOWN
            assert "no answer within 0.5 s" in watched.reason
    finally:
        slow.close()


@needs_alertmanager
def test_alertmanager_is_told_while_it_is_open_and_that_it_ended(tmp_path: Path, hook: Webhook) -> None:
    manager = Alertmanager(tmp_path / "am", receiver=hook, login=True)
    alerts = (
        "  channels:\n"
        f"    am: {{alertmanager: '{manager.url}', username: ccobs, password: file:secrets/am, repeat: 1m}}\n"
    )
    inventory = estate(tmp_path, alerts, {"am": PASSWORD})
    start = utc_now()
    clock = Clock(start)
    found = incident(detected_at=start, occurred_at=start)
    try:
        with context(inventory, clock) as ctx:
            dispatch(ctx)
            keep(ctx.ledger, happened("opened", found, start))
            assert dispatch(ctx).sent == 1
            [alert] = manager.alerts()
            assert alert["labels"] == {
                "alertname": "CcobsIncident",
                "environment": "lab",
                "noun": "postgres",
                "target": "postgres/observatory",
                "capability": "validation",
                "claim": "exact",
                "severity": "critical",
            }
            assert alert["annotations"]["description"] == "3 canaries are missing"
            first_end = alert["endsAt"]
            wait_for(lambda: hook.bodies, "no notification of what is open")
            assert hook.bodies[0]["status"] == "firing"

            clock.forward(timedelta(minutes=2))
            assert dispatch(ctx).sent == 0
            [alert] = manager.alerts()
            assert alert["endsAt"] > first_end, "it is sent again while it is open"

            clock.now = utc_now()
            keep(ctx.ledger, happened("verified", closed(found, clock.now), clock.now))
            assert dispatch(ctx).sent == 1
            wait_for(lambda: manager.alerts() == [], "it is not resolved")
            wait_for(lambda: hook.bodies[-1]["status"] == "resolved", "no notification of the end")
            assert hook.bodies[-1]["alerts"][0]["labels"] == hook.bodies[0]["alerts"][0]["labels"]
    finally:
        manager.close()


@needs_alertmanager
def test_an_incident_that_becomes_worse_replaces_its_alert(tmp_path: Path, hook: Webhook) -> None:
    manager = Alertmanager(tmp_path / "am", receiver=hook)
    inventory = estate(tmp_path, f"  channels:\n    am: {{alertmanager: ['{manager.url}']}}\n", {})
    start = utc_now()
    mild = incident(severity=Severity.WARNING, detected_at=start, occurred_at=start)
    try:
        with context(inventory, utc_now) as ctx:
            dispatch(ctx)
            keep(ctx.ledger, happened("opened", mild, start))
            dispatch(ctx)
            assert [each["labels"]["severity"] for each in manager.alerts()] == ["warning"]
            keep(ctx.ledger, happened("escalated", replace(mild, severity=Severity.CRITICAL), start))
            dispatch(ctx)
            wait_for(
                lambda: [each["labels"]["severity"] for each in manager.alerts()] == ["critical"],
                "the alert of the severity before is still there",
            )
    finally:
        manager.close()


@needs_alertmanager
def test_a_wrong_password_fails_the_channel_and_names_it_to_the_others(tmp_path: Path, hook: Webhook) -> None:
    manager = Alertmanager(tmp_path / "am", receiver=None, login=True)
    alerts = (
        "  channels:\n"
        "    hook: {apprise: file:secrets/hook, timeout: 2s, heartbeat: false}\n"
        f"    am: {{alertmanager: '{manager.url}', username: ccobs, password: file:secrets/am, attempts: 2}}\n"
    )
    inventory = estate(tmp_path, alerts, {"hook": hook.url, "am": "wrong-password"})
    clock = Clock(utc_now())  # a real Alertmanager ends by its own clock what is past
    try:
        with context(inventory, clock) as ctx:
            dispatch(ctx)
            keep(ctx.ledger, happened("opened", incident()))
            assert dispatch(ctx).failed == ("am",)
            clock.forward(timedelta(minutes=1))
            assert dispatch(ctx).failing == ("am",)
            watched = ctx.ledger.latest("ccobs/alerts", "watch")
            assert watched is not None
            assert "answered 401" in watched.reason
            assert "wrong-password" not in str(watched.to_json())

            # what the reducer makes of that reaches the channel that works, and only that one
            own = incident(7, target="ccobs/alerts", capability="watch", claim="delivered")
            keep(ctx.ledger, happened("opened", own, clock.now))
            dispatch(ctx)
            assert hook.told == [("opened", KEY), ("opened", "ccobs/alerts watch delivered")]
            assert manager.alerts() == []

            (tmp_path / "secrets" / "am").write_text(PASSWORD)
            clock.forward(timedelta(minutes=10))
            assert dispatch(ctx).failing == ()
            assert {each["labels"]["target"] for each in manager.alerts()} == {"postgres/observatory"}
            watched = ctx.ledger.latest("ccobs/alerts", "watch")
            assert watched is not None
            assert watched.verdict is Verdict.PASSED
    finally:
        manager.close()


def test_the_first_dispatch_tells_what_is_open_and_not_the_past(tmp_path: Path, hook: Webhook) -> None:
    inventory = estate(tmp_path, HOOK, {"hook": hook.url})
    with context(inventory, Clock()) as ctx:
        old = incident(1, claim="old")
        keep(ctx.ledger, happened("opened", old), happened("verified", closed(old, NOON)))
        keep(ctx.ledger, happened("opened", incident(2)))
        dispatch(ctx)
        dispatch(ctx)
    assert hook.told == [("opened", KEY)]
