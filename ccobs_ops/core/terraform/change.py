"""What a scan of one Terraform root found: frozen, already redacted, with one JSON form.

Invariant: no value in here is a secret. `document.py` replaces what a plan marks as sensitive, and every copy of it,
before anything of this module is built.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ccobs_ops.core.exercise import Finding, Severity, rfc3339


class DriftClass(StrEnum):
    """What kind of difference between configuration, state and reality a change is."""

    DELETED = "deleted"
    """In the state, gone in reality."""
    CHANGED = "changed"
    """Reality differs from the state in something that the configuration sets: an apply would put it back."""
    CHANGED_INFORMATIONAL = "changed_informational"
    """Reality differs from the state in what is computed or ignored by the configuration: no apply would touch it."""
    PENDING = "pending"
    """The configuration asks for something that was never applied; nobody changed anything behind its back."""
    MOVED = "moved"
    """The same object under another address."""
    ACCEPTED_BUT_DIVERGENT = "accepted_but_divergent"
    """Drift that was accepted into the state, while the configuration still says otherwise."""
    CHECK_FAILED = "check_failed"
    """A check, precondition or postcondition of the configuration does not hold."""
    UNMANAGED = "unmanaged"
    """In the account, and in no state."""
    UNKNOWN = "unknown"
    """It could not be read, so nothing can be said about it."""

    @property
    def is_open(self) -> bool:
        """Whether somebody has to do something: all but a change of what nobody set, and a mere move."""
        return self not in (DriftClass.CHANGED_INFORMATIONAL, DriftClass.MOVED)


class Direction(StrEnum):
    """Which way a change of something that recovery rests on goes."""

    WEAKENS = "weakens"
    STRENGTHENS = "strengthens"


class Objective(StrEnum):
    """The promise that an impact bears on."""

    RECOVERY_WINDOW = "recovery_window"
    """The span of times that can be restored to."""
    RPO = "rpo"
    """How much is lost at most."""
    RTO = "rto"
    """How long recovery takes."""
    SURVIVAL = "survival"
    """Whether data and its backups outlive a deletion, a lost key or a lost region at all."""


@dataclass(frozen=True, slots=True)
class Impact:
    """What one change does to recovery: the rule that saw it, in words, and in numbers where it has a unit.

    `before` and `after` are in `unit` (`days`, `hours`, `minutes`, `count`), None where the change is not a number.
    """

    rule: str
    attribute: str
    direction: Direction
    objective: Objective
    severity: Severity
    statement: str
    why: str
    unit: str | None = None
    before: float | None = None
    after: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "rule": self.rule,
            "attribute": self.attribute,
            "direction": self.direction.value,
            "objective": self.objective.value,
            "severity": self.severity.value,
            "statement": self.statement,
            "why": self.why,
            "unit": self.unit,
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """One attribute: `before` and `after` are JSON values, redacted and bounded in length.

    `before` is what the state says and `after` what was found; for what a plan would do, `after` is what it would set.
    What is masked or cut cannot be compared by these; the marks can. They are digests of the whole values, under a key that
    this process made for itself: equal if the values mean the same, None if a value is not known. They are never written.

    `managed` says that an apply of the configuration would touch it; `after_unknown` that the value is not known yet.
    """

    path: str
    before: Any
    after: Any
    managed: bool = True
    sensitive: bool = False
    after_unknown: bool = False
    before_mark: str | None = field(default=None, repr=False)
    after_mark: str | None = field(default=None, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "path": self.path,
            "before": self.before,
            "after": self.after,
            "managed": self.managed,
            "sensitive": self.sensitive,
            "after_unknown": self.after_unknown,
        }


@dataclass(frozen=True, slots=True)
class IgnoredBy:
    """The rule that silences a change: who answers for it, why, and until when (a date, ISO 8601)."""

    owner: str
    reason: str
    expires: str


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs, at one address, of one class.

    `actions` are those of the plan entry it was read from; `identity` are the names that the provider knows the object
    by (id, arn, name, …), for looking it up. `who` and `when` are of the real change, None where nobody could tell.
    """

    address: str
    type: str
    provider: str
    drift_class: DriftClass
    severity: Severity
    message: str
    attributes: tuple[AttributeChange, ...] = ()
    impacts: tuple[Impact, ...] = ()
    actions: tuple[str, ...] = ()
    identity: tuple[tuple[str, str], ...] = ()
    previous_address: str | None = None
    who: str | None = None
    when: datetime | None = None
    ignored_by: IgnoredBy | None = None

    @property
    def is_open(self) -> bool:
        """Whether it counts: of a class that does, or with an impact that weakens recovery; and not ignored."""
        return self.ignored_by is None and (self.drift_class.is_open or self.weakens)

    @property
    def weakens(self) -> bool:
        """Whether it makes recovery worse in any way that the rules know."""
        return any(impact.direction is Direction.WEAKENS for impact in self.impacts)

    @property
    def recovery_critical(self) -> bool:
        """Whether something that recovery rests on was critically weakened, by whatever class of change."""
        return any(
            impact.direction is Direction.WEAKENS and impact.severity is Severity.CRITICAL
            for impact in self.impacts
        )

    def to_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        ignored = self.ignored_by
        return {
            "address": self.address,
            "previous_address": self.previous_address,
            "type": self.type,
            "provider": self.provider,
            "class": self.drift_class.value,
            "severity": self.severity.value,
            "message": self.message,
            "open": self.is_open,
            "actions": list(self.actions),
            "identity": dict(self.identity),
            "attributes": [attribute.to_json() for attribute in self.attributes],
            "impacts": [impact.to_json() for impact in self.impacts],
            "who": self.who,
            "when": None if self.when is None else rfc3339(self.when),
            "ignored_by": None
            if ignored is None
            else {"owner": ignored.owner, "reason": ignored.reason, "expires": ignored.expires},
        }

    def to_finding(self) -> Finding:
        """As a finding of an exercise: `drift_<class>`."""
        told = "; ".join(impact.statement for impact in self.impacts if impact.direction is Direction.WEAKENS)
        by = f" (by {self.who})" if self.who else ""
        return Finding(
            f"drift_{self.drift_class.value}",
            self.severity,
            self.address,
            (f"{self.message}: {told}" if told else self.message) + by,
            NO_APPLY if self.drift_class is DriftClass.CHANGED_INFORMATIONAL else HINTS[self.drift_class],
        )


