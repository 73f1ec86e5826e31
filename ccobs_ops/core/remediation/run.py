"""One attempt at an incident, from looking again to the proof; and what is due for all of them.

    lock of the target -> look again -> still wrong? -> claim the attempt -> act -> `restored` -> look again -> on record

Whoever dies on the way leaves an attempt that is known to be interrupted, and the next one looks again before it
acts: what was done already is then seen, and not done twice. Only the reducer closes the incident, by the exercise
that proves the claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ccobs_ops.core import incidents
from ccobs_ops.core.errors import OpsError, UsageError
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.folders import try_only_one
from ccobs_ops.core.guard import permit
from ccobs_ops.core.incident import Incident, given_up, restored
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.remediation import actions, history, policy
from ccobs_ops.core.remediation.policy import Act, Decision, GiveUp, Wait, decide
from ccobs_ops.core.remediation.table import Action, Rule, action_for, rule_for, subject_of

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context

_MOST_OPEN = 1_000
_SEEN_BY_THE_WATCH = frozenset({"watch", "freshness"})
SKIPPED, PLANNED = "skipped", "planned"


@dataclass(frozen=True, slots=True)
class Due:
    """An open incident, the target that a repair would act on, and what is to be done about it now."""

    incident: Incident
    subject: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Remedied:
    """What an attempt came to. `outcome` is one of `policy`'s, or `skipped`, or `planned` for a dry run.

    `before` and `after` exercised the claim, `done` is the repair; None where it did not come to that.
    """

    incident: Incident
    subject: str
    action: Action
    outcome: str
    reason: str
    before: Exercise | None = None
    done: Exercise | None = None
    after: Exercise | None = None


def due(ctx: Context) -> list[Due]:
    """Every open incident, oldest first, with what is to be done about it now; reads the ledger only.

    Of several incidents that the same repair of the same target would end, only the oldest gets it.
    """
    open_ones = incidents.listed(ctx.ledger, open_only=True, limit=_MOST_OPEN)
    known = [look_at(ctx, one) for one in sorted(open_ones, key=lambda one: (one.detected_at, one.id))]
    repairs = [
        one for one in known if isinstance(one.decision, Act) and one.decision.action is not Action.LOOK
    ]
    taken = {_looks_at(one.incident) for one in repairs}  # a repair looks at what it repairs
    begun: set[tuple[str, Action]] = set()
    found: list[Due] = []
    for one in known:
        if isinstance(one.decision, Act):
            action = one.decision.action
            same = (
                _looks_at(one.incident) in taken if action is Action.LOOK else (one.subject, action) in begun
            )
            if same:
                one = Due(one.incident, one.subject, Wait(f"another incident of {one.subject} gets the same"))
            elif action is Action.LOOK:
                taken.add(_looks_at(one.incident))
            else:
                begun.add((one.subject, action))
        found.append(one)
    return found


def _looks_at(incident: Incident) -> tuple[str, str, str]:
    """What one look is a look at: a capability of a target, or of a part of it."""
    return incident.target, incident.capability, incident.scope


def look_at(ctx: Context, incident: Incident, *, held: bool = False) -> Due:
    """What is to be done about `incident` now; `held` tells that the caller holds the lock of its target."""
    now, subject, rule = ctx.clock(), subject_of(incident), rule_for(incident)
    limits = ctx.inventory.remediation.of(subject)
    noun, _, name = subject.partition("/")
    if noun != "ccobs" and name not in getattr(ctx.inventory, noun, {}):
        return Due(incident, subject, GiveUp(f"the inventory no longer has {subject}"))
    if rule is None and not _can_look(incident):
        return Due(
            incident,
            subject,
            GiveUp("there is no repair for it; it is looked at by its own clock", incident.hint),
        )
    since = now - limits.breaker.window - limits.breaker.rest
    decision = decide(
        incident,
        rule,
        history.attempts_of(ctx, incident, subject, held=held),
        history.ended_at_target(ctx.ledger, subject, since),
        limits,
        now,
        allowed=actions.allowed(ctx.inventory, subject),
        resets=history.resets(ctx.ledger, subject, since),
    )
    if isinstance(decision, Act) and decision.action is Action.PLAN:
        from ccobs_ops.core.terraform.wanted import not_now  # noqa: PLC0415

        if why := not_now(ctx.ledger, name, ctx.inventory.terraform[name], now):
            decision = Wait(why)
    return Due(incident, subject, decision)


def find(ctx: Context, prefix: str) -> Incident:
    """The one incident whose id begins with `prefix`. Raises UsageError when there is none, or several."""
    found = incidents.find(ctx.ledger, prefix)
    if len(found) != 1:
        raise UsageError(
            f"{'no' if not found else 'more than one'} incident is called {prefix!r}",
            hint="see them: ccobs-ops incident list",
        )
    return found[0]


def remediate(
    ctx: Context,
    prefix: str,
    *,
    dry_run: bool = True,
    confirmation: str | None = None,
    by: str,
    by_hand: bool = True,
) -> Remedied:
    """One attempt at the incident whose id begins with `prefix`.

    A dry run (default) only looks at the ledger and says what would be done. Otherwise `confirmation` must be the
    target that is acted on. `by_hand` leaves out the bounds that are meant for the machine: number of attempts,
    back-off, breaker. Raises UsageError for an incident that is not there, RefusedError when the guard refuses.
    """
    catch_up(ctx)
    incident = find(ctx, prefix)
    subject = subject_of(incident)
    with try_only_one(history.subject_lock(ctx, subject)) as free:
        decided = _decided(ctx, incident, subject, free=free, by_hand=by_hand)
        if not isinstance(decided, Act):
            return Remedied(incident, subject, action_for(incident), SKIPPED, decided.reason)
        if dry_run:
            return Remedied(incident, subject, decided.action, PLANNED, _planned(incident, subject, decided))
        return _Attempt(ctx, incident, subject, decided, by).run(confirmation)


def catch_up(ctx: Context) -> None:
    """Let the reducer read what the ledger has gained."""
    from ccobs_ops.core.loop import catch_up as reduce  # noqa: PLC0415

    reduce(ctx)


def _decided(ctx: Context, incident: Incident, subject: str, *, free: bool, by_hand: bool) -> Decision:
    if not free:
        return Wait(f"another repair of {subject} runs on this host")
    decision = look_at(ctx, incident, held=True).decision
    if not by_hand or isinstance(decision, Act) or not incident.is_open:
        return decision
    if rule_for(incident) is None and not _can_look(incident):
        return decision
    known = history.attempts_of(ctx, incident, subject, held=True)
    action = action_for(incident)
    return Act(
        action,
        max(
            (one.number for one in known if (one.action == Action.LOOK) is (action is Action.LOOK)), default=0
        )
        + 1,
    )


def _planned(incident: Incident, subject: str, decided: Act) -> str:
    rule = rule_for(incident)
    does = (
        rule.does
        if rule is not None and decided.action is rule.action
        else "looks again, and changes nothing"
    )
    return f"attempt {decided.number} at {subject}: {decided.action.value}: {does}"


def _can_look(incident: Incident) -> bool:
    noun = incident.target.partition("/")[0]
    return incident.capability not in _SEEN_BY_THE_WATCH and (noun, incident.capability) in actions.LOOKS


class _Attempt:
    """One attempt on its way; the lock of its target is held."""

    def __init__(self, ctx: Context, incident: Incident, subject: str, decided: Act, by: str) -> None:
        self.ctx, self.incident, self.subject, self.decided, self.by = ctx, incident, subject, decided, by
        self.rule: Rule | None = rule_for(incident)
        self.before: Exercise | None = None
        self.done: Exercise | None = None
        self.after: Exercise | None = None

    def run(self, confirmation: str | None) -> Remedied:
        """Look, act, look; whatever comes of it is on record."""
        if self.decided.action is not Action.LOOK:
            self._ask_guard(confirmation)
        self.before = self._look("looking again before anything is done")
        verdict = self._verdict(self.before)
        if verdict is Verdict.PASSED:
            return self._end(Action.LOOK, policy.HEALTHY, "it is as it should be by now")
        if self.decided.action is Action.LOOK:
            return self._end(Action.LOOK, policy.FAILED, self._told(self.before))
        if verdict is Verdict.UNKNOWN and self.rule is not None and Verdict.UNKNOWN not in self.rule.kinds:
            return self._end(
                Action.LOOK, policy.FAILED, f"nothing is repaired blindly: {self._told(self.before)}"
            )
        begun = history.begin(
            self.ctx, self.incident, self.decided.number, self.decided.action.value, self.by
        )
        if begun is None:
            return self._result(SKIPPED, "somebody else has begun this attempt, or it is closed")
        self.incident = begun
        try:
            return self._act(confirmation)
        except OpsError as error:
            return self._failed(error.message.splitlines()[0])
        except BaseException as error:
            self._failed(f"it was interrupted: {type(error).__name__}")
            raise

    def _ask_guard(self, confirmation: str | None) -> None:
        """Before anything is asked of a server; `actions.act` asks again right before it acts."""
        action = self.decided.action.value
        granted = actions.allowed(self.ctx.inventory, self.subject)
        permit(action, self.subject, allowed=granted, dry_run=False, confirmation=confirmation)

    def _act(self, confirmation: str | None) -> Remedied:
        action = self.decided.action
        self.ctx.progress.note(f"{action.value} of {self.subject}, attempt {self.decided.number}")
        self.done = actions.act(
            self.ctx, self.incident, action, before=self.before, confirmation=confirmation, by=self.by
        )
        if self.done.verdict is not Verdict.PASSED and not _good_enough(action, self.done):
            if _waits(self.done):
                return self._failed(self.done.reason, outcome=policy.WAITING)
            return self._failed(f"{action.value}: {self.done.reason}")
        cause = self.done.id
        moved = history.move(
            self.ctx, self.incident, lambda now: restored(now, cause=cause, now=self.ctx.clock())
        )
        self.incident = moved or self.incident
        self.after = self._look("looking whether it helped")
        proven = self._verdict(self.after)
        if proven is Verdict.PASSED:
            return self._end(action, policy.VERIFIED, self.done.reason)
        if proven is Verdict.FAILED and not (self.rule is not None and self.rule.lasting):
            return self._end(action, policy.FAILED, f"it was done and did not help: {self._told(self.after)}")
        return self._end(action, policy.REPAIRED, self.done.reason)

    def _look(self, why: str) -> Exercise | None:
        self.ctx.progress.note(why)
        try:
            found = actions.look(self.ctx, self.incident)
        except OpsError as error:
            self.ctx.progress.note(f"it cannot be looked at: {REDACT(error.message)}")
            return None
        catch_up(self.ctx)
        return found

    def _verdict(self, exercise: Exercise | None) -> Verdict | None:
        """What `exercise` says of the incident's claim; None where it was not exercised."""
        if exercise is None and self.done is not None and self.done.capability == self.incident.capability:
            exercise = self.done  # a backup proves a backup
        if exercise is None:
            return None
        claim = exercise.claim(self.incident.claim)
        if claim is not None:
            return claim.verdict
        return Verdict.PASSED if self.incident.claim == "finished" and exercise.claims else Verdict.UNKNOWN

    def _told(self, exercise: Exercise | None) -> str:
        if exercise is None:
            return "it could not be looked at"
        claim = exercise.claim(self.incident.claim)
        return exercise.reason if claim is None else claim.reason

    def _failed(self, why: str, *, outcome: str = policy.FAILED) -> Remedied:
        cause, told = f"attempt {self.decided.number}", REDACT(why)
        moved = history.move(
            self.ctx, self.incident, lambda now: given_up(now, cause=cause, now=self.ctx.clock(), reason=told)
        )
        self.incident = moved or self.incident
        return self._end(self.decided.action, outcome, told)

    def _end(self, action: Action, outcome: str, why: str) -> Remedied:
        number = self.decided.number
        if action is Action.LOOK and self.decided.action is not Action.LOOK:
            looks = [
                one
                for one in history.attempts_of(self.ctx, self.incident, self.subject, held=True)
                if one.action == Action.LOOK
            ]
            number = len(looks) + 1
        history.end(self.ctx, self.incident, self.subject, number, action.value, outcome, REDACT(why))
        catch_up(self.ctx)
        return self._result(outcome, why)

    def _result(self, outcome: str, why: str) -> Remedied:
        now = incidents.find(self.ctx.ledger, self.incident.id)
        return Remedied(
            now[0] if now else self.incident,
            self.subject,
            self.decided.action,
            outcome,
            REDACT(why),
            self.before,
            self.done,
            self.after,
        )


def _good_enough(action: Action, done: Exercise) -> bool:
    """Whether a repair did what it is for, though something else about it did not pass (a slow backup is one)."""
    telling = {Action.BACKUP: "complete", Action.SNAPSHOT: "complete"}.get(action)
    made = done.claim(telling) if telling else None
    return made is not None and made.verdict is Verdict.PASSED


def _waits(done: Exercise) -> bool:
    """Whether a repair only waits for somebody's approval."""
    made = done.claim("approved")
    return done.verdict is Verdict.UNKNOWN and made is not None and made.verdict is Verdict.UNKNOWN


def in_order(found: Sequence[Due]) -> list[Due]:
    """Those that something is to be done about now, oldest first."""
    return [one for one in found if isinstance(one.decision, Act)]
