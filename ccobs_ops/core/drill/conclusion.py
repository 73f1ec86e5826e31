"""What the steps of a drill come to: claims, the critical path, RTO and RPO, and the details that a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ccobs_ops.core.drill.held import Held, moment_of
from ccobs_ops.core.drill.situation import Point, Situation
from ccobs_ops.core.drill.step import Kind, Result, critical_path, service_ready_with
from ccobs_ops.core.exercise import Claim, Recorder, Severity, Verdict, failed, passed, rfc3339, unknown
from ccobs_ops.core.units import format_duration, format_seconds


def conclude(
    rec: Recorder,
    situation: Situation,
    point: Point | None,
    results: Mapping[str, Result],
    held: Mapping[str, Held],
) -> str:
    """Put all of it into the recorder; returns the reason in one line."""
    ends = service_ready_with(situation.plan.steps)
    path = critical_path(results, ends)
    rto = results[path[-1]].finished_seconds if path else None
    layers = _layers(situation, held)
    for result in results.values():
        _step(rec, result)
    rec.claim(_rto(situation, rto, results))
    rpo = _rpo(rec, situation, layers)
    _scenario(rec, situation, point, layers, results)
    if rto is not None:
        rec.measurements["rto_seconds"] = rto
    for layer in layers:
        if layer["rpo_seconds"] is not None:
            rec.measurements[f"rpo_{layer['target'].replace('/', '_')}_seconds"] = layer["rpo_seconds"]
    moments = [layer["recovered_to"] for layer in layers if layer["recovered_to"]]
    moment = point.moment if point is not None else None
    rec.details |= {
        "scenario": situation.plan.scenario.name,
        "operator": situation.asked.operator,
        "reason": situation.asked.reason,
        "declared_at": rfc3339(situation.declared_at),
        "lost_at": rfc3339(situation.lost_at),
        "steps": [result.to_json() for result in results.values()],
        "critical_path": list(path),
        "rto_seconds": rto,
        "rpo_seconds": rpo,
        "recovery_point": rfc3339(moment) if moment is not None else min(moments, default=None),
        "targets": layers,
    }
    names = ", ".join(layer.target for layer in situation.plan.layers)
    told = f"ready after {format_seconds(rto)}" if rto is not None else "the service was not ready"
    lost = f", {format_seconds(rpo)} lost" if rpo is not None else ""
    return f"{situation.plan.scenario.name} of {names}: {told}{lost}"


def _layers(situation: Situation, held: Mapping[str, Held]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for layer in situation.plan.layers:
        ended = held[layer.target].ended
        moment = moment_of(ended)
        lost = None if moment is None else max(0.0, (situation.lost_at - moment).total_seconds())
        rows.append(
            {
                "target": layer.target,
                "store": layer.store,
                "rpo_seconds": lost,
                "recovered_to": rfc3339(moment) if moment is not None else None,
                "exercise": ended.id if ended is not None else None,
            }
        )
    return rows


def _step(rec: Recorder, result: Result) -> None:
    name, outcome = result.step.name, result.outcome
    rec.claim(Claim(name, outcome.verdict, outcome.reason))
    if result.started_seconds is not None:
        rec.measurements[f"step_{name}_seconds"] = result.seconds
    if outcome.verdict is not Verdict.PASSED and result.started_seconds is not None:
        hint = f"ccobs-ops ledger show {outcome.exercise}" if outcome.exercise else ""
        rec.find("step_failed", Severity.CRITICAL, name, outcome.reason, hint)


def _rto(situation: Situation, rto: float | None, results: Mapping[str, Result]) -> Claim:
    limit = situation.plan.config.objectives.rto
    if rto is None:
        refuted = [r for r in results.values() if r.outcome.verdict is Verdict.FAILED and _before(r)]
        stopped = refuted or [
            r for r in results.values() if r.outcome.verdict is Verdict.UNKNOWN and _before(r)
        ]
        told = f"the service was not ready: {stopped[0].step.name}: {stopped[0].outcome.reason}"
        return failed("rto", told) if refuted else unknown("rto", told)
    told = (
        f"service ready {format_seconds(rto)} after it was declared, promised within {format_duration(limit)}"
    )
    return passed("rto", told) if rto <= limit.total_seconds() else failed("rto", told)


def _before(result: Result) -> bool:
    return result.step.kind not in (Kind.DRIFT, Kind.CLEANUP)


def _rpo(rec: Recorder, situation: Situation, layers: list[dict[str, Any]]) -> float | None:
    limit = situation.plan.config.objectives.rpo
    missing = [layer["target"] for layer in layers if layer["rpo_seconds"] is None]
    if missing:
        rec.claim(unknown("rpo", f"what was lost of {', '.join(missing)} is not known"))
        return None
    worst = max(layers, key=lambda layer: layer["rpo_seconds"])
    lost: float = worst["rpo_seconds"]
    rec.measurements["rpo_seconds"] = lost
    told = (
        f"{format_seconds(lost)} of {worst['target']} would be lost (to {worst['recovered_to']}), "
        f"promised at most {format_duration(limit)}"
    )
    rec.claim(passed("rpo", told) if lost <= limit.total_seconds() else failed("rpo", told))
    return lost


def _scenario(
    rec: Recorder,
    situation: Situation,
    point: Point | None,
    layers: list[dict[str, Any]],
    results: Mapping[str, Result],
) -> None:
    """The claim that the scenario adds about the whole of it."""
    proves = situation.plan.scenario.proves
    if proves is None:
        return
    name = proves[0]
    restored = [r for r in results.values() if r.step.kind is Kind.RESTORE]
    if point is None or any(r.outcome.verdict is not Verdict.PASSED for r in restored):
        stopped = next((r for r in results.values() if r.outcome.verdict is not Verdict.PASSED), None)
        told = f"not everything was restored: {stopped.outcome.reason}" if stopped else "nothing was restored"
        refuted = stopped is not None and stopped.outcome.verdict is Verdict.FAILED
        rec.claim(failed(name, told) if refuted else unknown(name, told))
    elif point.moment is not None:
        rec.claim(_consistent(name, situation, point.moment, layers))
    else:
        rec.claim(passed(name, f"{proves[1]} {point.told}"))


def _consistent(name: str, situation: Situation, moment: datetime, layers: list[dict[str, Any]]) -> Claim:
    """Every layer came back to `moment`: not later, and not earlier than the tolerance."""
    tolerance = situation.plan.config.tolerance
    for layer in layers:
        if layer["recovered_to"] is None:
            return unknown(name, f"nothing tells which moment {layer['target']} came back to")
        found = datetime.fromisoformat(layer["recovered_to"])
        if found > moment or moment - found > tolerance:
            off = format_seconds(abs((found - moment).total_seconds()))
            way = "after" if found > moment else "before"
            return failed(
                name,
                f"{layer['target']} came back to {off} {way} {rfc3339(moment)}, allowed {format_duration(tolerance)}",
            )
    return passed(
        name, f"{len(layers)} layers at {rfc3339(moment)}, none off by more than {format_duration(tolerance)}"
    )