HINTS = {
    DriftClass.DELETED: "if nobody meant it, plan and apply to create it again, then restore what was in it",
    DriftClass.CHANGED: "put it back by an apply, or write it into the configuration if it was right",
    DriftClass.CHANGED_INFORMATIONAL: "nothing to do, unless it weakens recovery",
    DriftClass.PENDING: "apply the configuration, or take the change out of it",
    DriftClass.MOVED: "apply once, so that the state has the new address",
    DriftClass.ACCEPTED_BUT_DIVERGENT: "write what was accepted into the configuration",
    DriftClass.CHECK_FAILED: "read the condition of the check; the infrastructure or the check is wrong",
    DriftClass.UNMANAGED: "import it into a root, or delete it if nobody needs it",
    DriftClass.UNKNOWN: "see why it could not be read; until then nothing is known about it",
}
NO_APPLY = "no apply puts this back: the configuration does not set it, or ignores it; set it there, or put it back by hand"


@dataclass(frozen=True, slots=True)
class Unread:
    """Something that could not be looked at; with one of these no scan is complete."""

    code: str
    subject: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """All that one scan of one root found. `managed` counts the objects in its state, `unmanaged` None if not looked."""

    changes: tuple[Change, ...] = ()
    unread: tuple[Unread, ...] = ()
    managed: int = 0
    unmanaged: int | None = None
    notes: tuple[Finding, ...] = ()
    """Findings that are no change: expired ignore rules, differences between a dr root and its primary."""

    @property
    def open(self) -> tuple[Change, ...]:
        """The changes that count, most severe first."""
        return tuple(change for change in self.changes if change.is_open)

    @property
    def complete(self) -> bool:
        """Whether everything was read; only then can a scan be clean."""
        return not self.unread

    @property
    def coverage_ratio(self) -> float | None:
        """Managed / (managed + unmanaged); None if nothing was counted or nobody looked for what is unmanaged."""
        if self.unmanaged is None or not self.managed + self.unmanaged:
            return None
        return self.managed / (self.managed + self.unmanaged)

    def count(self, drift_class: DriftClass) -> int:
        """How many changes are of `drift_class`, ignored ones left out."""
        return sum(change.drift_class is drift_class and change.ignored_by is None for change in self.changes)

    def counts(self) -> dict[str, int]:
        """Changes by class, every class named, ignored ones left out."""
        return {each.value: self.count(each) for each in DriftClass}

    def findings(self) -> tuple[Finding, ...]:
        """What an exercise reports: open changes, what could not be read, notes."""
        unread = (
            Finding(one.code, Severity.WARNING, one.subject, one.message, one.hint) for one in self.unread
        )
        return (*(change.to_finding() for change in self.open), *unread, *self.notes)


_RANK = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


def ranked(changes: Iterable[Change]) -> tuple[Change, ...]:
    """`changes`, the worst for recovery first: weakening before other, critical before warning, then by address."""
    return tuple(
        sorted(
            changes,
            key=lambda each: (
                each.ignored_by is not None,
                not each.recovery_critical,
                _RANK[each.severity],
                each.address,
                each.drift_class,
            ),
        )
    )
