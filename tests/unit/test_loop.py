"""From exercises in the ledger to incidents: what opens, what proves, since when, what is news; on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core import incidents
from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Claim, Exercise, Finding, Severity, Verdict, conclude, rfc3339
from ccobs_ops.core.incident import Incident, State, acknowledge
from ccobs_ops.core.ledger import Canary, Event, Ledger
from ccobs_ops.core.loop import act, catch_up
from ccobs_ops.inventory_load import loads
from tests.ledger_support import server, url

__all__ = ["server", "url"]

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TARGET = "postgres/observatory"
INVENTORY = loads(
    "version: 1\nenvironment: lab\nstores: {us: {bucket: backups}}\n"
    "postgres: {observatory: {dsn: host=db, store: us, retention: {window: 7d}}}\n"
)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


class Estate:
    """A ledger, and a clock that stands at the end of the newest exercise."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.now = NOON
        self.ctx = Context(INVENTORY, ledger, clock=lambda: self.now)
        self.count = 0

    def found(
        self,
        claims: dict[str, str],
        *,
        end: float,
        start: float | None = None,
        capability: str = "window",
        target: str = TARGET,
        findings: tuple[Finding, ...] = (),
        details: dict[str, Any] | None = None,
        **measurements: float,
    ) -> Exercise:
        self.count += 1
        made = tuple(
            Claim(name, Verdict(verdict), f"{name} is {verdict}") for name, verdict in claims.items()
        )
        exercise = Exercise(
            f"E{self.count:04d}",
            target,
            capability,
            conclude(made),
            "why",
            at(end - 1 if start is None else start),
            at(end),
            made,
            (),
            measurements,
            findings,
            details or {},
        )
        self.ledger.record(exercise)
        self.now = max(self.now, at(end))
        return exercise

    def news(self) -> list[tuple[str, str, str]]:
        return [(each.name, each.incident.claim, each.cause) for each in catch_up(self.ctx)]

    def open(self) -> list[Incident]:
        return incidents.listed(self.ledger, open_only=True)

    def only(self) -> Incident:
        (found,) = self.open()
        return found


@pytest.fixture
def estate(tmp_path: Path) -> Iterator[Estate]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        yield Estate(ledger)


def test_it_opens_changes_and_closes_on_both_databases(url: str) -> None:
    with Ledger.open(url) as ledger:
        estate = Estate(ledger)
        estate.found({"fresh": "PASSED", "rpo": "PASSED"}, end=0)
        assert estate.news() == []
        unsure = estate.found({"fresh": "PASSED", "rpo": "UNKNOWN"}, end=10)
        broken = estate.found({"fresh": "FAILED", "rpo": "FAILED"}, end=20)
        assert estate.news() == [
            ("opened", "rpo", unsure.id),
            ("opened", "fresh", broken.id),
            ("escalated", "rpo", broken.id),
        ]
        assert estate.news() == []
        proof = estate.found({"fresh": "PASSED", "rpo": "PASSED"}, end=30)
        assert sorted(estate.news()) == [("verified", "fresh", proof.id), ("verified", "rpo", proof.id)]
        assert estate.open() == []
        assert {each.verified_by for each in incidents.listed(ledger)} == {proof.id}
        again = estate.found({"fresh": "FAILED", "rpo": "PASSED"}, end=59)
        assert estate.news() == [("reopened", "fresh", again.id)]
        for minutes in (70, 130):
            last = estate.found(
                {"fresh": "PASSED" if minutes == 70 else "FAILED", "rpo": "PASSED"}, end=minutes
            )
        assert estate.news() == [("verified", "fresh", "E0006"), ("opened", "fresh", last.id)]


def test_a_claim_that_was_not_made_is_left_alone(estate: Estate) -> None:
    estate.found({"fresh": "FAILED", "rpo": "PASSED"}, end=0)
    estate.found({"rpo": "PASSED"}, end=10)
    estate.news()
    assert estate.only().claim == "fresh"


@pytest.mark.parametrize("capability", ["restore", "retention", "repair", "remediation", "acceptance"])
def test_an_act_that_fails_is_no_incident(estate: Estate, capability: str) -> None:
    estate.found({"done": "FAILED"}, end=0, capability=capability)
    assert estate.news() == []


