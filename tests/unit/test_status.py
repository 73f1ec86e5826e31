"""The status of a target is the worst that is known of it, and what is not known is never good."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.status import TargetStatus, look, worst
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import loads

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
TARGET = "postgres/observatory"
INVENTORY = loads(
    "version: 1\nenvironment: lab\nstores: {us: {bucket: backups}}\n"
    "postgres: {observatory: {dsn: host=db, store: us}}\n"
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


def found(
    ledger: Ledger, capability: str, verdict: str = "PASSED", *, hours: float = 1, **measurements: float
) -> None:
    at = NOW - timedelta(hours=hours)
    name = f"{capability}-{hours}"
    ledger.record(
        Exercise(name, TARGET, capability, Verdict(verdict), f"why {name}", at, at, measurements=measurements)
    )


def all_is_well(ledger: Ledger) -> None:
    for capability in ("backup", "window"):
        found(ledger, capability)
    found(ledger, "validation", rto_seconds=9.8, rpo_seconds=0.9)
    for component in ("wal", "canary"):
        ledger.beat(TARGET, component, NOW - timedelta(seconds=2), {})


def status(ledger: Ledger) -> TargetStatus:
    (only,) = look(INVENTORY, ledger, now=NOW)
    return only


def test_all_proven(ledger: Ledger) -> None:
    all_is_well(ledger)
    target = status(ledger)
    assert target.verdict is Verdict.PASSED
    assert (target.rto_seconds, target.rpo_seconds) == (9.8, 0.9)
    assert [each.proof_age_seconds for each in target.capabilities] == [3600.0] * 3


def test_nothing_exercised_is_unknown(ledger: Ledger) -> None:
    target = status(ledger)
    assert target.verdict is Verdict.UNKNOWN
    assert {each.reason for each in target.capabilities} == {"never exercised"}
    assert target.rto_seconds is None


@pytest.mark.parametrize("verdict", ["FAILED", "UNKNOWN"])
@pytest.mark.parametrize("capability", ["backup", "window", "validation"])
def test_one_that_did_not_pass_decides(ledger: Ledger, capability: str, verdict: str) -> None:
    all_is_well(ledger)
    found(ledger, capability, verdict, hours=0.5)
    target = status(ledger)
    assert target.verdict == verdict
    each = next(each for each in target.capabilities if each.capability == capability)
    assert each.reason == f"why {capability}-0.5"
    assert each.proof_age_seconds == 3600  # the proof before it still counts as a proof of then


def test_a_proof_that_is_too_old_is_unknown(ledger: Ledger) -> None:
    for component in ("wal", "canary"):
        ledger.beat(TARGET, component, NOW, {})
    for capability in ("backup", "window"):
        found(ledger, capability)
    found(ledger, "validation", hours=26)
    assert status(ledger).verdict is Verdict.PASSED
    later = NOW + timedelta(seconds=1)
    (target,) = look(INVENTORY, ledger, now=later)
    assert target.verdict is Verdict.UNKNOWN
    assert "counts for 1d2h (backup_age)" in target.capabilities[2].reason


def test_a_failure_that_is_old_is_still_a_failure(ledger: Ledger) -> None:
    all_is_well(ledger)
    found(ledger, "restore", "FAILED", hours=100)
    assert status(ledger).verdict is Verdict.PASSED  # shown, and does not count
    assert status(ledger).capabilities[3].verdict is Verdict.FAILED


def test_an_agent_that_is_gone_or_complains_is_unknown(ledger: Ledger) -> None:
    all_is_well(ledger)
    ledger.beat(TARGET, "wal", NOW - timedelta(minutes=16), {})
    assert status(ledger).verdict is Verdict.UNKNOWN
    assert "last seen 16m ago" in status(ledger).components[0].reason
    ledger.beat(TARGET, "wal", NOW, {"error": "the store does not answer"})
    assert status(ledger).verdict is Verdict.UNKNOWN
    assert status(ledger).components[0].reason == "the store does not answer"


def test_figures_come_from_the_newest_validation_that_measured_them(ledger: Ledger) -> None:
    all_is_well(ledger)
    found(ledger, "validation", "UNKNOWN", hours=0.1)
    assert status(ledger).rto_seconds == 9.8


def test_worst(ledger: Ledger) -> None:
    passed, failed, unknown = Verdict.PASSED, Verdict.FAILED, Verdict.UNKNOWN
    assert worst([passed, unknown, failed]) is failed
    assert worst([passed, unknown]) is unknown
    assert worst([passed, passed]) is passed
    assert worst([]) is unknown
    assert look(Inventory(version=1, environment="lab"), ledger, now=NOW) == ()
