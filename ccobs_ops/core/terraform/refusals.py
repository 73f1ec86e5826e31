"""What keeps a repair from being made: every reason, each with how to lift it.

Safety invariant: a plan is applied only if `refusals` finds nothing in it. What is not known to be safe is refused.
Pure: it looks at what it is handed, and asks nobody.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ccobs_ops.core.terraform.change import AttributeChange, Change, Direction, Drift, DriftClass
from ccobs_ops.core.units import format_duration
from ccobs_ops.inventory_terraform import Freeze, Remediation

_SAFE_ACTIONS = frozenset({"update", "create"})
REPAIRED = (DriftClass.CHANGED, DriftClass.DELETED, DriftClass.ACCEPTED_BUT_DIVERGENT)
"""The classes of drift that an apply of the configuration puts back."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a plan is not applied: a code, the object or setting it is about, the reason, and how to lift it."""

    code: str
    subject: str
    reason: str
    lift: str


@dataclass(frozen=True, slots=True)
class Proof:
    """The newest PASSED validation of a linked target; `at` is None where there is none."""

    target: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Case:
    """All that is looked at: what was seen, what the plan would do, and what is on record.

    `stateful` tells for a type whether its objects hold data; `first_seen` is since when each address has drifted; `flips`
    how often each (address, path) was put back already; `proofs` the validations of linked targets, by target.
    """

    target: str
    policy: Remediation
    drift: Drift
    planned: Sequence[Change]
    stateful: Callable[[str], bool]
    now: datetime
    first_seen: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    flips: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    proofs: Mapping[str, Proof] = field(default_factory=dict[str, Proof])


def refusals(case: Case) -> tuple[Refusal, ...]:
    """Every reason against putting the drift of `case` back by applying its plan; none means that it may be applied."""
    found = [*_incomplete(case), *_frozen(case), *_would_hide(case), *_too_many(case, len(case.planned))]
    drifted = {change.address: change for change in case.drift.changes if change.drift_class in REPAIRED}
    for change in case.planned:
        found += _of_change(case, change, drifted.get(change.address))
    return tuple(dict.fromkeys(found))


def acceptance_refusals(case: Case) -> tuple[Refusal, ...]:
    """Every reason against accepting the drift of `case` into the state.

    A refresh-only apply writes *all* that was seen, so whatever differs is looked at, ignored or not.
    """
    changed = [change for change in case.drift.changes if change.drift_class in REPAIRED]
    found = [*_incomplete(case), *_frozen(case), *_would_hide(case), *_too_many(case, len(changed))]
    for change in changed:
        if not _allowed_type(case.policy, change.type):
            found.append(_type_refused(change))
        found += _too_young(case, change)
        if change.drift_class is DriftClass.DELETED:
            found.append(
                Refusal(
                    "forget",
                    change.address,
                    "it is gone, and accepting that would make the state forget it",
                    "create it again by a repair, or take it out of the configuration and the state by hand",
                )
            )
    return tuple(dict.fromkeys(found))


def _incomplete(case: Case) -> list[Refusal]:
    return [
        Refusal(
            "not_read",
            one.subject,
            f"not everything could be read: {one.message}",
            one.hint or "scan until it is complete",
        )
        for one in case.drift.unread
    ]


def _too_many(case: Case, count: int) -> list[Refusal]:
    if count <= case.policy.max_changes:
        return []
    return [
        Refusal(
            "too_many_changes",
            case.target,
            f"{count} objects would be changed, {case.policy.max_changes} are allowed",
            "look at them; raise remediation.max_changes, or apply by hand",
        )
    ]


def _frozen(case: Case) -> list[Refusal]:
    return [
        Refusal(
            "freeze",
            case.target,
            f"nothing is changed until {until:%Y-%m-%d %H:%M} UTC: {freeze.reason}",
            "wait, or change remediation.freeze",
        )
        for freeze in case.policy.freeze
        if (until := frozen_until(freeze, case.now)) is not None
    ]


def frozen_until(freeze: Freeze, now: datetime) -> datetime | None:
    """The end of the window that `now` (aware UTC) lies in; None outside of it."""
    from croniter import croniter  # noqa: PLC0415 - only where a freeze is written down

    # a step back from a moment later, so that a window that begins right now counts
    began: datetime = croniter(freeze.starts, now + timedelta(microseconds=1)).get_prev(datetime)
    until = began + freeze.lasts
    return until if now < until else None


def _of_change(case: Case, change: Change, drifted: Change | None) -> list[Refusal]:
    found: list[Refusal] = []
    if not change.actions or not set(change.actions) <= _SAFE_ACTIONS:
        what = _action(change.actions)
        found.append(
            Refusal(
                what, change.address, f"the plan would {what} it", "do that by hand, knowing what is lost"
            )
        )
    if drifted is None:
        found.append(
            Refusal(
                "pending",
                change.address,
                "it was not changed by hand: the configuration asks for something that was never applied",
                "apply the configuration by its own pipeline first",
            )
        )
    elif drifted.ignored_by is not None:
        found.append(
            Refusal(
                "ignored",
                change.address,
                f"its drift is ignored ({drifted.ignored_by.owner}: {drifted.ignored_by.reason}), and the plan would undo it",
                "take the ignore rule out, or write the value into the configuration",
            )
        )
    else:
        found += _mixed(change, drifted)
        found += _too_young(case, drifted)
        found += _fights(case, change)
    if not _allowed_type(case.policy, change.type):
        found.append(_type_refused(change))
    found += [
        Refusal(
            "weakens_recovery",
            change.address,
            f"putting it back would make recovery worse: {impact.statement}",
            "write the better value into the configuration, or apply by hand",
        )
        for impact in change.impacts
        if impact.direction is Direction.WEAKENS
    ]
    if case.stateful(change.type):
        found += _unproven(case, change)
    return found


