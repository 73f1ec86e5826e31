"""What makes a drill red before it begins, who may approve one, and where several layers can meet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ccobs_ops.core.context import Context
from ccobs_ops.core.drill import approval
from ccobs_ops.core.drill.plan import Layer, plan
from ccobs_ops.core.drill.readiness import readiness
from ccobs_ops.core.drill.scenarios.control_plane import meet
from ccobs_ops.core.drill.situation import Asked
from ccobs_ops.core.errors import DamagedError, RefusedError, UsageError
from ccobs_ops.core.exercise import Claim, Exercise, Verdict, conclude
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.postgres.view import Span
from ccobs_ops.inventory_load import loads
from tests.unit.test_drill_plan import ESTATE

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as made:
        yield made


def proof(target: str, capability: str, hours: float, **claims: Verdict) -> Exercise:
    made = tuple(Claim(n, v, f"why {n}") for n, v in (claims or {"exact": Verdict.PASSED}).items())
    at = NOW - timedelta(hours=hours)
    return Exercise(f"{target}-{capability}-{hours}", target, capability, conclude(made), "r", at, at, made)


def all_proven(ledger: Ledger) -> None:
    for target, capability in (
        ("postgres/main", "validation"),
        ("postgres/billing", "replica_validation"),
        ("etcd/control", "restore_drill"),
    ):
        ledger.record(proof(target, capability, 1))
    clean = {"complete": Verdict.PASSED, "no_critical_drift": Verdict.PASSED, "no_drift": Verdict.PASSED}
    ledger.record(proof("terraform/production", "drift", 1, **clean))


def test_it_is_ready_when_all_was_proven_lately_and_nothing_drifted(ledger: Ledger) -> None:
    all_proven(ledger)
    claim, findings = readiness(ledger, plan(loads(ESTATE), "whole"), now=NOW)
    assert claim.verdict is Verdict.PASSED, claim.reason
    assert findings == []


def test_a_proof_that_is_too_old_makes_it_red_and_is_named(ledger: Ledger) -> None:
    all_proven(ledger)
    later = NOW + timedelta(hours=26)
    ledger.record(replace(proof("postgres/main", "validation", 0), finished_at=later))
    ledger.record(replace(proof("etcd/control", "restore_drill", 0), finished_at=later))
    claim, findings = readiness(ledger, plan(loads(ESTATE), "whole"), now=later)
    assert claim.verdict is Verdict.FAILED
    assert [(each.code, each.subject) for each in findings] == [("proof_too_old", "postgres/billing")]


def test_what_was_never_proven_and_a_proof_that_failed_make_it_red(ledger: Ledger) -> None:
    all_proven(ledger)
    estate = loads(ESTATE.replace("postgres/billing", "postgres/other").replace("billing:", "other:"))
    ledger.record(proof("postgres/other", "validation", 1, exact=Verdict.FAILED))
    claim, _ = readiness(ledger, plan(estate, "whole"), now=NOW)
    assert claim.verdict is Verdict.FAILED
    assert "postgres/other was never proven" in claim.reason


@pytest.mark.parametrize(
    ("claims", "verdict"),
    [
        ({"complete": Verdict.PASSED, "no_critical_drift": Verdict.FAILED}, Verdict.FAILED),
        ({"complete": Verdict.UNKNOWN, "no_critical_drift": Verdict.PASSED}, Verdict.UNKNOWN),
        (
            {"complete": Verdict.PASSED, "no_critical_drift": Verdict.PASSED, "no_drift": Verdict.FAILED},
            Verdict.PASSED,
        ),
    ],
)
def test_only_drift_that_recovery_rests_on_makes_it_red(
    ledger: Ledger, claims: dict[str, Verdict], verdict: Verdict
) -> None:
    all_proven(ledger)
    ledger.record(proof("terraform/production", "drift", 0.5, **claims))
    claim, _ = readiness(ledger, plan(loads(ESTATE), "whole"), now=NOW)
    assert claim.verdict is verdict


def test_a_root_that_was_never_scanned_leaves_it_unknown(ledger: Ledger) -> None:
    all_proven(ledger)
    estate = loads(ESTATE.replace("production:", "other:"))
    claim, _ = readiness(ledger, plan(estate, "whole"), now=NOW)
    assert claim.verdict is Verdict.UNKNOWN


def test_an_approval_is_of_one_plan_by_somebody_else_and_used_once(ledger: Ledger) -> None:
    estate = loads(ESTATE)
    moments = iter(NOW + timedelta(seconds=n) for n in range(100))
    ctx = Context(estate, ledger, clock=lambda: next(moments))
    whole = plan(estate, "whole")
    asked = Asked(operator="ada", reason="quarterly")
    first = approval.take(ctx, whole, asked)
    assert first.approved_by is None
    assert approval.take(ctx, whole, asked).id == first.id
    with pytest.raises(RefusedError, match="ada proposed this run"):
        approval.approve(ctx, "whole", by="ada", reason="me too")
    with pytest.raises(UsageError, match="a name and a reason"):
        approval.approve(ctx, "whole", by="grace", reason=" ")
    approval.approve(ctx, "whole", by="grace", reason="seen")
    other = approval.take(ctx, whole, replace(asked, at=NOW - timedelta(hours=1)))
    assert other.approved_by is None  # another moment is another plan
    assert approval.take(ctx, whole, asked).approved_by == "grace"
    assert approval.take(ctx, whole, asked).approved_by is None  # it was used


def test_an_approval_expires(ledger: Ledger) -> None:
    estate = loads(ESTATE)
    now = [NOW]
    ctx = Context(estate, ledger, clock=lambda: now[0])
    whole = plan(estate, "whole")
    approval.take(ctx, whole, Asked(operator="ada"))
    approval.approve(ctx, "whole", by="grace", reason="seen")
    now[0] += whole.config.approval_expires
    assert approval.take(ctx, whole, Asked(operator="ada")).approved_by is None


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def view(*spans: tuple[float, float]) -> Any:
    made = tuple(
        Span(at(low), SimpleNamespace(at=at(high), lsn=1), ("b",), 1, 2)  # type: ignore[arg-type]
        for low, high in spans
    )
    return SimpleNamespace(spans=made, describe=lambda: "its window")


def snapshots(*minutes: float) -> Any:
    return [SimpleNamespace(id=f"s{minute:g}", stopped_at=at(minute)) for minute in minutes]


PG, ETCD, EDGE = (Layer(target, "us", ()) for target in ("postgres/main", "etcd/control", "etcd/edge"))
SECONDS = timedelta(seconds=5)


def test_the_newest_snapshot_that_the_others_can_meet_is_the_moment() -> None:
    found = meet([PG, ETCD], {"main": view((0, 10))}, {"control": snapshots(2, 8, 12)}, at(60), SECONDS)
    assert found == (at(8), {"control": "s8"})


def test_nothing_after_the_disaster_is_taken() -> None:
    found = meet([PG, ETCD], {"main": view((0, 10))}, {"control": snapshots(2, 8)}, at(7), SECONDS)
    assert found == (at(2), {"control": "s2"})


def test_layers_that_cannot_meet_are_named() -> None:
    with pytest.raises(DamagedError, match=r"postgres/main cannot be restored to .*its window") as caught:
        meet([PG, ETCD], {"main": view((5, 10))}, {"control": snapshots(2, 12)}, at(60), SECONDS)
    assert caught.value.code == "layers_cannot_meet"


def test_two_clusters_of_etcd_meet_within_the_tolerance_only() -> None:
    entries = {"control": snapshots(2, 8), "edge": snapshots(2.05, 7)}
    found = meet([PG, ETCD, EDGE], {"main": view((0, 10))}, entries, at(60), SECONDS)
    assert found == (at(2.05), {"control": "s2", "edge": "s2.05"})
    with pytest.raises(DamagedError, match="etcd/edge has no snapshot within 5s"):
        entries = {"control": snapshots(8), "edge": snapshots(7)}
        meet([PG, ETCD, EDGE], {"main": view((0, 10))}, entries, at(60), SECONDS)


def test_without_etcd_they_meet_at_the_oldest_of_the_newest_commits() -> None:
    other = Layer("postgres/billing", "us", ())
    views = {"main": view((0, 10)), "billing": view((0, 9))}
    assert meet([PG, other], views, {}, at(60), SECONDS) == (at(9), {})
