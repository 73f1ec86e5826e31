"""Each transition of an incident, one by one: what moves it, what does not, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ccobs_ops.core.exercise import Claim, Exercise, Severity, Verdict
from ccobs_ops.core.incident import (
    Facts,
    Incident,
    State,
    Transition,
    acknowledge,
    given_up,
    observe,
    remediating,
    restored,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PASSED, FAILED, UNKNOWN = Verdict.PASSED, Verdict.FAILED, Verdict.UNKNOWN


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def told(
    current: Incident | None,
    verdict: Verdict,
    start: float,
    end: float,
    *,
    last_passed: float | None = None,
    reason: str = "3 canaries are missing",
    facts: Facts | None = None,
) -> Transition | None:
    claim = Claim("exact", verdict, reason)
    exercise = Exercise(
        f"E{start}-{end}", "postgres/observatory", "validation", verdict, reason, at(start), at(end), (claim,)
    )
    known = facts or Facts()
    proof = None if last_passed is None else at(last_passed)
    return observe(current, exercise, claim, last_passed=proof, facts=known)


def after(transition: Transition | None, name: str) -> Incident:
    assert transition is not None
    assert transition.name == name
    return transition.incident


@pytest.fixture
def opened() -> Incident:
    return after(told(None, FAILED, 0, 10), "opened")


def test_it_opens_with_its_clocks() -> None:
    known = Facts(Severity.WARNING, "see the runbook", "", at(-5), "canary")
    incident = after(told(None, UNKNOWN, 0, 10, facts=known), "opened")
    assert incident.key == "postgres/observatory validation exact"
    assert (incident.kind, incident.state, incident.severity) == (UNKNOWN, State.OPEN, Severity.WARNING)
    assert (incident.occurred_at, incident.occurred_from) == (at(-5), "canary")
    assert (incident.detected_at, incident.opened_by, incident.hint) == (at(10), "E0-10", "see the runbook")
    assert after(told(None, UNKNOWN, 0, 10, facts=known), "opened").id == incident.id


def test_what_is_said_to_have_occurred_after_its_detection_is_not_believed() -> None:
    incident = after(
        told(None, FAILED, 0, 10, facts=Facts(occurred_at=at(11), occurred_from="fault")), "opened"
    )
    assert (incident.occurred_at, incident.occurred_from) == (at(10), "detected")


def test_a_claim_that_passes_opens_nothing() -> None:
    assert told(None, PASSED, 0, 10) is None


def test_a_failure_that_was_proven_good_since_opens_nothing() -> None:
    assert told(None, FAILED, 0, 10, last_passed=10) is None
    assert told(None, FAILED, 0, 10, last_passed=9) is not None


def test_only_a_proof_that_began_after_the_failure_closes(opened: Incident) -> None:
    assert told(opened, PASSED, 9, 30) is None
    closed = after(told(opened, PASSED, 10, 30), "verified")
    assert (closed.state, closed.verified_at, closed.verified_by) == (State.CLOSED, at(30), "E10-30")
    assert not closed.is_open


def test_it_must_begin_after_the_newest_failure(opened: Incident) -> None:
    again = after(told(opened, FAILED, 20, 25), "seen")
    assert told(again, PASSED, 15, 40) is None
    assert told(again, PASSED, 25, 40) is not None


def test_unknown_never_closes_and_never_hides_a_failure(opened: Incident) -> None:
    hidden = after(told(opened, UNKNOWN, 20, 21, reason="the store is down"), "seen")
    assert (hidden.kind, hidden.reason, hidden.last_seen_at) == (FAILED, opened.reason, at(21))


def test_a_failure_after_unknown_escalates() -> None:
    unknown = after(told(None, UNKNOWN, 0, 10), "opened")
    assert after(told(unknown, FAILED, 11, 12), "escalated").kind is FAILED


def test_a_graver_failure_escalates_and_a_lighter_one_changes() -> None:
    light = after(told(None, FAILED, 0, 10, facts=Facts(Severity.WARNING)), "opened")
    grave = after(told(light, FAILED, 11, 12, facts=Facts(Severity.CRITICAL)), "escalated")
    assert after(told(grave, FAILED, 13, 14, facts=Facts(Severity.WARNING)), "changed").severity == "warning"


def test_another_reason_is_news_and_other_figures_are_not(opened: Incident) -> None:
    same = after(told(opened, FAILED, 20, 21, reason="4 canaries are missing"), "seen")
    assert same.reason == "4 canaries are missing"
    after(told(opened, FAILED, 20, 21, reason="a page is corrupt"), "changed")


def test_what_is_told_late_or_twice_changes_nothing(opened: Incident) -> None:
    assert told(opened, FAILED, 0, 10) is None
    assert told(opened, FAILED, -5, 5) is None


def test_it_fails_again_soon_after_its_proof_and_is_the_same_incident(opened: Incident) -> None:
    closed = after(told(acknowledged(opened), PASSED, 10, 30), "verified")
    again = after(told(closed, FAILED, 50, 60, last_passed=10), "reopened")
    assert (again.id, again.flaps, again.state, again.detected_at) == (opened.id, 1, State.OPEN, at(10))
    assert (again.verified_at, again.verified_by, again.acknowledged_at) == (None, "", None)
    assert after(told(closed, FAILED, 50, 61, last_passed=10), "opened").id != opened.id


def test_a_failure_that_overlaps_its_proof_opens_it_again(opened: Incident) -> None:
    closed = after(told(opened, PASSED, 10, 30), "verified")
    assert after(told(closed, FAILED, 12, 20, last_passed=10), "reopened").last_seen_at == at(20)
    assert told(closed, FAILED, 5, 10, last_passed=10) is None


def acknowledged(incident: Incident) -> Incident:
    return after(acknowledge(incident, who="ada", now=at(11), note="looking"), "acknowledged")


def test_acknowledged_once_and_only_while_it_is_open(opened: Incident) -> None:
    seen = acknowledged(opened)
    assert (seen.state, seen.acknowledged_at, seen.acknowledged_by) == (State.ACKNOWLEDGED, at(11), "ada")
    assert acknowledge(seen, who="bob", now=at(12)) is None
    closed = after(told(opened, PASSED, 10, 30), "verified")
    assert acknowledge(closed, who="ada", now=at(31)) is None


def test_an_acknowledgement_does_not_stop_a_repair(opened: Incident) -> None:
    repairing = after(remediating(opened, cause="run 1", now=at(11)), "remediating")
    assert acknowledged(repairing).state is State.REMEDIATING


def test_a_repair_its_success_and_its_proof(opened: Incident) -> None:
    first = after(remediating(opened, cause="run 1", now=at(11)), "remediating")
    second = after(remediating(first, cause="run 2", now=at(12)), "remediating")
    assert (second.attempts, second.remediation_started_at, second.attempted_at) == (2, at(11), at(12))
    mended = after(restored(second, cause="run 2", now=at(13)), "restored")
    assert (mended.state, mended.restored_at, mended.is_open) == (State.RESTORED, at(13), True)
    closed = after(told(mended, PASSED, 13, 14), "verified")
    assert (closed.restored_at, closed.verified_at) == (at(13), at(14))


def test_a_repair_that_does_not_hold(opened: Incident) -> None:
    repairing = after(remediating(opened, cause="run 1", now=at(11)), "remediating")
    assert after(told(repairing, FAILED, 11, 12), "seen").state is State.REMEDIATING
    mended = after(restored(repairing, cause="run 1", now=at(13)), "restored")
    assert (
        after(told(mended, FAILED, 12, 14), "seen").state is State.RESTORED
    )  # it looked before the repair was done
    still = after(told(mended, FAILED, 13, 15), "changed")
    assert (still.state, still.restored_at) == (State.OPEN, None)
    known = replace(mended, acknowledged_at=at(11), acknowledged_by="ada")
    assert after(told(known, UNKNOWN, 13, 15), "changed").state is State.ACKNOWLEDGED


def test_a_repair_that_is_given_up(opened: Incident) -> None:
    repairing = after(remediating(opened, cause="run 1", now=at(11)), "remediating")
    again = after(given_up(repairing, cause="run 1", now=at(12), reason="the store is full"), "changed")
    assert again.state is State.OPEN
    assert given_up(again, cause="run 1", now=at(13), reason="") is None
    assert restored(again, cause="run 1", now=at(13)) is None


def test_nothing_begins_at_a_closed_one(opened: Incident) -> None:
    closed = after(told(opened, PASSED, 10, 30), "verified")
    assert remediating(closed, cause="run 1", now=at(31)) is None
    assert told(closed, PASSED, 40, 41) is None