def test_a_dry_run_is_none_and_a_forecast_only_if_it_warns(estate: Estate) -> None:
    estate.found({"exact": "FAILED"}, end=0, capability="drill", details={"dry_run": True})
    estate.found({"rto_will_hold": "UNKNOWN"}, end=0, capability="forecast")
    assert estate.news() == []
    estate.found({"rto_will_hold": "FAILED"}, end=1, capability="forecast")
    assert [name for name, *_ in estate.news()] == ["opened"]
    assert estate.only().severity is Severity.WARNING


def test_what_was_cut_off_is_proven_by_whatever_comes_to_its_end(estate: Estate) -> None:
    estate.found({"complete": "PASSED", "finished": "UNKNOWN"}, end=0)
    assert [claim for _, claim, _ in estate.news()] == ["finished"]
    estate.found({"complete": "FAILED"}, end=10)
    assert [(name, claim) for name, claim, _ in estate.news()] == [
        ("opened", "complete"),
        ("verified", "finished"),
    ]


def test_a_sweep_of_another_folder_is_no_proof_and_a_comparison_of_all_is(estate: Estate) -> None:
    def sweep(folder: str, verdict: str, end: float) -> None:
        estate.found(
            {"complete": verdict},
            end=end,
            capability="sweep",
            target="replication/a",
            details={"prefix": folder},
        )

    sweep("a/", "FAILED", 0)
    sweep("b/", "PASSED", 10)
    sweep("c/", "FAILED", 20)
    estate.news()
    assert sorted(each.scope for each in estate.open()) == ["prefix a/", "prefix c/"]
    sweep("a/", "PASSED", 30)
    estate.news()
    assert estate.only().key == "replication/a sweep complete [prefix c/]"
    estate.found({"complete": "PASSED"}, end=40, capability="comparison", target="replication/a")
    estate.news()
    assert estate.open() == []


def test_another_day_is_no_proof_of_a_day_until_it_is_not_kept_any_more(estate: Estate) -> None:
    def validated(day: str, verdict: str, end: float, strategy: str = "random") -> None:
        details = {"day": day, "strategy": strategy}
        estate.found({"exact": verdict}, end=end, capability="validation", details=details)

    validated("2026-11-20", "FAILED", 0)
    validated("2026-11-21", "PASSED", 10)
    validated("2026-11-23", "PASSED", 20, "newest")
    estate.news()
    assert estate.only().scope == "day 2026-11-20"
    validated("2026-11-28", "PASSED", 60 * 24 * 5, "newest")
    estate.news()
    assert estate.only().scope == "day 2026-11-20"
    validated("2026-12-02", "PASSED", 60 * 24 * 9, "newest")
    estate.news()
    assert estate.open() == []


def test_an_older_failure_that_is_told_late_opens_nothing(estate: Estate) -> None:
    estate.found({"rpo": "PASSED"}, end=20, start=19)
    estate.found({"rpo": "FAILED"}, end=10, start=9)
    assert estate.news() == []
    estate.found({"rpo": "FAILED"}, end=19.5, start=9)
    assert [name for name, *_ in estate.news()] == ["opened"]


def test_a_proof_of_another_part_makes_nothing_late(estate: Estate) -> None:
    for folder, verdict, end in (("b/", "PASSED", 20), ("a/", "FAILED", 10)):
        estate.found(
            {"complete": verdict},
            end=end,
            capability="sweep",
            target="replication/a",
            details={"prefix": folder},
        )
    estate.news()
    assert estate.only().scope == "prefix a/"


def test_what_is_long_over_when_it_is_first_read_is_no_news(estate: Estate) -> None:
    estate.found({"rpo": "FAILED"}, end=0)
    estate.found({"rpo": "PASSED"}, end=10)
    estate.found({"rpo": "FAILED"}, end=60)
    estate.now = at(300)
    assert estate.news() == [("opened", "rpo", "E0003")]  # old, and it lasts
    first = incidents.listed(estate.ledger)[-1]
    assert first.replayed
    assert [each.details.get("replayed") for each in incidents.history(estate.ledger, first.id)] == [
        True,
        True,
    ]
    estate.found({"rpo": "PASSED"}, end=310)
    assert [name for name, *_ in estate.news()] == ["verified"]


def test_what_was_just_over_is_news(estate: Estate) -> None:
    estate.found({"rpo": "FAILED"}, end=0)
    estate.found({"rpo": "PASSED"}, end=10)
    assert [name for name, *_ in estate.news()] == ["opened", "verified"]


