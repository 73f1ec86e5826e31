"""Whether a drill may be expected to succeed, told by the ledger alone: what was proven lately, and what drifted since.

It stops nothing: in an emergency one restores whatever was proven. It makes the drill red.
"""

from __future__ import annotations

from datetime import datetime

from ccobs_ops.core.drill.plan import DrillPlan
from ccobs_ops.core.exercise import (
    Claim,
    Exercise,
    Finding,
    Severity,
    Verdict,
    conclude,
    failed,
    passed,
    unknown,
)
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.rehearsal import CAPABILITY as REHEARSED
from ccobs_ops.core.units import format_duration, format_seconds

PROOFS = {
    "postgres": ("validation", "replica_validation", REHEARSED),
    "etcd": ("restore_drill", REHEARSED),
    "replication": ("comparison", REHEARSED),
}
"""The exercises that prove a target, each by restoring or comparing it."""
DRIFT = "drift"


def readiness(ledger: Ledger, plan: DrillPlan, *, now: datetime) -> tuple[Claim, list[Finding]]:
    """Claim `ready`: every target was proven within `proof_age`, and no root has open drift that recovery rests on.

    FAILED by an old proof, none at all, or critical drift; UNKNOWN where a root was never scanned or could not be read.
    """
    claims: list[Claim] = []
    findings: list[Finding] = []
    for layer in plan.layers:
        claims.append(_proof(ledger, layer.target, plan, now))
        if claims[-1].verdict is not Verdict.PASSED:
            findings.append(
                Finding(
                    "proof_too_old",
                    Severity.CRITICAL,
                    layer.target,
                    claims[-1].reason,
                    "prove it now: launch nightly_validation, or the drill of this target alone",
                )
            )
    for root in plan.roots:
        claims.append(drift(ledger.latest(f"terraform/{root}", DRIFT), root))
        if claims[-1].verdict is Verdict.FAILED:
            findings.append(
                Finding(
                    "drift_open",
                    Severity.CRITICAL,
                    f"terraform/{root}",
                    claims[-1].reason,
                    f"ccobs-ops terraform remediate {root}",
                )
            )
    verdict = conclude(claims)
    told = "; ".join(claim.reason for claim in claims if claim.verdict is verdict)
    if verdict is Verdict.PASSED:
        return passed("ready", told), findings
    return (failed if verdict is Verdict.FAILED else unknown)("ready", told), findings


def _proof(ledger: Ledger, target: str, plan: DrillPlan, now: datetime) -> Claim:
    noun = target.partition("/")[0]
    found = [ledger.last_passed(target, capability) for capability in PROOFS[noun]]
    newest = max((each.finished_at for each in found if each is not None), default=None)
    limit = plan.config.proof_age
    if newest is None:
        return failed(target, f"{target} was never proven: {' or '.join(PROOFS[noun][:1])} never passed")
    told = f"{target} was last proven {format_seconds((now - newest).total_seconds())} ago"
    if now - newest > limit:
        return failed(target, f"{told}, allowed {format_duration(limit)}")
    return passed(target, told)


def drift(exercise: Exercise | None, root: str) -> Claim:
    """Whether a scan read everything of `root` and found nothing that recovery rests on weakened."""
    if exercise is None:
        return unknown(root, f"terraform/{root} was never scanned for drift")
    for name in ("no_critical_drift", "complete"):
        claim = exercise.claim(name)
        if claim is None or claim.verdict is not Verdict.PASSED:
            said = claim.reason if claim is not None else exercise.reason
            refuted = claim is not None and claim.verdict is Verdict.FAILED
            return (failed if refuted else unknown)(root, f"terraform/{root}: {said}")
    return passed(root, f"terraform/{root} has no drift that recovery rests on")
