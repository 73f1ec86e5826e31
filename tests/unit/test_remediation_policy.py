"""Whether to act: every bound of the policy, alone and in any order of attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccobs_ops.core.exercise import Severity, Verdict
from ccobs_ops.core.incident import Incident, State
from ccobs_ops.core.remediation import policy
from ccobs_ops.core.remediation.policy import Act, Attempt, GiveUp, Wait, decide, open_until
from ccobs_ops.core.remediation.table import TABLE, Action, action_for, rule_for, subject_of
from ccobs_ops.inventory_remediation import Breaker, Policy, Remediation, TargetPolicy

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LIMITS = Policy(
    attempts=3,
    backoff=timedelta(minutes=1),
    backoff_most=timedelta(minutes=10),
    breaker=Breaker(failures=3, window=timedelta(hours=2), rest=timedelta(hours=1)),
)
ALL = ("backup", "snapshot", "slot", "objects", "plan", "restart")


def incident(
    target: str = "postgres/observatory",
    capability: str = "freshness",
    claim: str = "backup",
    kind: Verdict = Verdict.FAILED,
    state: State = State.OPEN,
) -> Incident:
    return Incident(
        id="i1",
        target=target,
        capability=capability,
        claim=claim,
        kind=kind,
        state=state,
        severity=Severity.CRITICAL,
        reason="why",
        hint="",
        occurred_at=NOW,
        occurred_from="detected",
        detected_at=NOW,
        opened_by="x",
    )


def ended(number: int, ago_minutes: float, outcome: str, action: str = "backup") -> Attempt:
    at = NOW - timedelta(minutes=ago_minutes)
    return Attempt("i1", number, action, at, at, outcome)


def asked(
    *attempts: Attempt,
    at: Incident | None = None,
    allowed: tuple[str, ...] = ALL,
    of_target: tuple[Attempt, ...] = (),
    resets: tuple[datetime, ...] = (),
):
    about = at or incident()
    return decide(
        about, rule_for(about), attempts, of_target or attempts, LIMITS, NOW, allowed=allowed, resets=resets
    )


def test_the_first_attempt_is_made_at_once() -> None:
    assert asked() == Act(Action.BACKUP, 1)


def test_what_is_closed_needs_nothing() -> None:
    assert isinstance(asked(at=incident(state=State.CLOSED)), GiveUp)


def test_what_is_not_allowed_is_left_to_people_and_looking_is_always_allowed() -> None:
    told = asked(allowed=("snapshot",))
    assert isinstance(told, GiveUp) and "allow: [backup]" in told.hint
    look = incident(capability="validation", claim="rto")
    assert asked(at=look, allowed=()) == Act(Action.LOOK, 1)


def test_what_could_not_be_checked_is_looked_at_and_not_repaired() -> None:
    gap = incident(capability="window", claim="no_wal_gap", kind=Verdict.UNKNOWN)
    assert asked(at=gap) == Act(Action.LOOK, 1)


def test_one_attempt_at_a_time_unless_its_process_is_gone() -> None:
    running = Attempt("i1", 1, "backup", NOW - timedelta(minutes=30))
    assert isinstance(asked(running), Wait)
    assert isinstance(asked(Attempt("i1", 1, "backup", running.began_at, alive=True)), Wait)
    assert asked(Attempt("i1", 1, "backup", running.began_at, alive=False)) == Act(Action.BACKUP, 2)
    old = Attempt("i1", 1, "backup", NOW - LIMITS.deadline - timedelta(seconds=1))
    assert asked(old) == Act(Action.BACKUP, 2), "on another host: known by its deadline"


@pytest.mark.parametrize(("number", "minutes"), [(1, 1), (2, 2)])
def test_the_pause_doubles(number: int, minutes: int) -> None:
    early = [ended(each + 1, 60, policy.FAILED) for each in range(number - 1)]
    just = asked(*early, ended(number, minutes - 0.1, policy.FAILED))
    assert isinstance(just, Wait) and just.until is not None and just.until > NOW
    assert asked(*early, ended(number, minutes + 0.1, policy.FAILED)) == Act(Action.BACKUP, number + 1)


def test_it_gives_up_after_so_many_attempts_that_do_not_help() -> None:
    vain = [ended(number, 300, policy.FAILED) for number in (1, 2, 3)]
    told = asked(*vain, of_target=(ended(1, 9999, policy.VERIFIED),))
    assert isinstance(told, GiveUp) and "3 attempts" in told.reason
    helped = [ended(1, 300, policy.FAILED), ended(2, 290, policy.VERIFIED), ended(3, 280, policy.FAILED)]
    assert asked(*helped) == Act(Action.BACKUP, 4), "it helped and came back: counted anew"


def test_waiting_for_an_approval_is_no_attempt() -> None:
    drift = incident("terraform/production", "drift", "no_drift")
    waits = [ended(number, 300, policy.WAITING, "plan") for number in range(1, 9)]
    assert asked(*waits, at=drift) == Act(Action.PLAN, 9)


def test_what_was_done_is_proven_and_not_done_again() -> None:
    restored = incident(state=State.RESTORED)
    assert asked(ended(1, 30, policy.REPAIRED), at=restored) == Act(Action.LOOK, 1)


def test_damage_that_stays_in_the_archive_is_repaired_once() -> None:
    gap = incident(capability="window", claim="no_wal_gap")
    assert asked(at=gap) == Act(Action.BACKUP, 1)
    told = asked(ended(1, 300, policy.REPAIRED), at=gap)
    assert isinstance(told, GiveUp) and "retention" in told.reason


def test_the_breaker_of_a_target_opens_rests_lets_one_through_and_opens_again() -> None:
    failures = [ended(number, 90 - number, policy.FAILED) for number in (1, 2, 3)]
    last = failures[-1].ended_at
    assert last is not None
    assert open_until(failures, LIMITS, NOW - timedelta(minutes=60)) == last + LIMITS.breaker.rest
    assert open_until(failures, LIMITS, NOW) is None, "half-open: one attempt may be made"
    again = [*failures, ended(4, 1, policy.FAILED)]
    assert open_until(again, LIMITS, NOW) == NOW - timedelta(minutes=1) + LIMITS.breaker.rest
    assert open_until([*again, ended(5, 0.5, policy.VERIFIED)], LIMITS, NOW) is None
    assert open_until(again, LIMITS, NOW, resets=[NOW]) is None, "an operator closed it"
    assert open_until(failures[:2], LIMITS, NOW - timedelta(minutes=60)) is None
    told = asked(of_target=tuple(ended(number, 5, policy.FAILED) for number in (1, 2, 3)))
    assert isinstance(told, Wait) and "breaker" in told.reason
    look = incident(capability="validation", claim="rto")
    assert asked(of_target=tuple(ended(n, 5, policy.FAILED) for n in (1, 2, 3)), at=look) == Act(
        Action.LOOK, 1
    )


OUTCOMES = st.sampled_from(
    [policy.FAILED, policy.REPAIRED, policy.VERIFIED, policy.WAITING, policy.INTERRUPTED, policy.HEALTHY]
)


@given(st.lists(st.tuples(st.floats(0, 500), OUTCOMES), max_size=12))
def test_whatever_happened_before_the_bounds_hold(history: list[tuple[float, str]]) -> None:
    history = sorted(history, reverse=True)
    attempts = [ended(number + 1, ago, outcome) for number, (ago, outcome) in enumerate(history)]
    told = asked(*attempts)
    if not isinstance(told, Act):
        return
    assert told.number not in {each.number for each in attempts if each.action == told.action.value}
    if attempts and attempts[-1].ended_at is not None:
        assert NOW - attempts[-1].ended_at >= LIMITS.backoff
    vain = 0
    for each in reversed([one for one in attempts if one.outcome != policy.WAITING]):
        if each.outcome in policy.GOOD:
            break
        vain += 1
    assert vain < LIMITS.attempts
    assert open_until(attempts, LIMITS, NOW) is None


def test_every_claim_has_one_repair_and_agents_are_repaired_at_their_own_target() -> None:
    keys = [(rule.noun, rule.capability, claim) for rule in TABLE for claim in rule.claims]
    assert len(keys) == len(set(keys))
    silent = incident("ccobs/agents", "watch", "replication/backups/send")
    assert (action_for(silent), subject_of(silent)) == (Action.RESTART, "replication/backups")
    slot = incident("ccobs/agents", "watch", "postgres/observatory/slot")
    assert (action_for(slot), subject_of(slot)) == (Action.SLOT, "postgres/observatory")
    daemon = incident("ccobs/dagster", "watch", "daemon_alive")
    assert (action_for(daemon), subject_of(daemon)) == (Action.LOOK, "ccobs/dagster")


def test_a_target_says_only_what_differs() -> None:
    every = Remediation(
        attempts=5,
        targets={"etcd/x": TargetPolicy(allow=("snapshot",), restart=("systemctl", "restart", "y"))},
    )
    assert every.of("etcd/x").allow == ("snapshot",) and every.of("etcd/x").attempts == 5
    assert every.of("postgres/z").allow == ("backup", "snapshot")
    assert (
        every.restart_of("etcd/x") == ("systemctl", "restart", "y") and every.restart_of("postgres/z") == ()
    )
