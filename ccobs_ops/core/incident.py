"""What an incident is, and the state machine that moves it: one claim about one target that stopped being PASSED.

    open ──acknowledged──▶ acknowledged
      │                          │
      └──────remediating─────────┴──▶ remediating ──restored──▶ restored ──verified──▶ closed

Only a later exercise in which the same claim PASSED leads to `closed`, from whichever state.

Invariants, for one `Incident.key`, in whatever order its exercises become known (tests/unit/test_incident_model.py):

1. It is open exactly if an exercise that did not PASS the claim *finished* later than every exercise that PASSED it
   *started*. So a proof that was under way when the claim failed closes nothing, and one that is told late changes nothing.
2. One incident at most is open. If it fails again within `damping` of its proof, the same incident is open again.
3. UNKNOWN never closes and never hides a FAILED: `kind` is the worse of what was said since it was opened.
4. Nobody's word closes it: `acknowledged`, `remediating` and `restored` move between the open states only.

Everything here is pure: no clock, no ledger. `core/loop.py` feeds it from the ledger and keeps what comes of it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from ccobs_ops.core.exercise import Claim, Exercise, Severity, Verdict

DAMPING = timedelta(minutes=30)
_ORDER = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
_NUMBERS = re.compile(r"\d+")


class State(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    REMEDIATING = "remediating"
    RESTORED = "restored"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Incident:
    """One claim of one capability of a target that is not PASSED, with its clocks (aware, UTC).

    `kind` is FAILED or UNKNOWN: the worse of what was said of the claim since it was opened. `occurred_from` says where
    `occurred_at` is from: `cloudtrail`, `canary`, `fault`, `last_passed` (the newest exercise in which the claim PASSED: it
    happened after that), or `detected` where nothing earlier is known. `opened_by` and `verified_by` are ids of exercises.

    `scope` narrows the claim to a part of the target (a folder, a day); empty for the whole. `last_seen_at` is when the
    newest exercise that did not PASS it finished, `attempted_at` when the newest repair began (`remediation_started_at`:
    the first).
    `replayed` tells that it was long over when the loop first read of it: it is history, and no news to anybody.
    """

    id: str
    target: str
    capability: str
    claim: str
    kind: Verdict
    state: State
    severity: Severity
    reason: str
    hint: str
    occurred_at: datetime
    occurred_from: str
    detected_at: datetime
    opened_by: str
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""
    remediation_started_at: datetime | None = None
    restored_at: datetime | None = None
    verified_at: datetime | None = None
    verified_by: str = ""
    attempts: int = 0
    flaps: int = 0
    scope: str = ""
    last_seen_at: datetime | None = None
    attempted_at: datetime | None = None
    replayed: bool = False

    @property
    def key(self) -> str:
        """What it is about, and by what it is deduplicated: `target capability claim`. Never an id of a run.

        A scope follows, in brackets, where there is one.
        """
        return key_of(self.target, self.capability, self.claim, self.scope)

    @property
    def is_open(self) -> bool:
        """Whether nothing has proven the claim again yet."""
        return self.state is not State.CLOSED


@dataclass(frozen=True, slots=True)
class Transition:
    """Something that happened to an incident: `opened`, `escalated`, `changed`, `acknowledged`, `remediating`, `restored`,
    `verified` or `reopened`. `cause` is what did it: the id of an exercise, a person, a run.

    `incident` is the incident as it was *after* it; `seq` is its position in the ledger's chain, 0 before it is kept.
    `seen` is no news: the claim still does not hold, and only the incident's own row says so.
    """

    name: str
    cause: str
    at: datetime
    incident: Incident
    details: dict[str, Any] = field(default_factory=dict)
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the exercise itself: how bad it is, what to do, and since when it has been so."""

    severity: Severity = Severity.CRITICAL
    hint: str = ""
    scope: str = ""
    occurred_at: datetime | None = None
    occurred_from: str = "detected"
    replayed: bool = False


def key_of(target: str, capability: str, claim: str, scope: str = "") -> str:
    """The key of the incident about this claim."""
    return f"{target} {capability} {claim}" + (f" [{scope}]" if scope else "")


def observe(
    current: Incident | None,
    exercise: Exercise,
    claim: Claim,
    *,
    last_passed: datetime | None,
    facts: Facts,
    damping: timedelta = DAMPING,
) -> Transition | None:
    """What `claim` of `exercise` means for its incident; None if nothing.

    `current` is the newest incident about the claim, open or closed. `last_passed` is when the exercise started that started
    last of all that are known to have PASSED the claim. A claim fails again within `damping` of its proof: `reopened`.
    """
    if claim.verdict is Verdict.PASSED:
        return _proof(current, exercise, claim)
    if last_passed is not None and last_passed >= exercise.finished_at:
        return None  # it has been proven since: this was told late
    if current is None or not current.is_open:
        if current is not None and _flaps(current, exercise, damping):
            return _reopened(current, exercise, claim, facts)
        return _opened(exercise, claim, facts)
    return _again(current, exercise, claim, facts)


def acknowledge(current: Incident, *, who: str, now: datetime, note: str = "") -> Transition | None:
    """`who` has seen it; None if it is closed, or was acknowledged before."""
    if not current.is_open or current.acknowledged_at is not None:
        return None
    state = State.ACKNOWLEDGED if current.state is State.OPEN else current.state
    after = replace(current, state=state, acknowledged_at=now, acknowledged_by=who)
    return Transition("acknowledged", who, now, after, {"note": note} if note else {})


