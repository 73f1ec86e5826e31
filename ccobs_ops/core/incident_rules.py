"""Which exercises open incidents, how grave they are, and which proof is a proof of which claim.

An act of an operator that fails is no incident of its target: it told whoever gave the command. What it shows of the
target, the next look at the target shows too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from ccobs_ops.core.exercise import Claim, Exercise, Severity, Verdict
from ccobs_ops.core.incident import Incident, worse

if TYPE_CHECKING:
    from ccobs_ops.inventory import Inventory

_BOTH = frozenset({Verdict.FAILED, Verdict.UNKNOWN})
_ONLY_FAILED = frozenset({Verdict.FAILED})
_NEVER: frozenset[Verdict] = frozenset()
FINISHED = "finished"
"""The claim that `attempt` adds where an exercise ends before its time. Whatever comes to its end has proven it again."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which verdicts of a claim open an incident, and why so."""

    opens: frozenset[Verdict]
    why: str


_LOOKS = Rule(_BOTH, "it looks at the target, and what it cannot see is not known to be good")
CAPABILITIES = {
    "forecast": Rule(_ONLY_FAILED, "too little history to tell is no fault"),
    "restore": Rule(_NEVER, "an operator restores"),
    "retention": Rule(_NEVER, "an operator prunes"),
    "repair": Rule(_NEVER, "it mends what a comparison found; that incident stays open"),
    "remediation": Rule(_NEVER, "it mends what a scan found; that incident stays open"),
    "restart": Rule(_NEVER, "it starts an agent that is silent; that incident stays open"),
    "slot": Rule(_NEVER, "it mends the archiver; that incident stays open"),
    "acceptance": Rule(_NEVER, "an operator accepts drift"),
    "material": Rule(_NEVER, "an operator opens what is stored"),
    "defragmentation": Rule(_NEVER, "an operator defragments"),
}
"""What differs from the rule for all others, `OTHERS`."""
OTHERS = _LOOKS

_AT_MOST_WARNING = frozenset({"in_time", "no_extra", "rto_will_hold", "within_quota"})
"""Claims that say: it can still be recovered, but something promised is not kept or a reserve is used up."""

SCOPED = {"sweep": "prefix", "validation": "day", "replica_validation": "day"}
"""Capabilities whose exercises may be about a part of the target only, and the detail that names it."""
_COVERED_BY = {"sweep": "comparison"}
"""A proof of the whole, by another capability, is a proof of each part."""


def rule_of(capability: str) -> Rule:
    """What holds for `capability`."""
    return CAPABILITIES.get(capability, OTHERS)


def opens(exercise: Exercise, claim: Claim) -> bool:
    """Whether `claim`, which did not pass, opens an incident. A dry run never does."""
    return claim.verdict in rule_of(exercise.capability).opens and exercise.details.get("dry_run") is not True


def capabilities_closed_by(capability: str) -> tuple[str, ...]:
    """The capabilities whose incidents an exercise of `capability` can prove."""
    return (capability, *(part for part, whole in _COVERED_BY.items() if whole == capability))


def proven_by(capability: str) -> tuple[str, ...]:
    """The other capabilities that can prove an incident of `capability`."""
    whole = _COVERED_BY.get(capability)
    return () if whole is None else (whole,)


def claims_of(exercise: Exercise) -> tuple[Claim, ...]:
    """The claims of `exercise`; one that came to its end has also proven `finished`."""
    if exercise.claims and exercise.claim(FINISHED) is None:
        return (*exercise.claims, Claim(FINISHED, Verdict.PASSED, "it came to its end"))
    return exercise.claims


def scope_of(exercise: Exercise) -> str:
    """The part of the target that `exercise` is about; empty for all of it.

    A validation of the newest commit is about the target as it is, also where it fills the partition of its day.
    """
    name = SCOPED.get(exercise.capability)
    if name is None or (name == "day" and exercise.details.get("strategy") == "newest"):
        return ""
    found = exercise.details.get(name)
    return f"{name} {found}" if found else ""


def covers(exercise: Exercise, incident: Incident, kept_since: date | None) -> bool:
    """Whether `exercise` looked at what `incident` is about. `kept_since` is the first day that is still kept: an incident
    about a day before it is about nothing any more, and any proof of the target closes it.
    """
    if exercise.capability != incident.capability:
        return exercise.target == incident.target and scope_of(exercise) == ""
    scope = scope_of(exercise)
    if scope == incident.scope:
        return True
    kind, _, value = incident.scope.partition(" ")
    return kind == "day" and kept_since is not None and scope == "" and value < kept_since.isoformat()


def kept_since(inventory: Inventory, target: str, today: date) -> date | None:
    """The first day of the window that retention keeps for `target`; None where no window is promised."""
    noun, _, name = target.partition("/")
    cluster = inventory.postgres.get(name) if noun == "postgres" else None
    return None if cluster is None else today - cluster.retention.window - timedelta(days=1)


def severity_of(exercise: Exercise, claim: Claim) -> Severity:
    """How grave it is that `claim` did not pass: as its gravest finding, at least a warning.

    Without any finding a refuted claim is critical, and one that could not be checked is a warning.
    """
    if claim.name in _AT_MOST_WARNING:
        return Severity.WARNING
    if not exercise.findings:
        return Severity.CRITICAL if claim.verdict is Verdict.FAILED else Severity.WARNING
    found = Severity.WARNING
    for finding in exercise.findings:
        found = worse(found, finding.severity)
    return found


def hint_of(exercise: Exercise) -> str:
    """The hint of the gravest finding that has one."""
    for severity in (Severity.CRITICAL, Severity.WARNING, Severity.INFO):
        for finding in exercise.findings:
            if finding.severity is severity and finding.hint:
                return finding.hint
    return f"see what it found: ccobs-ops ledger show {exercise.id}"
