"""Whether to act on an incident now. Pure: the same incident, history, policy and moment always give the same answer.

Bounds, in the order in which they are asked:

1. What is closed needs nothing; a repair that the policy does not allow is left to people. Looking again is always allowed.
2. One attempt at a time: while one runs, or may still run on another host, nothing is begun.
3. At most `attempts` attempts in a row that do not help one incident. Waiting for an approval is none; looking again is not
   bounded by number. What helped and did not last is tried again, with the back-off of all attempts before it.
4. Back-off: after the n-th attempt at least `backoff` · 2^(n-1) passes, `backoff_most` at most.
5. Circuit breaker of the target: after `failures` failed attempts within `window`, whichever incident they were for,
   nothing for `rest`; then one attempt (half-open), and another rest if that fails too. A success, or an operator's
   reset, closes it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.incident import Incident, State
from ccobs_ops.core.remediation.table import Action, Rule
from ccobs_ops.core.units import format_duration
from ccobs_ops.inventory_remediation import Policy

HEALTHY, VERIFIED, REPAIRED, FAILED, WAITING, INTERRUPTED = (
    "healthy",
    "verified",
    "repaired",
    "failed",
    "waiting",
    "interrupted",
)
"""What came of an attempt: nothing was wrong any more; proven again; done and not proven yet; did not help; waits for an
approval; its process died."""
GOOD = frozenset({HEALTHY, VERIFIED, REPAIRED})
BAD = frozenset({FAILED, INTERRUPTED})
_LOOK_PAUSE = 6


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at an incident. `ended_at` and `outcome` are None while it runs; `alive` is False where it is
    known that its process is gone, None where that cannot be told from this host.
    """

    incident: str
    number: int
    action: str
    began_at: datetime
    ended_at: datetime | None = None
    outcome: str | None = None
    alive: bool | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """Do `action` now, as attempt `number`."""

    action: Action
    number: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now; `until` is when to ask again, None where something else has to happen first."""

    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nothing will be done by itself; `reason` says why, `hint` what a person can do."""

    reason: str
    hint: str = ""


Decision = Act | Wait | GiveUp


def decide(
    incident: Incident,
    rule: Rule | None,
    attempts: Sequence[Attempt],
    of_target: Sequence[Attempt],
    policy: Policy,
    now: datetime,
    *,
    allowed: Collection[str],
    resets: Sequence[datetime] = (),
) -> Decision:
    """What to do about `incident` at `now`.

    `attempts` are those at this incident, oldest first, `of_target` all that ended at its target lately; `allowed`
    the repairs that the inventory allows there; `resets` when an operator closed the breaker.
    """
    if not incident.is_open:
        return GiveUp("it is closed")
    mine = [_settled(each, policy, now) for each in attempts]
    if any(each.outcome is None for each in mine):
        return Wait("an attempt is under way")
    acts = [each for each in mine if each.action != Action.LOOK]
    looks = [each for each in mine if each.action == Action.LOOK]
    action = Action.LOOK if rule is None else rule.action
    if acts and acts[-1].outcome == REPAIRED and incident.state is State.RESTORED:
        action = Action.LOOK  # it was done: what is missing is the proof
    if action is not Action.LOOK and action.value not in allowed:
        return GiveUp(
            f"the inventory does not allow {action.value!r} here",
            f"repair it by hand, or allow it: remediation.targets, allow: [{action.value}]",
        )
    if rule is not None and rule.lasting and any(each.outcome in GOOD for each in acts):
        return GiveUp(
            "all later moments can be restored again; what is damaged goes with retention",
            "bring the object back from its other region or an older version to close it sooner",
        )
    counted = looks if action is Action.LOOK else [each for each in acts if each.outcome != WAITING]
    vain = len(list(takewhile(lambda each: each.outcome not in GOOD, reversed(counted))))
    if action is not Action.LOOK and vain >= policy.attempts:
        return GiveUp(
            f"{vain} attempts did not help",
            f"see what they said, then: ccobs-ops remediate {incident.id}",
        )
    if mine:
        last = max(mine, key=lambda each: each.ended_at or each.began_at)
        until = (last.ended_at or last.began_at) + _pause(policy, action, max(len(counted), 1))
        if now < until:
            return Wait(f"the last attempt was {last.outcome}; the next one is at {rfc3339(until)}", until)
    if (
        action is not Action.LOOK
        and (opened := open_until(of_target, policy, now, resets=resets)) is not None
    ):
        return Wait(
            f"the circuit breaker is open after {policy.breaker.failures} failed attempts within "
            f"{format_duration(policy.breaker.window)}, until {rfc3339(opened)}",
            opened,
        )
    return Act(
        action, max((each.number for each in (looks if action is Action.LOOK else acts)), default=0) + 1
    )


def open_until(
    attempts: Sequence[Attempt], policy: Policy, now: datetime, *, resets: Sequence[datetime] = ()
) -> datetime | None:
    """Until when the breaker of a target is open; None when it is closed, or lets one attempt through."""
    breaker = policy.breaker
    since = max(resets, default=None)
    ended = sorted(
        (
            one
            for one in attempts
            if one.ended_at is not None and one.outcome in GOOD | BAD and one.action != Action.LOOK
        ),
        key=lambda one: one.ended_at or now,
    )
    failures: list[datetime] = []
    opened_at: datetime | None = None
    for one in ended:
        at = one.ended_at or now
        if since is not None and at <= since:
            continue
        if one.outcome in GOOD:
            failures, opened_at = [], None
            continue
        failures.append(at)
        lately = sum(failure > at - breaker.window for failure in failures)
        if opened_at is not None or lately >= breaker.failures:  # half-open: one more failure is enough
            opened_at = at
    if opened_at is None or now >= opened_at + breaker.rest:
        return None
    return opened_at + breaker.rest


def _settled(attempt: Attempt, policy: Policy, now: datetime) -> Attempt:
    """An attempt whose process is known to be gone, or that is past its deadline, was interrupted."""
    if attempt.outcome is not None or attempt.alive:
        return attempt
    if attempt.alive is None and now < attempt.began_at + policy.deadline:
        return attempt
    return Attempt(
        attempt.incident,
        attempt.number,
        attempt.action,
        attempt.began_at,
        attempt.began_at,
        INTERRUPTED,
        alive=False,
    )


def _pause(policy: Policy, action: Action, attempts: int) -> timedelta:
    """How long to wait after the n-th attempt. Looking again has no bound on attempts, and a longer longest pause instead."""
    longest = policy.backoff_most * (_LOOK_PAUSE if action is Action.LOOK else 1)
    return min(policy.backoff * 2 ** min(attempts - 1, 20), longest)