def test_it_happened_after_the_last_proof_of_the_claim(estate: Estate) -> None:
    estate.found({"rpo": "PASSED", "fresh": "FAILED"}, end=10, start=5)
    estate.found({"rpo": "FAILED", "fresh": "FAILED"}, end=20)
    estate.news()
    by_claim = {each.claim: each for each in estate.open()}
    assert (by_claim["rpo"].occurred_at, by_claim["rpo"].occurred_from) == (at(5), "last_passed")
    assert by_claim["fresh"].occurred_from == "detected"


def test_cloudtrail_knows_when_it_was_changed(estate: Estate) -> None:
    changes = [
        {"open": True, "severity": "critical", "when": rfc3339(at(7))},
        {"open": True, "severity": "warning", "when": rfc3339(at(6))},
        {"open": False, "severity": "critical", "when": rfc3339(at(1))},
    ]
    for claim, minute in (("no_critical_drift", 7), ("no_drift", 6)):
        estate.found(
            {claim: "FAILED"},
            end=20,
            capability="drift",
            target="terraform/prod",
            details={"changes": changes},
        )
        estate.news()
        found = next(each for each in estate.open() if each.claim == claim)
        assert (found.occurred_at, found.occurred_from) == (at(minute), "cloudtrail")


def test_a_change_from_before_the_last_proof_is_not_what_broke_it(estate: Estate) -> None:
    changes = [{"open": True, "severity": "critical", "when": rfc3339(at(2))}]
    for verdict, end in (("PASSED", 10), ("FAILED", 20)):
        estate.found(
            {"no_drift": verdict},
            end=end,
            capability="drift",
            target="terraform/prod",
            details={"changes": changes},
        )
    estate.news()
    assert (estate.only().occurred_at, estate.only().occurred_from) == (at(9), "last_passed")


def test_a_canary_knows_from_when_on_something_is_lost(estate: Estate) -> None:
    estate.ledger.record_canary(Canary(TARGET, 41, 1, at(8), 1, 2))
    finding = Finding("canary_missing", Severity.CRITICAL, "41, 42 …", "2 canaries missing", "restore it")
    estate.found({"exact": "FAILED"}, end=20, capability="validation", findings=(finding,))
    estate.news()
    assert (estate.only().occurred_at, estate.only().occurred_from) == (at(8), "canary")
    assert (estate.only().severity, estate.only().hint) == (Severity.CRITICAL, "restore it")


def test_a_fault_of_the_lab_knows_when_it_was_injected(estate: Estate) -> None:
    def fault(kind: str, minutes: float, target: str = TARGET, name: str = "wal-gap") -> None:
        estate.ledger.record_event(Event(target, f"fault_{kind}", name, at(minutes)))

    estate.found({"fresh": "PASSED"}, end=5)
    fault("injected", 1)  # before the last proof
    fault("injected", 6, name="canary-stopped")
    fault("healed", 7, name="canary-stopped")
    fault("injected", 8, target="terraform/prod")
    fault("injected", 9)
    estate.found({"fresh": "FAILED"}, end=20)
    estate.news()
    assert (estate.only().occurred_at, estate.only().occurred_from) == (at(9), "fault")


def test_an_operator_acknowledges_what_is_open(estate: Estate) -> None:
    estate.found({"rpo": "FAILED"}, end=0)
    estate.news()
    identifier = estate.only().id
    kept = act(estate.ledger, identifier, lambda now: acknowledge(now, who="ada", now=at(1)))
    assert kept is not None
    assert estate.only() == kept.incident
    assert estate.only().state is State.ACKNOWLEDGED
    assert act(estate.ledger, identifier, lambda now: acknowledge(now, who="bob", now=at(2))) is None
    assert act(estate.ledger, "i0", lambda now: acknowledge(now, who="bob", now=at(2))) is None
    assert estate.news() == []


def test_the_same_again_is_no_news_and_its_row_says_so(estate: Estate) -> None:
    for minutes in (0, 10, 20):
        estate.found({"rpo": "FAILED"}, end=minutes)
    assert [name for name, *_ in estate.news()] == ["opened"]
    assert estate.only().last_seen_at == at(20)
    assert len(incidents.history(estate.ledger, estate.only().id)) == 1


def test_what_an_incident_is_survives_its_json(estate: Estate) -> None:
    estate.found({"rpo": "FAILED"}, end=0)
    estate.news()
    found = replace(estate.only(), scope="day 2026-11-23", attempted_at=at(3), replayed=True)
    assert incidents.from_json(incidents.to_json(found)) == found
