"""From two plans to one list of classified, ranked, redacted changes.

A refresh-only plan says what differs between state and reality: it alone is the authority for drift. A normal plan says what
an apply would do; whether it would touch what drifted tells drift from what nobody set, and what it would do besides is
pending. Exit statuses are not looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from ccobs_ops.core.exercise import Severity
from ccobs_ops.core.terraform.change import (
    AttributeChange,
    Change,
    Direction,
    Drift,
    DriftClass,
    Unread,
    ranked,
)
from ccobs_ops.core.terraform.equal import equal_unordered
from ccobs_ops.core.terraform.ignore import IgnoreRule, apply
from ccobs_ops.core.terraform.impact import ImpactRules, judge, selection_tags
from ccobs_ops.core.terraform.plan import Check, Difference, Entry, PlanDocument, pattern_of
from ccobs_ops.core.terraform.sensitive import bounded

SHOWN_ATTRIBUTES = 200
_QUIET = (("no-op",), ("read",))
_LEAVING = (("delete",), ("forget",))
_RANK = (Severity.INFO, Severity.WARNING, Severity.CRITICAL)


def classify(
    refresh: PlanDocument,
    plan: PlanDocument | None,
    *,
    impact: ImpactRules,
    role: str = "primary",
    ignore: Sequence[IgnoreRule] = (),
    accepted: Collection[tuple[str, str]] = (),
    today: date,
) -> Drift:
    """What differs: `refresh` (a refresh-only plan) is the authority for drift, `plan` (a normal one) for pending changes.

    `plan` is None if it could not be made: then the drift is incomplete, and what was read is still there. `role` is
    the root's (`primary`, `dr`); `accepted` are (address, attribute path) of drift that was accepted into the state, with
    an empty path for a whole object.
    """
    work = _Work(
        impact, role, selection_tags(refresh.held or (plan.held if plan else ())), frozenset(accepted)
    )
    planned = {_key(entry): entry for entry in plan.changes} if plan else {}
    changes: list[Change] = []
    drifted: dict[tuple[str, str | None], Entry] = {}
    for entry in refresh.drift:
        drifted[_key(entry)] = entry
        changes.extend(work.drift(entry, planned.get(_key(entry)), has_plan=plan is not None))
    for entry in plan.changes if plan else ():
        changes.extend(work.pending(entry, drifted.get(_key(entry))))
    changes.extend(_moved(refresh, plan))
    checks = plan.checks if plan is not None and plan.checks else refresh.checks
    changes.extend(_failed(each) for each in checks if each.status in ("fail", "error"))
    unread = list(_unread(refresh, plan, checks))
    changes.extend(_unknown(each) for each in unread if each.code == "plan_entry_unread")
    silenced = apply(changes, ignore, today=today, settle=work.settle)
    return Drift(
        changes=ranked(silenced.changes),
        unread=tuple(unread),
        managed=refresh.managed,
        notes=silenced.notes,
    )


def consequences(plan: PlanDocument, *, impact: ImpactRules, role: str = "primary") -> tuple[Change, ...]:
    """What applying `plan` would do, each with its impact: class PENDING, `before` is now and `after` what it would set.

    Remediation refuses where one of them `weakens`, or has an action that it does not allow.
    """
    work = _Work(impact, role, selection_tags(plan.held), frozenset())
    return ranked(
        work.settle(work.raw(entry, DriftClass.PENDING, _set_by(entry), _would(entry)))
        for entry in plan.changes
        if entry.actions not in _QUIET or entry.importing
    )


def _key(entry: Entry) -> tuple[str, str | None]:
    return entry.address, entry.deposed


@dataclass(frozen=True, slots=True)
class _Work:
    rules: ImpactRules
    role: str
    tags: Mapping[str, frozenset[str]]
    accepted: frozenset[tuple[str, str]]

    def drift(self, entry: Entry, planned: Entry | None, *, has_plan: bool) -> Iterator[Change]:
        """What one entry of the refresh-only plan is."""
        if entry.actions == ("delete",):
            yield self.change(entry, DriftClass.DELETED, (), "it is in the state, and gone in reality")
            return
        touched = [
            replace(_shown(each), managed=True)
            for each in entry.differences
            if _puts_back(each, entry, planned) or (not has_plan and not each.reordered)
        ]
        paths = {each.path for each in touched}
        rest = [
            replace(_shown(each), managed=False)
            for each in entry.differences
            if each.path not in paths and not each.reordered
        ]
        if touched:
            yield self.settle(
                self.raw(
                    entry, DriftClass.CHANGED, (*touched, *rest), "reality differs from what is configured"
                )
            )
        elif rest:
            yield self.settle(
                self.raw(
                    entry,
                    DriftClass.CHANGED_INFORMATIONAL,
                    tuple(rest),
                    "reality differs from the state in what no apply would touch",
                )
            )

    def pending(self, entry: Entry, drifted: Entry | None) -> Iterator[Change]:
        """What one entry of the normal plan is, beside putting back what drifted."""
        if entry.actions in _QUIET and not entry.importing:
            return
        if drifted is not None and drifted.actions == ("delete",):
            if (entry.address, "") in self.accepted:
                yield self.divergent(entry, ())
            return
        mine = [
            each
            for each in entry.differences
            if drifted is None or not _puts_right(each, drifted.differences)
        ]
        whole = (entry.address, "") in self.accepted
        accepted = [each for each in mine if whole or (entry.address, each.path) in self.accepted]
        left = [each for each in mine if each not in accepted]
        if accepted or (whole and entry.actions != ("update",)):
            yield self.divergent(entry, accepted)
            if not left or whole:
                return
        if drifted is None or entry.actions in _LEAVING or entry.importing:
            wanted = bool(left) or entry.actions != ("update",)
        else:
            wanted = any(not each.after_unknown for each in left)
        if wanted:
            yield self.change(entry, DriftClass.PENDING, left, _would(entry))

    def divergent(self, entry: Entry, differences: Sequence[Difference]) -> Change:
        """What was accepted, told as the divergence that it is: `before` is the configuration, `after` what was accepted."""
        turned = replace(
            entry,
            actions=("delete",) if entry.actions == ("create",) else entry.actions,
            differences=tuple(map(_turned, entry.differences)),
            tops=tuple(replace(top, before=top.after, after=top.before) for top in entry.tops),
        )
        found = self.change(
            turned, DriftClass.ACCEPTED_BUT_DIVERGENT, tuple(map(_turned, differences)), _ACCEPTED
        )
        return replace(found, actions=entry.actions)

    def change(
        self, entry: Entry, drift_class: DriftClass, differences: Sequence[Difference], message: str
    ) -> Change:
        return self.settle(self.raw(entry, drift_class, tuple(map(_shown, differences)), message))

    def raw(
        self, entry: Entry, drift_class: DriftClass, attributes: tuple[AttributeChange, ...], message: str
    ) -> Change:
        """The change with every impact of the attributes that it names, before its severity is known."""
        event = _event(entry)
        impacts = judge(entry, self.rules, role=self.role, tags=self.tags, event=event)
        named = {each.path for each in attributes}
        return Change(
            address=entry.address,
            type=entry.type,
            provider=entry.provider,
            drift_class=drift_class,
            severity=Severity.INFO,
            message=message,
            attributes=attributes[:SHOWN_ATTRIBUTES],
            impacts=tuple(
                each
                for each in impacts
                if not each.attribute or any(_overlap(each.attribute, path) for path in named)
            ),
            actions=entry.actions,
            identity=entry.identity,
            previous_address=entry.previous_address,
        )

    def settle(self, change: Change) -> Change:
        """With the severity of its worst impact; of its type, where no rule of impact knows anything."""
        worse = [each.severity for each in change.impacts if each.direction is Direction.WEAKENS]
        if worse:
            return replace(change, severity=max(worse, key=_RANK.index))
        if change.impacts and len(change.attributes) <= len(change.impacts):
            return replace(change, severity=Severity.INFO)
        return replace(change, severity=self.rules.severity(change.type, change.drift_class))


_ACCEPTED = "it was accepted as it is, and the configuration still says otherwise"


def _turned(difference: Difference) -> Difference:
    return replace(
        difference,
        before=difference.after,
        after=difference.before,
        before_mark=difference.after_mark,
        after_mark=difference.before_mark,
    )


def _event(entry: Entry) -> str | None:
    if entry.actions in (("delete",), ("delete", "create"), ("create", "delete")):
        return "deleted"
    return "created" if entry.actions == ("create",) else None


def _would(entry: Entry) -> str:
    words: dict[tuple[str, ...], str] = {
        ("create",): "an apply would create it",
        ("update",): "an apply would change it",
        ("delete",): "an apply would delete it",
        ("forget",): "an apply would forget it: it stays, and nothing manages it any more",
        ("create", "forget"): "an apply would create another one, and forget this one",
        ("no-op",): "an apply would import it",
    }
    return words.get(entry.actions, "an apply would delete it and create it again")


def _puts_back(difference: Difference, entry: Entry, planned: Entry | None) -> bool:
    """Whether an apply would touch what drifted."""
    if planned is None or planned.actions in _QUIET:
        return False
    if planned.actions in _LEAVING:
        return not difference.reordered
    for other in planned.differences:
        if not _overlap(difference.path, other.path):
            continue
        if not other.after_unknown:
            return True
        configured = entry.configured or planned.configured or frozenset[str]()
        if difference.top in configured:
            return True
    return False


def _puts_right(planned: Difference, drifted: Sequence[Difference]) -> bool:
    """Whether what an apply would do to an attribute is to undo its drift, and not to set it to something else again."""
    for other in drifted:
        if other.path == planned.path:
            return (
                planned.after_unknown
                or planned.reordered
                or other.before_mark == planned.after_mark
                or (not planned.sensitive and equal_unordered(other.before, planned.after))
            )
    return any(_overlap(planned.path, other.path) for other in drifted)


def _overlap(one: str, other: str) -> bool:
    """Whether one path is the other, or lies in it; indexes do not count, since lists may have shifted."""
    a, b = pattern_of(one), pattern_of(other)
    return a == b or a.startswith((f"{b}.", f"{b}[")) or b.startswith((f"{a}.", f"{a}["))


def _shown(difference: Difference) -> AttributeChange:
    return AttributeChange(
        path=difference.path,
        before=bounded(difference.before),
        after=bounded(difference.after),
        sensitive=difference.sensitive,
        after_unknown=difference.after_unknown,
        before_mark=difference.before_mark,
        after_mark=difference.after_mark,
    )


def _set_by(entry: Entry) -> tuple[AttributeChange, ...]:
    """What a plan sets; what is not known yet counts as set by the configuration, unless it does not name the attribute."""
    return tuple(
        replace(
            _shown(each),
            managed=not each.after_unknown or entry.configured is None or each.top in entry.configured,
        )
        for each in entry.differences
    )


def _moved(refresh: PlanDocument, plan: PlanDocument | None) -> Iterator[Change]:
    seen: set[str] = set()
    for entry in (*refresh.drift, *refresh.changes, *(plan.changes if plan else ())):
        if entry.previous_address in (None, entry.address) or entry.address in seen:
            continue
        seen.add(entry.address)
        yield Change(
            address=entry.address,
            type=entry.type,
            provider=entry.provider,
            drift_class=DriftClass.MOVED,
            severity=Severity.INFO,
            message=f"it was at {entry.previous_address} before",
            actions=entry.actions,
            identity=entry.identity,
            previous_address=entry.previous_address,
        )


def _failed(check: Check) -> Change:
    told = "; ".join(check.problems)
    how = (
        "does not hold" if check.status == "fail" else "could not be evaluated, which is an error of its own"
    )
    return Change(
        address=check.address,
        type="check",
        provider="",
        drift_class=DriftClass.CHECK_FAILED,
        severity=Severity.WARNING,
        message=f"the condition {how}" + (f": {told}" if told else ""),
    )


def _unknown(unread: Unread) -> Change:
    return Change(
        address=unread.subject,
        type="",
        provider="",
        drift_class=DriftClass.UNKNOWN,
        severity=Severity.WARNING,
        message=unread.message,
    )


def _unread(refresh: PlanDocument, plan: PlanDocument | None, checks: Sequence[Check]) -> Iterator[Unread]:
    for what, document in (("refresh-only", refresh), ("normal", plan)):
        if document is None:
            yield Unread(
                "plan_missing",
                f"the {what} plan",
                "there is no normal plan: what the configuration asks for could not be compared",
                "see what terraform plan says",
            )
            continue
        yield from document.unread
        if document.errored:
            yield Unread("plan_errored", f"the {what} plan", f"the {what} plan ended with an error half way")
        if document.deferred:
            told = ", ".join(document.deferred[:5])
            yield Unread(
                "plan_deferred",
                document.deferred[0],
                f"the {what} plan put off {len(document.deferred)} objects until something is known: {told}",
                "apply what they wait for first",
            )
        elif document.complete is False:
            yield Unread("plan_incomplete", f"the {what} plan", f"the {what} plan does not cover everything")
    for check in checks:
        if check.status not in ("pass", "fail", "error"):
            yield Unread(
                "check_unknown",
                check.address,
                "a condition could not be evaluated: it rests on something that is known only after an apply",
                "apply what is pending, then scan again",
            )