def _action(actions: Sequence[str]) -> str:
    kinds = set(actions)
    if {"delete", "create"} <= kinds or "replace" in kinds:
        return "replace"
    return next((kind for kind in ("delete", "forget") if kind in kinds), "change in a way that is not known")


def _mixed(change: Change, drifted: Change) -> list[Refusal]:
    """What the plan sets beyond the drift, or to another value than it had before the drift."""
    if drifted.drift_class is DriftClass.DELETED:
        return []
    known = {one.path: one for one in drifted.attributes}
    return [
        Refusal(
            "pending",
            change.address,
            f"the plan also sets {one.path}, which was never applied",
            "apply the configuration by its own pipeline first",
        )
        for one in change.attributes
        if one.managed and not _explained(one, known, drifted.drift_class)
    ]


def _would_hide(case: Case) -> list[Refusal]:
    """Any apply writes all that was read into the state; drift that none puts back would then be seen by no later scan."""
    return [
        Refusal(
            "would_hide",
            change.address,
            f"no apply puts this back, and after one no scan would see it any more: {impact.statement}",
            "put it right by hand first, or take the attribute out of ignore_changes and set it",
        )
        for change in case.drift.changes
        if change.drift_class is DriftClass.CHANGED_INFORMATIONAL
        for impact in change.impacts
        if impact.direction is Direction.WEAKENS
    ]


def _explained(
    planned: AttributeChange, known: Mapping[str, AttributeChange], drift_class: DriftClass
) -> bool:
    """Whether the plan only puts an attribute back to what it was before the drift.

    Compared by the marks of the whole values, since what is shown is redacted and cut; what has none cannot be compared, and
    is not explained. Of what was accepted into the state, only the configuration still knows what it was before.
    """
    drifted = known.get(planned.path)
    if drifted is None:
        return False
    if drift_class is DriftClass.ACCEPTED_BUT_DIVERGENT:
        return True
    return drifted.before_mark is not None and drifted.before_mark == planned.after_mark


def _too_young(case: Case, drifted: Change) -> list[Refusal]:
    since = drifted.when or case.first_seen.get(drifted.address, case.now)
    until = since + case.policy.grace
    if case.now >= until:
        return []
    by = f" by {drifted.who}" if drifted.who else ""
    return [
        Refusal(
            "grace",
            drifted.address,
            f"it was changed{by}, or first seen, at {since:%Y-%m-%d %H:%M:%S} UTC; somebody may still be at work",
            f"wait until {until:%Y-%m-%d %H:%M:%S} UTC (remediation.grace: {format_duration(case.policy.grace)})",
        )
    ]


def _fights(case: Case, change: Change) -> list[Refusal]:
    window = format_duration(case.policy.flip_window)
    return [
        Refusal(
            "two_controllers",
            change.address,
            f"{path} was put back {count} times within {window} and changed again: something else sets it",
            "find what sets it, and let only one of the two do so",
        )
        for path in [attribute.path for attribute in change.attributes] or [""]
        if (count := case.flips.get((change.address, path), 0)) >= case.policy.max_flips
    ]


def _unproven(case: Case, change: Change) -> list[Refusal]:
    linked = linked_target(case.policy, change.address)
    if linked is None:
        return [
            Refusal(
                "no_validation",
                change.address,
                "it holds data, and no validation is linked with it",
                "name the target that proves its recovery in remediation.validated_by",
            )
        ]
    proof = case.proofs.get(linked, Proof(linked, None))
    if proof.at is not None and case.now - proof.at <= case.policy.validated_within:
        return []
    told = f"the last one passed at {proof.at:%Y-%m-%d %H:%M} UTC" if proof.at else "it has never passed"
    return [
        Refusal(
            "no_fresh_validation",
            change.address,
            f"it holds data, and the validation of {linked} is not fresh: {told}",
            f"validate {linked}; it counts for {format_duration(case.policy.validated_within)}",
        )
    ]


def linked_target(policy: Remediation, address: str) -> str | None:
    """The target whose validation stands for `address`: the first pattern of `validated_by` that matches."""
    return next(
        (target for pattern, target in policy.validated_by.items() if fnmatch.fnmatchcase(address, pattern)),
        None,
    )


def _allowed_type(policy: Remediation, kind: str) -> bool:
    return any(fnmatch.fnmatchcase(kind, pattern) for pattern in policy.types)


def _type_refused(change: Change) -> Refusal:
    return Refusal(
        "type_not_allowed",
        change.address,
        f"objects of type {change.type} may not be changed here",
        "add the type to remediation.types if they may",
    )
