"""Every target at a glance: what was last found, how old the newest proof is, and whether that keeps the promises.

A target is as good as the worst that is known of it. What was never exercised is UNKNOWN, and so is what was proven too
long ago: a restore is proven nightly and counts for `backup_age`, a drift scan is repeated every few minutes and counts
for `time_to_detect`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.units import format_duration, format_seconds
from ccobs_ops.inventory import Inventory, Objectives

PROOFS = {
    "postgres": ("backup", "window", "validation"),
    "etcd": ("snapshot", "health", "restore_drill"),
    "replication": ("comparison", "canary"),
    "terraform": ("drift",),
}
"""The capabilities that every target of a noun must have proven; others are shown when they were exercised."""
EXTRAS = {
    "postgres": ("restore", "replica_validation", "drill_restore", "retention"),
    "etcd": ("archive", "restore", "drill_restore", "retention", "defragmentation"),
    "replication": ("sweep", "repair", "drill_restore"),
    "terraform": ("remediation", "acceptance"),
}
COMPONENTS: dict[str, tuple[str, ...]] = {
    "postgres": ("wal", "canary"),
    "etcd": ("canary",),
    "replication": ("send", "watch"),
    "terraform": (),
}
"""The parts of the agent that look after a target and give signs of life."""
COUNTS_FOR = {"drift": "time_to_detect", "restore_drill": "drill_age"}
"""The objective that says for how long a proof counts, where it is not `backup_age`."""
MEASURED = {
    "postgres": ("validation", "rto_seconds", "rpo_seconds"),
    "etcd": ("restore_drill", "rto_seconds", "rpo_seconds"),
    "replication": ("canary", "lag_max_seconds", "lag_max_seconds"),
}
"""Which exercise tells RTO and RPO, the measurement that it must have for that, and the one that is the RPO."""


@dataclass(frozen=True, slots=True)
class CapabilityStatus:
    """One capability of a target. `verdict` is that of `latest`, unless that is missing or too old: then UNKNOWN.

    `proof_age_seconds` is the age of the newest exercise that PASSED; `counts` is False for what is shown only.
    """

    capability: str
    verdict: Verdict
    reason: str
    latest: Exercise | None
    proof_age_seconds: float | None
    passed_in_a_row: int
    counts: bool


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """One part of the agent: the age of its last sign of life, and what it complains about."""

    component: str
    verdict: Verdict
    reason: str
    age_seconds: float | None


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """One target: `rto_seconds` and `rpo_seconds` are what the newest validation that measured them found."""

    target: str
    verdict: Verdict
    capabilities: tuple[CapabilityStatus, ...]
    components: tuple[ComponentStatus, ...]
    objectives: Objectives
    rto_seconds: float | None
    rpo_seconds: float | None


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """FAILED before UNKNOWN before PASSED; of nothing at all, UNKNOWN."""
    found = set(verdicts)
    for verdict in (Verdict.FAILED, Verdict.UNKNOWN, Verdict.PASSED):
        if verdict in found:
            return verdict
    return Verdict.UNKNOWN


def objectives_of(inventory: Inventory, target: str) -> Objectives | None:
    """What `target` (noun/name) promises, or None when the inventory does not have it."""
    noun, _, name = target.partition("/")
    found = getattr(inventory, noun).get(name) if noun in PROOFS else None
    if found is None:
        return None
    if noun == "replication":
        return Objectives(rpo=found.rpo, backup_age=found.comparison_age)
    return found.objectives


def limit_of(capability: str, objectives: Objectives) -> timedelta:
    """For how long a proof of `capability` counts."""
    return getattr(objectives, COUNTS_FOR.get(capability, "backup_age"))


def proven_by(inventory: Inventory) -> tuple[tuple[str, str], ...]:
    """Each target of `inventory` with each capability whose proof it needs."""
    return tuple(
        (f"{noun}/{name}", capability)
        for noun, capabilities in PROOFS.items()
        for name in getattr(inventory, noun)
        for capability in capabilities
    )


def look(inventory: Inventory, ledger: Ledger, *, now: datetime) -> tuple[TargetStatus, ...]:
    """The status of every target of `inventory` at the moment `now`, as the ledger has it."""
    with ledger.snapshot():
        return tuple(
            _target(ledger, noun, name, objectives, now)
            for noun in PROOFS
            for name in getattr(inventory, noun)
            if (objectives := objectives_of(inventory, f"{noun}/{name}")) is not None
        )


def _target(ledger: Ledger, noun: str, name: str, objectives: Objectives, now: datetime) -> TargetStatus:
    target = f"{noun}/{name}"
    capabilities = [_proof(ledger, target, each, objectives, now) for each in PROOFS[noun]]
    capabilities += [
        status for each in EXTRAS[noun] if (status := _extra(ledger, target, each, now)).latest is not None
    ]
    components = tuple(_component(ledger, target, each, objectives, now) for each in COMPONENTS[noun])
    measured: dict[str, float] = {}
    loss = "rpo_seconds"
    if noun in MEASURED:
        capability, telling, loss = MEASURED[noun]
        measured = next(
            (
                exercise.measurements
                for exercise in ledger.exercises(target=target, capability=capability, limit=10)
                if telling in exercise.measurements
            ),
            {},
        )
    verdicts = [status.verdict for status in capabilities if status.counts]
    return TargetStatus(
        target=target,
        verdict=worst([*verdicts, *(component.verdict for component in components)]),
        capabilities=tuple(capabilities),
        components=components,
        objectives=objectives,
        rto_seconds=measured.get("rto_seconds"),
        rpo_seconds=measured.get(loss),
    )


def _proof(
    ledger: Ledger, target: str, capability: str, objectives: Objectives, now: datetime
) -> CapabilityStatus:
    known = _extra(ledger, target, capability, now)
    verdict, reason = known.verdict, known.reason
    promise = COUNTS_FOR.get(capability, "backup_age")
    limit: timedelta = getattr(objectives, promise)
    latest = known.latest
    if latest is not None and verdict is Verdict.PASSED and now - latest.finished_at > limit:
        verdict = Verdict.UNKNOWN
        age = format_seconds((now - latest.finished_at).total_seconds())
        reason = f"it passed {age} ago, and counts for {format_duration(limit)} ({promise})"
    return CapabilityStatus(
        capability, verdict, reason, latest, known.proof_age_seconds, known.passed_in_a_row, counts=True
    )


def _extra(ledger: Ledger, target: str, capability: str, now: datetime) -> CapabilityStatus:
    latest = ledger.latest(target, capability)
    proof = latest
    if latest is not None and latest.verdict is not Verdict.PASSED:
        proof = ledger.last_passed(target, capability)
    return CapabilityStatus(
        capability,
        latest.verdict if latest else Verdict.UNKNOWN,
        latest.reason if latest else "never exercised",
        latest,
        (now - proof.finished_at).total_seconds() if proof else None,
        ledger.streak(target, capability),
        counts=False,
    )


def _component(
    ledger: Ledger, target: str, component: str, objectives: Objectives, now: datetime
) -> ComponentStatus:
    beat = ledger.heartbeat(target, component)
    if beat is None:
        return ComponentStatus(component, Verdict.UNKNOWN, "the agent has never run", None)
    age: timedelta = now - beat.at
    if age > objectives.time_to_detect:
        reason = f"the agent was last seen {format_seconds(age.total_seconds())} ago"
        return ComponentStatus(component, Verdict.UNKNOWN, reason, age.total_seconds())
    if told := beat.details.get("error"):
        return ComponentStatus(component, Verdict.UNKNOWN, str(told), age.total_seconds())
    return ComponentStatus(component, Verdict.PASSED, "", age.total_seconds())