def remediating(current: Incident, *, cause: str, now: datetime) -> Transition | None:
    """A repair called `cause` (a run, an exercise) begins, the first or another; None if it is closed."""
    if not current.is_open:
        return None
    after = replace(
        current,
        state=State.REMEDIATING,
        remediation_started_at=current.remediation_started_at or now,
        restored_at=None,
        attempted_at=now,
        attempts=current.attempts + 1,
    )
    return Transition("remediating", cause, now, after, {"attempt": after.attempts})


def restored(current: Incident, *, cause: str, now: datetime) -> Transition | None:
    """The repair `cause` says that it succeeded. That is not yet a proof; None unless a repair is under way."""
    if current.state is not State.REMEDIATING:
        return None
    return Transition("restored", cause, now, replace(current, state=State.RESTORED, restored_at=now))


def given_up(current: Incident, *, cause: str, now: datetime, reason: str) -> Transition | None:
    """The repair `cause` did not succeed: the incident is where it was before; None unless a repair is under way."""
    if current.state is not State.REMEDIATING:
        return None
    return Transition("changed", cause, now, replace(current, state=_untouched(current)), {"repair": reason})


def worse(one: Severity, other: Severity) -> Severity:
    """The graver of two."""
    return one if _ORDER[one] >= _ORDER[other] else other


def _proof(current: Incident | None, exercise: Exercise, claim: Claim) -> Transition | None:
    if current is None or not current.is_open:
        return None
    if exercise.started_at < (current.last_seen_at or current.detected_at):
        return None  # it looked, or may have looked, before the claim failed
    after = replace(
        current,
        state=State.CLOSED,
        verified_at=exercise.finished_at,
        verified_by=exercise.id,
    )
    return Transition("verified", exercise.id, exercise.finished_at, after, {"reason": claim.reason})


def _opened(exercise: Exercise, claim: Claim, facts: Facts) -> Transition:
    key = key_of(exercise.target, exercise.capability, claim.name, facts.scope)
    occurred, source = exercise.finished_at, "detected"
    if facts.occurred_at is not None and facts.occurred_at <= exercise.finished_at:
        occurred, source = facts.occurred_at, facts.occurred_from
    incident = Incident(
        id="i" + hashlib.sha256(f"{key}\n{exercise.id}".encode()).hexdigest()[:11],
        target=exercise.target,
        capability=exercise.capability,
        claim=claim.name,
        kind=claim.verdict,
        state=State.OPEN,
        severity=facts.severity,
        reason=claim.reason,
        hint=facts.hint,
        occurred_at=occurred,
        occurred_from=source,
        detected_at=exercise.finished_at,
        opened_by=exercise.id,
        scope=facts.scope,
        last_seen_at=exercise.finished_at,
        replayed=facts.replayed,
    )
    return Transition("opened", exercise.id, exercise.finished_at, incident)


def _flaps(current: Incident, exercise: Exercise, damping: timedelta) -> bool:
    return current.verified_at is not None and exercise.finished_at - current.verified_at <= damping


def _reopened(current: Incident, exercise: Exercise, claim: Claim, facts: Facts) -> Transition:
    after = replace(
        current,
        kind=claim.verdict,
        state=State.OPEN,
        severity=facts.severity,
        reason=claim.reason,
        hint=facts.hint or current.hint,
        acknowledged_at=None,
        acknowledged_by="",
        restored_at=None,
        verified_at=None,
        verified_by="",
        flaps=current.flaps + 1,
        last_seen_at=exercise.finished_at,
        replayed=facts.replayed,
    )
    return Transition("reopened", exercise.id, exercise.finished_at, after, {"flaps": after.flaps})


def _again(current: Incident, exercise: Exercise, claim: Claim, facts: Facts) -> Transition | None:
    if exercise.finished_at <= (current.last_seen_at or current.detected_at):
        return None  # told late, or told before
    escalates = (current.kind is Verdict.UNKNOWN and claim.verdict is Verdict.FAILED) or _ORDER[
        facts.severity
    ] > _ORDER[current.severity]
    hidden = current.kind is Verdict.FAILED and claim.verdict is Verdict.UNKNOWN
    unproven = (
        current.state is State.RESTORED
        and current.restored_at is not None
        and exercise.started_at >= current.restored_at
    )
    after = replace(
        current,
        kind=current.kind if hidden else claim.verdict,
        severity=worse(current.severity, facts.severity) if hidden else facts.severity,
        state=_untouched(current) if unproven else current.state,
        reason=current.reason if hidden else claim.reason,
        hint=current.hint if hidden else facts.hint or current.hint,
        restored_at=None if unproven else current.restored_at,
        last_seen_at=exercise.finished_at,
    )
    if escalates:
        name = "escalated"
    elif unproven or after.severity is not current.severity or _said(after) != _said(current):
        name = "changed"
    else:
        name = "seen"
    details = {"repair": "the claim still does not hold after it"} if unproven else {}
    return Transition(name, exercise.id, exercise.finished_at, after, details)


def _untouched(current: Incident) -> State:
    return State.OPEN if current.acknowledged_at is None else State.ACKNOWLEDGED


def _said(incident: Incident) -> str:
    """The reason without its figures, which differ every time."""
    return _NUMBERS.sub("#", incident.reason)
