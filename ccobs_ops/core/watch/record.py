"""Keep what a look found as an exercise, but not every look: when a verdict changes, and from time to time.

A sensor looks every half minute; a row for each look would bury the ledger in rows that say the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.exercise import Claim, Exercise, Finding, Recorder, Verdict

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context

WATCH = "watch"
AGENTS = "ccobs/agents"
DAGSTER = "ccobs/dagster"
FRESHNESS = "freshness"
_CLAIM_LENGTH = 64
"""Characters that the ledger keeps of a claim's name in an incident."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one look found, before it is known whether it is worth a row."""

    claims: tuple[Claim, ...]
    findings: tuple[Finding, ...] = ()
    measurements: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


def keep(
    ctx: Context, target: str, capability: str, judged: Judged, *, always: bool = False
) -> Exercise | None:
    """Record `judged` as an exercise if a claim's verdict is another than before, or the last one is old; else None.

    Nothing to claim is nothing to record. `always` records in any case.
    """
    if not judged.claims:
        return None
    latest = ctx.ledger.latest(target, capability)
    if not always and latest is not None:
        age = ctx.clock() - latest.finished_at
        if age < ctx.inventory.watch.record_every and _verdicts(latest.claims) == _verdicts(judged.claims):
            return None

    def body(rec: Recorder) -> str | None:
        for claim in judged.claims:
            rec.claim(claim)
        rec.findings.extend(judged.findings)
        rec.measurements |= judged.measurements
        rec.details |= judged.details
        good = sum(claim.verdict is Verdict.PASSED for claim in judged.claims)
        return f"{good} of {len(judged.claims)} as they should be"

    return attempt(ctx, target, capability, judged.claims[0].name, body)


def claim_name(*parts: str) -> str:
    """A claim's name that fits into the ledger: `parts` by slashes, the middle of a long one left out."""
    name = "/".join(parts)
    if len(name) <= _CLAIM_LENGTH:
        return name
    half = (_CLAIM_LENGTH - 1) // 2
    return f"{name[:half]}~{name[-half:]}"


def _verdicts(claims: tuple[Claim, ...]) -> dict[str, Verdict]:
    return {claim.name: claim.verdict for claim in claims}
