"""The self-test's own rules: what counts as found, as hidden, as a false alarm, and that no fault is left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from ccobs_ops.core.exercise import Claim, Exercise, Finding, Recorder, Severity, Verdict
from ccobs_ops.core.incident import Incident, State
from ccobs_ops.lab.faults import REGISTRY
from ccobs_ops.lab.selftest import looks, run
from ccobs_ops.lab.selftest.expectations import EXPECTATIONS, expectation
from ccobs_ops.lab.selftest.outcome import Outcome, Round, conclude
from ccobs_ops.lab.selftest.run import choose_pairs

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
GAP = expectation("wal-gap")
WINDOW = GAP.looks[0]


def test_every_fault_of_the_lab_is_expected_to_lead_to_something() -> None:
    assert [each.fault for each in EXPECTATIONS] == [fault.name for fault in REGISTRY]
    for each in EXPECTATIONS:
        fault = next(fault for fault in REGISTRY if fault.name == each.fault)
        assert each.codes, each.fault
        assert not each.at or each.at in fault.targets, each.fault
        for claim in each.claims:
            target, capability, _ = claim.split(" ")
            assert looks.Look(target, capability) in each.looks, claim
        for look in each.looks:
            assert (look.target.partition("/")[0], look.capability) in looks._LOOKS


def test_pairs_are_chosen_by_the_seed_and_never_twice() -> None:
    chosen = choose_pairs(EXPECTATIONS, 30, 7)
    assert len({frozenset((a.fault, b.fault)) for a, b in chosen}) == 30
    assert all(a.fault != b.fault for a, b in chosen)
    assert chosen == choose_pairs(EXPECTATIONS, 30, 7)
    assert chosen != choose_pairs(EXPECTATIONS, 30, 8)
    assert len(choose_pairs(EXPECTATIONS[:3], 30, 7)) == 3


def seen(**changes: Any) -> run._Seen:
    from ccobs_ops.lab.faults import Damage

    damage = Damage(fault="wal-gap", target=WINDOW.target, seed=1, at=NOON, actions=())
    return run._Seen(GAP, damage, **changes)


def window(verdict: Verdict, *codes: str, claim: str = "no_wal_gap") -> Exercise:
    return Exercise(
        "E1",
        WINDOW.target,
        WINDOW.capability,
        verdict,
        "why",
        NOON,
        NOON + timedelta(seconds=9),
        (Claim(claim, verdict, "why"),),
        findings=tuple(Finding(code, Severity.CRITICAL, "00A3", "m") for code in codes),
    )


@pytest.mark.parametrize(
    ("done", "detected", "named"),
    [
        (window(Verdict.FAILED, "wal_gap"), True, True),
        (window(Verdict.FAILED, "another"), True, False),
        (window(Verdict.UNKNOWN, "not_checked"), True, False),
        (
            window(Verdict.PASSED, "wal_gap"),
            False,
            False,
        ),  # a finding beside a claim that passed is no detection
        (window(Verdict.FAILED, "wal_gap", claim="rpo"), False, False),
        (replace(window(Verdict.FAILED, "wal_gap"), target="postgres/other"), False, False),
    ],
)
def test_a_fault_is_found_by_its_claim_and_named_by_its_code(
    done: Exercise, detected: bool, named: bool
) -> None:
    one = seen()
    run._notice(one, WINDOW, done)
    assert ((one.detected_at is not None), one.named) == (detected, named)
    if detected:
        assert one.detected_at == done.finished_at


@pytest.mark.parametrize(
    ("done", "hidden"),
    [(window(Verdict.UNKNOWN, "not_checked", claim="rpo"), True), (window(Verdict.PASSED, "x"), False)],
)
def test_a_look_that_did_not_pass_may_hide_also_what_only_warns(done: Exercise, hidden: bool) -> None:
    one = replace(seen(), expected=replace(seen().expected, claims=()))
    run._notice(one, WINDOW, done)
    assert one.not_passed is hidden
    assert one.detected_at is None


def test_another_look_says_nothing() -> None:
    one = seen()
    run._notice(one, looks.Look("etcd/observatory", "health"), window(Verdict.FAILED, "wal_gap"))
    assert one.detected_at is None


def outcome(**changes: Any) -> Outcome:
    good = Outcome(
        "wal-gap",
        WINDOW.target,
        NOON,
        NOON + timedelta(seconds=4),
        True,
        verified_at=NOON + timedelta(seconds=30),
    )
    return replace(good, **changes)


def concluded(*rounds: Round) -> Exercise:
    ticks = count()
    rec = Recorder(run.TARGET, run.CAPABILITY, clock=lambda: NOON, timer=lambda: float(next(ticks)))
    conclude(rec, rounds)
    return rec.conclude()


def verdicts(exercise: Exercise) -> dict[str, str]:
    return {claim.name: claim.verdict.value for claim in exercise.claims}


def test_all_found_and_closed_passes_with_its_times() -> None:
    done = concluded(
        Round(("wal-gap",), (outcome(),)),
        Round(("wal-gap",), (outcome(detected_at=NOON + timedelta(seconds=8)),)),
    )
    assert done.verdict is Verdict.PASSED
    assert verdicts(done) == dict.fromkeys(("recall", "no_false_alarm", "closed"), "PASSED")
    assert done.measurements["recall_ratio"] == 1
    assert done.measurements["time_to_detect_max_seconds"] == 8
    assert done.measurements["time_to_restore_p50_seconds"] == 30


@pytest.mark.parametrize(
    ("one", "claim"),
    [
        (Round(("wal-gap",), (outcome(detected_at=None),)), "recall"),
        (Round(("wal-gap",), (outcome(named=False),)), "recall"),
        (
            Round(("wal-gap",), (outcome(),), false_alarms=("etcd/observatory health quorum: why",)),
            "no_false_alarm",
        ),
        (Round(("wal-gap",), (outcome(),), not_closed=("postgres/observatory window rpo",)), "closed"),
        (Round(("wal-gap",), (outcome(alerted=False),)), "told"),
    ],
)
def test_whatever_is_missing_fails_the_claim_that_it_belongs_to(one: Round, claim: str) -> None:
    done = concluded(one)
    assert {name for name, verdict in verdicts(done).items() if verdict == "FAILED"} == {claim}
    assert done.verdict is Verdict.FAILED


def test_nothing_that_could_be_injected_is_unknown() -> None:
    done = concluded(Round(("wal-gap",), (), left_out="no WAL yet"))
    assert done.verdict is Verdict.UNKNOWN
    assert [finding.code for finding in done.findings] == ["left_out"]


def test_an_incident_is_explained_by_its_claim_or_by_what_follows() -> None:
    incident = Incident(
        "I",
        WINDOW.target,
        "window",
        "no_wal_gap",
        Verdict.FAILED,
        State.OPEN,
        Severity.CRITICAL,
        "r",
        "",
        NOON,
        "fault",
        NOON,
        "E",
    )
    assert run._explains(GAP, incident)
    assert run._explains(GAP, replace(incident, capability="validation", claim="exact"))
    assert not run._explains(GAP, replace(incident, target="etcd/observatory"))
    assert run._explains(GAP, replace(incident, claim="rpo"))  # no restore reaches beyond the gap


def test_a_round_that_came_to_no_end_fails_the_recall_and_is_told() -> None:
    exercise = concluded(
        Round(("wal-gap",), (outcome(),)), Round(("store-down", "wal-gap"), (), error="a region is away")
    )
    assert exercise.verdict is Verdict.FAILED
    assert verdicts(exercise)["recall"] == "FAILED"
    assert exercise.reason.endswith("not store-down + wal-gap")
    assert [(each.code, each.message) for each in exercise.findings] == [("not_done", "a region is away")]
