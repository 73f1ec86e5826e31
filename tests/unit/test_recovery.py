"""Times to detect and to restore, and exposure: counted by hand on a small ledger, and against a naive union at random."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ccobs_ops.core import incidents
from ccobs_ops.core.exercise import Exercise, Severity, Verdict
from ccobs_ops.core.incident import Incident, State, Transition
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.recovery import Interval, Spread, exposure, recovery_times
from ccobs_ops.core.recovery import _union as union
from ccobs_ops.inventory_load import loads

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TARGET = "terraform/production"
INVENTORY = loads(
    "version: 1\nenvironment: lab\nterraform: {production: {dir: ., objectives: {time_to_detect: 15m}}}\n"
)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as made:
        yield made


def happened(
    ledger: Ledger,
    occurred: float,
    detected: float,
    verified: float | None,
    *,
    source: str = "cloudtrail",
    claim: str = "no_critical_drift",
    target: str = TARGET,
) -> None:
    incident = Incident(
        id=f"i{occurred}-{detected}-{claim}",
        target=target,
        capability="drift",
        claim=claim,
        kind=Verdict.FAILED,
        state=State.OPEN if verified is None else State.CLOSED,
        severity=Severity.CRITICAL,
        reason="why",
        hint="",
        occurred_at=at(occurred),
        occurred_from=source,
        detected_at=at(detected),
        opened_by="E",
        verified_at=None if verified is None else at(verified),
        verified_by="" if verified is None else "P",
    )
    with ledger.writing() as connection:
        incidents.keep(connection, Transition("opened", "E", at(detected), incident))


def proven(ledger: Ledger, *minutes: float) -> None:
    for each in minutes:
        ledger.record(Exercise(f"P{each}", TARGET, "drift", Verdict.PASSED, "well", at(each - 0.1), at(each)))


def test_the_times_of_a_target(ledger: Ledger) -> None:
    happened(ledger, 0, 2, 10)
    happened(ledger, 20, 26, 30, source="last_passed")
    happened(ledger, 40, 40, 41, source="detected")
    happened(ledger, 50, 51, None)
    happened(ledger, 0, 5, 6, target="terraform/other")
    found = recovery_times(ledger)
    assert list(found) == [("terraform/other", "drift"), (TARGET, "drift")]
    times = found[TARGET, "drift"]
    assert (times.count, times.open) == (4, 1)
    assert times.time_to_detect == Spread(3, 1, 120.0, 360.0, 360.0)
    assert times.time_to_restore == Spread(3, 0, 240.0, 480.0, 480.0)
    later = recovery_times(ledger, since=at(30))[TARGET, "drift"]
    assert (later.count, later.time_to_restore.max_seconds) == (2, 60.0)


def test_nothing_is_known_of_nothing(ledger: Ledger) -> None:
    assert recovery_times(ledger) == {}
    assert Spread.of([], 0) == Spread(0, 0, None, None, None)
    assert Spread.of([float(n) for n in range(1, 101)], 0) == Spread(100, 0, 50.0, 95.0, 100.0)


def exposed(ledger: Ledger, begin: float, end: float) -> list[tuple[float, float]]:
    found = exposure(ledger, INVENTORY, TARGET, at(begin), at(end))
    spans = [
        ((e.start - NOON).total_seconds() / 60, (e.end - NOON).total_seconds() / 60) for e in found.intervals
    ]
    assert found.seconds == pytest.approx(sum(stop - start for start, stop in spans) * 60)
    assert found.ratio == pytest.approx(found.seconds / ((end - begin) * 60))
    return spans


def test_never_proven_is_exposed(ledger: Ledger) -> None:
    assert exposed(ledger, 0, 60) == [(0, 60)]


def test_proofs_that_follow_each_other_leave_nothing(ledger: Ledger) -> None:
    proven(ledger, -5, 10, 25, 40, 55)
    assert exposed(ledger, 0, 60) == []


def test_a_proof_that_is_too_old_is_none(ledger: Ledger) -> None:
    proven(ledger, 10, 40, 50)
    assert exposed(ledger, 0, 60) == [(0, 10), (25, 40)]
    assert exposed(ledger, 12, 60) == [(25, 40)]
    assert exposed(ledger, 20, 80) == [(25, 40), (65, 80)]
    assert exposed(ledger, 70, 80) == [(70, 80)]


def test_an_incident_exposes_from_when_it_occurred_until_it_is_proven(ledger: Ledger) -> None:
    proven(ledger, *range(-10, 70, 10))
    happened(ledger, 12, 20, 30)
    happened(ledger, 15, 18, 35)
    happened(ledger, 50, 55, None)
    happened(ledger, 40, 42, 45, claim="no_drift")  # recovery does not need it
    assert exposed(ledger, 0, 60) == [(12, 35), (50, 60)]
    assert exposed(ledger, 31, 33) == [(31, 33)]
    assert exposed(ledger, 36, 49) == []


def test_the_union_is_that_of_every_minute() -> None:
    rng = random.Random(7)
    for _ in range(100):
        spans = [
            Interval(at(start), at(start + rng.randint(0, 20)), rng.choice("abc"))
            for start in (rng.randint(-20, 80) for _ in range(rng.randint(0, 8)))
        ]
        found = union(spans, at(0), at(60))
        covered = {m for m in range(60) if any(s.start <= at(m) < s.end for s in spans)}
        assert {m for m in range(60) if any(s.start <= at(m) < s.end for s in found)} == covered
        assert all(one.end < other.start for one, other in itertools.pairwise(found))
