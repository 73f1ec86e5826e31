"""The state machine against a naive model: exercises in any order, told late or twice, people and repairs between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ccobs_ops.core.exercise import Claim, Exercise, Verdict
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
DAMPING = timedelta(minutes=5)
BAD = (Verdict.FAILED, Verdict.UNKNOWN)


class Machine(RuleBasedStateMachine):
    """The model keeps every exercise that was told, and looks through all of them each time."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, int, Verdict]] = []
        self.kept: dict[str, Incident] = {}
        self.newest: Incident | None = None
        self.before: Incident | None = None

    def keep(self, transition: Transition | None) -> None:
        if transition is None:
            return
        self.before, after = self.newest, transition.incident
        if transition.name == "opened":
            assert self.before is None or not self.before.is_open
            assert after.id not in self.kept
        else:
            assert self.before is not None
            assert after.id == self.before.id
        if transition.name == "reopened":
            assert self.before is not None
            assert not self.before.is_open
            assert after.flaps == self.before.flaps + 1
        self.kept[after.id] = self.newest = after

    @rule(
        start=st.integers(0, 40),
        length=st.integers(0, 10),
        verdict=st.sampled_from((Verdict.PASSED, *BAD)),
        reason=st.sampled_from(("a", "b")),
    )
    def exercise(self, start: int, length: int, verdict: Verdict, reason: str) -> None:
        claim = Claim("exact", verdict, reason)
        begin, end = NOON + timedelta(minutes=start), NOON + timedelta(minutes=start + length)
        told = Exercise(f"E{len(self.told)}", "t", "c", verdict, reason, begin, end, (claim,))
        proofs = [one for one, _, said in self.told if said is Verdict.PASSED]
        last = NOON + timedelta(minutes=max(proofs)) if proofs else None
        was_open = self.newest is not None and self.newest.is_open
        self.told.append((start, start + length, verdict))
        transition = observe(self.newest, told, claim, last_passed=last, facts=Facts(), damping=DAMPING)
        self.keep(transition)
        if was_open and self.newest is not None and not self.newest.is_open:
            assert verdict is Verdict.PASSED
            assert transition is not None
            assert transition.name == "verified"

    @rule()
    def told_twice(self) -> None:
        if self.told and self.newest is not None and self.newest.is_open:
            start, end, verdict = self.told[-1]
            claim = Claim("exact", verdict, "a")
            begin, finish = NOON + timedelta(minutes=start), NOON + timedelta(minutes=end)
            again = Exercise("again", "t", "c", verdict, "a", begin, finish, (claim,))
            assert observe(self.newest, again, claim, last_passed=None, facts=Facts()) is None

    @rule(what=st.sampled_from(("acknowledge", "remediate", "restore", "give up")), minute=st.integers(0, 60))
    def somebody(self, what: str, minute: int) -> None:
        if self.newest is None:
            return
        now = NOON + timedelta(minutes=minute)
        was = self.newest
        if what == "acknowledge":
            self.keep(acknowledge(was, who="ada", now=now))
        elif what == "remediate":
            self.keep(remediating(was, cause="run", now=now))
        elif what == "restore":
            self.keep(restored(was, cause="run", now=now))
        else:
            self.keep(given_up(was, cause="run", now=now, reason="no"))
        assert self.newest.is_open is was.is_open

    @invariant()
    def open_exactly_if_a_failure_ended_after_every_proof_began(self) -> None:
        failures = [end for _, end, said in self.told if said in BAD]
        proofs = [start for start, _, said in self.told if said is Verdict.PASSED]
        expected = bool(failures) and (not proofs or max(failures) > max(proofs))
        assert (self.newest is not None and self.newest.is_open) is expected

    @invariant()
    def one_is_open_at_most(self) -> None:
        assert sum(each.is_open for each in self.kept.values()) <= 1

    @invariant()
    def it_is_whole(self) -> None:
        for each in self.kept.values():
            assert each.kind in BAD
            assert each.occurred_at <= each.detected_at
            assert (each.state is State.CLOSED) is (each.verified_at is not None) is bool(each.verified_by)
            assert (each.state is not State.ACKNOWLEDGED) or each.acknowledged_by
            assert (each.state is not State.REMEDIATING) or each.attempts > 0
            assert (each.state is not State.RESTORED) or each.restored_at is not None

    @invariant()
    def a_failure_is_not_hidden(self) -> None:
        if self.newest is not None and self.before is not None and self.newest.id == self.before.id:
            hidden = self.before.is_open and self.newest.is_open
            assert not (hidden and self.before.kind is Verdict.FAILED and self.newest.kind is Verdict.UNKNOWN)


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestMachine = Machine.TestCase
