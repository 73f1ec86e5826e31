"""What is found, as families of metrics: few labels, none of which is an id, a time or a reason.

docs/metrics.md lists every family with its meaning and unit; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric

from ccobs_ops.core.exercise import Exercise, Severity, Verdict
from ccobs_ops.core.metrics.query import Found, Newest
from ccobs_ops.core.status import MEASURED, PROOFS, objectives_of
from ccobs_ops.inventory import Inventory

MOST = 48
"""Of one capability, so many phases and so many measurements are told at most: names are few, and shall stay few."""
OBJECTIVES = ("rto", "rpo", "backup_age", "backup_duration", "time_to_detect", "drill_age")
_OWN = ("ccobs", "drill")


class Families:
    """A gauge for each name, made when it is first used."""

    def __init__(self) -> None:
        self._made: dict[str, GaugeMetricFamily] = {}

    def add(self, name: str, about: str, value: float, **labels: str) -> None:
        """Add a sample of the gauge `name`; its labels must always be the same."""
        family = self._made.get(name)
        if family is None:
            family = self._made[name] = GaugeMetricFamily(name, about, labels=list(labels))
        family.add_metric(list(labels.values()), value)

    def all(self) -> list[Metric]:
        """Every family."""
        return list(self._made.values())


def targets_of(inventory: Inventory) -> tuple[str, ...]:
    """Every target of `inventory`, as noun/name."""
    return tuple(f"{noun}/{name}" for noun in PROOFS for name in getattr(inventory, noun))


def families(inventory: Inventory, found: Found) -> list[Metric]:
    """All that the ledger and the inventory tell. What the inventory no longer names is left out."""
    into = Families()
    targets = targets_of(inventory)
    for target in targets:
        _objectives(into, inventory, target)
    for newest in found.newest:
        if _is_known(newest.exercise.target, targets):
            _exercise(into, newest)
    for exercise, loss in _measuring(newest.exercise for newest in found.newest):
        if exercise.target in targets:
            _recovery(into, exercise, loss)
    _incidents(into, found, targets)
    for target, component, at in found.beats:
        if target in targets:
            into.add(
                "ccobs_agent_heartbeat_timestamp_seconds",
                "When a part of the agent last gave a sign of life.",
                at.timestamp(),
                target=target,
                component=component,
            )
    for target, at in found.canaries.items():
        _moment(
            into,
            "ccobs_canary_committed_timestamp_seconds",
            "When the newest canary was committed.",
            at,
            target=target,
        )
    _channels(into, inventory, found)
    into.add(
        "ccobs_ledger_links", "Links of the ledger's hash chain: exercises, events, transitions.", found.links
    )
    return into.all()


def _is_known(target: str, targets: tuple[str, ...]) -> bool:
    return target in targets or target.partition("/")[0] in _OWN


def _objectives(into: Families, inventory: Inventory, target: str) -> None:
    promised = objectives_of(inventory, target)
    for name in OBJECTIVES:
        span = getattr(promised, name, None)
        if span is not None:
            into.add(
                "ccobs_objective_seconds",
                "What a target promises.",
                span.total_seconds(),
                target=target,
                objective=name,
            )


def _exercise(into: Families, newest: Newest) -> None:
    exercise = newest.exercise
    labels = {"target": exercise.target, "capability": exercise.capability}
    for verdict in Verdict:
        into.add(
            "ccobs_exercise_verdict",
            "1 for the verdict of the newest exercise, 0 for the others.",
            float(exercise.verdict is verdict),
            **labels,
            verdict=verdict.value,
        )
    _moment(
        into,
        "ccobs_exercise_timestamp_seconds",
        "When the newest exercise finished.",
        exercise.finished_at,
        **labels,
    )
    if newest.passed_at is not None:
        about = "When the newest exercise that PASSED finished."
        _moment(into, "ccobs_exercise_passed_timestamp_seconds", about, newest.passed_at, **labels)
    into.add(
        "ccobs_exercise_duration_seconds", "How long the newest exercise took.", exercise.seconds, **labels
    )
    for severity in Severity:
        into.add(
            "ccobs_exercise_findings",
            "What the newest exercise noticed.",
            sum(finding.severity is severity for finding in exercise.findings),
            **labels,
            severity=severity.value,
        )
    _phases(into, exercise, labels)
    for name, value in list(exercise.measurements.items())[:MOST]:
        _measurement(into, name, value, labels)


def _phases(into: Families, exercise: Exercise, labels: dict[str, str]) -> None:
    names = list(dict.fromkeys(phase.name for phase in exercise.phases))[:MOST]
    for name in names:
        same = [phase for phase in exercise.phases if phase.name == name]
        about = "How long a phase of the newest exercise took."
        into.add("ccobs_phase_seconds", about, sum(phase.seconds for phase in same), **labels, phase=name)
        moved = [phase.bytes for phase in same if phase.bytes is not None]
        if moved:
            about = "What a phase of the newest exercise moved."
            into.add("ccobs_phase_bytes", about, sum(moved), **labels, phase=name)


def _measurement(into: Families, name: str, value: float, labels: dict[str, str]) -> None:
    """`rto_seconds` is the measurement `rto` of `ccobs_measurement_seconds`: a name holds one unit."""
    for unit in ("seconds", "bytes", "ratio"):
        if name.endswith(f"_{unit}"):
            about = f"What the newest exercise measured, in {unit}."
            short = name.removesuffix(f"_{unit}")
            into.add(f"ccobs_measurement_{unit}", about, value, **labels, measurement=short)
            return
    about = "What the newest exercise counted."
    into.add("ccobs_measurement_objects", about, value, **labels, measurement=name)
    if labels["capability"] == "drift" and name.startswith("drift_"):
        about = "Drift that the newest scan found, by class."
        into.add(
            "ccobs_drift_objects", about, value, target=labels["target"], drift=name.removeprefix("drift_")
        )


def _measuring(exercises: Iterable[Exercise]) -> Iterator[tuple[Exercise, str]]:
    """The exercises that tell RTO and RPO, each with the name of the measurement that is its RPO."""
    for exercise in exercises:
        capability, telling, loss = MEASURED.get(exercise.target.partition("/")[0], ("", "", ""))
        if exercise.capability == capability and telling in exercise.measurements:
            yield exercise, loss


def _recovery(into: Families, exercise: Exercise, loss: str) -> None:
    about = "The recovery time that the newest exercise measured."
    if "rto_seconds" in exercise.measurements:
        into.add("ccobs_rto_seconds", about, exercise.measurements["rto_seconds"], target=exercise.target)
    if loss in exercise.measurements:
        about = "The loss that the newest exercise measured; of a replicated pair its longest lag."
        into.add("ccobs_rpo_seconds", about, exercise.measurements[loss], target=exercise.target)


def _incidents(into: Families, found: Found, targets: tuple[str, ...]) -> None:
    known = [one for one in found.open if _is_known(one.target, targets)]
    for target in sorted({*targets, *(one.target for one in known)}):
        for severity in Severity:
            into.add(
                "ccobs_incidents_open",
                "Incidents that nothing has proven again yet.",
                sum(one.target == target and one.severity is severity for one in known),
                target=target,
                severity=severity.value,
            )
    for one in known:
        about = "When an incident that is open was noticed."
        _moment(
            into,
            "ccobs_incident_detected_timestamp_seconds",
            about,
            one.detected_at,
            target=one.target,
            capability=one.capability,
            claim=one.claim,
            scope=one.scope,
            severity=one.severity.value,
            kind=one.kind.value,
        )


def _channels(into: Families, inventory: Inventory, found: Found) -> None:
    for name in inventory.alerts.channels:
        state = found.channels.get(name)
        about = "Attempts to use a channel of alerts that failed, since the last that did not."
        into.add("ccobs_alert_channel_failures", about, state.failures if state else 0, channel=name)
        about = "Messages that wait for a channel of alerts."
        into.add("ccobs_alert_channel_waiting", about, found.waiting.get(name, 0), channel=name)
        if state is not None and state.delivered_at is not None:
            about = "When a channel of alerts last took a message."
            _moment(
                into,
                "ccobs_alert_channel_delivered_timestamp_seconds",
                about,
                state.delivered_at,
                channel=name,
            )


def _moment(into: Families, name: str, about: str, at: datetime, **labels: str) -> None:
    into.add(name, about, at.timestamp(), **labels)
