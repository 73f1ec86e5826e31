"""Whether drift is to be repaired by itself now: what a root's own policy says, from the ledger alone."""

from __future__ import annotations

from datetime import datetime

from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.terraform.approval import proposals
from ccobs_ops.core.terraform.refusals import REPAIRED, frozen_until
from ccobs_ops.inventory_terraform import TerraformRoot


def not_now(ledger: Ledger, name: str, root: TerraformRoot, now: datetime) -> str:
    """Why the drift of root `name` is left alone at `now`; "" where it is to be repaired, or a plan to be proposed."""
    policy, target = root.remediation, f"terraform/{name}"
    latest = ledger.latest(target, "drift")
    if latest is None or not _complete(latest):
        return "no complete scan"
    rows = [row for row in latest.details.get("changes", ()) if row["open"] and row["class"] in REPAIRED]
    if not rows:
        return "no drift that an apply would put back"
    newest = max(datetime.fromisoformat(row.get("when") or row["first_seen"]) for row in rows)
    if now < newest + policy.grace:
        return "the grace period is not over"
    if any(frozen_until(freeze, now) for freeze in policy.freeze):
        return "nothing is changed in a freeze window"
    if policy.approval:
        waiting = [one for one in proposals(ledger, target) if one.status(now) in ("proposed", "approved")]
        if waiting and waiting[0].status(now) == "proposed":
            return f"plan {waiting[0].id} waits for approval"
    return ""


def _complete(scan: Exercise) -> bool:
    made = scan.claim("complete")
    return made is not None and made.verdict is Verdict.PASSED
