"""Who allowed a drill to run, where its inventory asks for that: proposed, approved by somebody else, used once.

An approval is of one plan: the same targets, stores, moment and transaction. It expires.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.approval import followed, on_whose_word
from ccobs_ops.core.drill.plan import DrillPlan, choose
from ccobs_ops.core.drill.situation import Asked
from ccobs_ops.core.errors import RefusedError, UsageError
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.ledger import Event, Ledger

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context

PROPOSED = "drill_proposed"
APPROVED = "drill_approved"
USED = "drill_approval_used"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A drill that waits for its approval. `meaning` is the digest of what it would do."""

    id: str
    target: str
    meaning: str
    operator: str
    reason: str
    proposed_at: datetime
    expires_at: datetime
    approved_by: str | None = None
    approved_at: datetime | None = None
    used: bool = False

    def status(self, now: datetime) -> str:
        """`proposed`, `approved`, `expired` or `used`."""
        if self.used:
            return "used"
        if now >= self.expires_at:
            return "expired"
        return "approved" if self.approved_by else "proposed"

    def to_json(self, now: datetime) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "id": self.id,
            "target": self.target,
            "status": self.status(now),
            "operator": self.operator,
            "reason": self.reason,
            "proposed_at": rfc3339(self.proposed_at),
            "expires_at": rfc3339(self.expires_at),
            "approved_by": self.approved_by,
            "approved_at": rfc3339(self.approved_at) if self.approved_at else None,
        }


def meaning_of(plan: DrillPlan, asked: Asked) -> str:
    """The digest of what is approved: the plan, the moment and the transaction, not who asks."""
    document = plan.to_json() | {
        "at": rfc3339(asked.at) if asked.at else None,
        "transaction": asked.transaction,
        "table": plan.config.table,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def proposals(ledger: Ledger, target: str) -> list[Proposal]:
    """All proposals of one drill, newest first, with what became of them."""
    return followed(
        ledger, target, proposed=PROPOSED, begin=_proposal, after={APPROVED: _approved, USED: _used}
    )


def take(ctx: Context, plan: DrillPlan, asked: Asked) -> Proposal:
    """The approval of exactly this drill, used up now; else the proposal that waits for one (`status` tells which)."""
    now, meaning = ctx.clock(), meaning_of(plan, asked)
    same = [one for one in proposals(ctx.ledger, plan.target) if one.meaning == meaning]
    approved = next((one for one in same if one.status(now) == "approved"), None)
    if approved is not None:
        ctx.ledger.record_event(Event(plan.target, USED, approved.id, now, {"operator": asked.operator}))
        return approved
    waiting = next((one for one in same if one.status(now) == "proposed"), None)
    if waiting is not None:
        return waiting
    proposal = Proposal(
        id=f"{plan.name}-{secrets.token_hex(4)}",
        target=plan.target,
        meaning=meaning,
        operator=asked.operator,
        reason=asked.reason,
        proposed_at=now,
        expires_at=now + plan.config.approval_expires,
    )
    details = proposal.to_json(now) | {"meaning": meaning, "plan": plan.to_json()}
    ctx.ledger.record_event(Event(plan.target, PROPOSED, proposal.id, now, details))
    return proposal


def approve(ctx: Context, name: str, *, by: str, reason: str) -> Proposal:
    """Record that `by` allows the newest waiting proposal of the drill `name`, and why.

    Raises UsageError where nobody or no reason is named, or nothing waits; RefusedError when `by` proposed it.
    """
    by, reason = on_whose_word(by, reason)
    target = f"drill/{choose(ctx.inventory, name)}"
    now = ctx.clock()
    waiting = next((one for one in proposals(ctx.ledger, target) if one.status(now) == "proposed"), None)
    if waiting is None:
        raise UsageError(
            f"no run of {target} waits for an approval",
            hint=f"propose one: ccobs-ops drill run {name} --no-dry-run",
        )
    if by == waiting.operator:
        raise RefusedError(f"{by} proposed this run of {target}", hint="somebody else has to approve it")
    ctx.ledger.record_event(Event(target, APPROVED, waiting.id, now, {"by": by, "reason": reason}))
    return replace(waiting, approved_by=by, approved_at=now)


def _proposal(event: Event) -> Proposal:
    told = event.details
    return Proposal(
        id=event.subject,
        target=event.target,
        meaning=str(told["meaning"]),
        operator=str(told["operator"]),
        reason=str(told["reason"]),
        proposed_at=event.at,
        expires_at=datetime.fromisoformat(told["expires_at"]),
    )


def _approved(known: Proposal, event: Event) -> Proposal:
    if known.approved_by is not None:
        return known
    return replace(known, approved_by=str(event.details["by"]), approved_at=event.at)


def _used(known: Proposal, _event: Event) -> Proposal:
    return replace(known, used=True)
