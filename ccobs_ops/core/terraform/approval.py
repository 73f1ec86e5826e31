"""Proposed plans and who approved them: in the ledger, for every host to see; the plan file itself on the host that made it.

A proposal is a saved plan, what it would change, and what it was made from. It is approved once, expires, and is applied at
most once. The file holds secrets: it lies in a private folder (0700) with mode 0600, and is removed when used or expired.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.approval import followed, on_whose_word
from ccobs_ops.core.errors import RefusedError, UsageError
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.folders import private
from ccobs_ops.core.ledger import Event, Ledger
from ccobs_ops.core.terraform.root import folder

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.inventory import Inventory

PROPOSED = "terraform_proposed"
APPROVED = "terraform_approved"
USED = "terraform_plan_used"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan that waits. `meaning` is the digest of what it would change and from what; `digest` that of its file.

    `mode` is `remediate` or `accept`; `changes` the objects and attributes, without values.
    """

    id: str
    target: str
    mode: str
    digest: str
    meaning: str
    source: str
    host: str
    proposed_at: datetime
    expires_at: datetime
    changes: tuple[dict[str, Any], ...] = field(default=())
    approved_by: str | None = None
    approved_at: datetime | None = None
    reason: str | None = None
    used_at: datetime | None = None
    outcome: str | None = None

    def status(self, now: datetime) -> str:
        """`proposed`, `approved`, `expired`, or what came of it: `applied`, `failed`."""
        if self.used_at is not None:
            return self.outcome or "used"
        if now >= self.expires_at:
            return "expired"
        return "approved" if self.approved_by else "proposed"

    def to_json(self, now: datetime) -> dict[str, Any]:
        """The stable JSON form."""
        return {
            "id": self.id,
            "target": self.target,
            "mode": self.mode,
            "status": self.status(now),
            "digest": self.digest,
            "source": self.source,
            "host": self.host,
            "proposed_at": rfc3339(self.proposed_at),
            "expires_at": rfc3339(self.expires_at),
            "changes": list(self.changes),
            "approved_by": self.approved_by,
            "approved_at": rfc3339(self.approved_at) if self.approved_at else None,
            "reason": self.reason,
            "used_at": rfc3339(self.used_at) if self.used_at else None,
        }


def proposals(ledger: Ledger, target: str | None = None) -> list[Proposal]:
    """All proposals of `target`, or of every root, newest first, with what became of them."""
    return followed(
        ledger, target, proposed=PROPOSED, begin=_proposal, after={APPROVED: _approved, USED: _used}
    )


def find(ledger: Ledger, prefix: str) -> Proposal:
    """The proposal whose id begins with `prefix`. Raises UsageError when there is none, or more than one."""
    matching = [one for one in proposals(ledger) if one.id.startswith(prefix)]
    exact = [one for one in matching if one.id == prefix] or matching
    if len(exact) != 1:
        what = "there is no plan" if not exact else "more than one plan begins with"
        raise UsageError(f"{what} {prefix!r}", hint="see them: ccobs-ops terraform plans")
    return exact[0]


def choose(inventory: Inventory, name: str) -> str:
    """The root called `name` (or terraform/NAME). Raises UsageError when the inventory has none."""
    found = name.removeprefix("terraform/")
    if found not in inventory.terraform:
        known = ", ".join(inventory.terraform) or "none"
        raise UsageError(f"the inventory has no target terraform/{found}", hint=f"its roots are: {known}")
    return found


def propose(ctx: Context, proposal: Proposal, content: bytes) -> Proposal:
    """Record `proposal` and keep its plan file `content`; one that means the same and still waits is returned instead."""
    now = ctx.clock()
    for known in proposals(ctx.ledger, proposal.target):
        same = known.meaning == proposal.meaning and known.mode == proposal.mode
        if (
            same
            and known.status(now) in ("proposed", "approved")
            and plan_file(ctx.inventory, known).exists()
        ):
            return known
    path = plan_file(ctx.inventory, proposal)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    document = proposal.to_json(now) | {"meaning": proposal.meaning}
    details = {name: value for name, value in document.items() if value is not None and name != "status"}
    ctx.ledger.record_event(Event(proposal.target, PROPOSED, proposal.id, proposal.proposed_at, details))
    return proposal


def approve(ctx: Context, prefix: str, *, by: str, reason: str) -> Proposal:
    """Record that `by` approves the plan whose id begins with `prefix`, and why.

    Raises UsageError where nobody or no reason is named, RefusedError for a plan that does not wait any more.
    """
    by, reason = on_whose_word(by, reason)
    proposal = find(ctx.ledger, prefix)
    now = ctx.clock()
    status = proposal.status(now)
    if status != "proposed":
        told = f"approved already, by {proposal.approved_by}" if status == "approved" else status
        raise RefusedError(f"plan {proposal.id} is {told}", hint="see: ccobs-ops terraform plans")
    ctx.ledger.record_event(
        Event(
            proposal.target,
            APPROVED,
            proposal.id,
            now,
            {"by": by, "reason": reason, "digest": proposal.digest},
        )
    )
    return replace(proposal, approved_by=by, approved_at=now, reason=reason)


def approved_plan(ctx: Context, target: str, mode: str, meaning: str) -> Proposal | None:
    """The approved plan of `target` that waits on this host and means exactly `meaning`."""
    now = ctx.clock()
    return next(
        (
            one
            for one in proposals(ctx.ledger, target)
            if one.status(now) == "approved"
            and one.mode == mode
            and one.meaning == meaning
            and plan_file(ctx.inventory, one).exists()
        ),
        None,
    )


def checked_content(ctx: Context, proposal: Proposal) -> bytes:
    """The bytes of the plan file. Raises RefusedError when they are not those that were approved."""
    path = plan_file(ctx.inventory, proposal)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RefusedError(
            f"the plan file of {proposal.id} cannot be read: {error.strerror}",
            hint=f"it was made on {proposal.host}; apply it there, or propose a new one",
        ) from error
    if digest(content) != proposal.digest:
        raise RefusedError(
            f"the plan file of {proposal.id} is not the one that was approved",
            hint="propose a new one, and see who wrote it",
        )
    return content


def used(ctx: Context, proposal: Proposal, outcome: str) -> None:
    """Record that the plan was used, so that it never is again, and remove its file."""
    ctx.ledger.record_event(Event(proposal.target, USED, proposal.id, ctx.clock(), {"outcome": outcome}))
    plan_file(ctx.inventory, proposal).unlink(missing_ok=True)


def sweep(ctx: Context, target: str) -> None:
    """Remove plan files of this host that nobody waits for any more: expired, used, or not on record."""
    now = ctx.clock()
    waiting = {
        plan_file(ctx.inventory, one).name
        for one in proposals(ctx.ledger, target)
        if one.status(now) in ("proposed", "approved")
    }
    name = target.partition("/")[2]
    for path in _folder(ctx.inventory, name).iterdir():
        if path.name not in waiting:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def digest(content: bytes) -> str:
    """SHA-256 of a plan file, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def new(
    target: str,
    mode: str,
    content: bytes,
    *,
    meaning: str,
    source: str,
    changes: Iterable[dict[str, Any]],
    now: datetime,
    expires_at: datetime,
) -> Proposal:
    """A proposal of the plan file `content`, not yet recorded."""
    found = digest(content)
    return Proposal(
        id=f"{target.partition('/')[2]}-{found[:12]}",
        target=target,
        mode=mode,
        digest=found,
        meaning=meaning,
        source=source,
        host=socket.gethostname(),
        proposed_at=now,
        expires_at=expires_at,
        changes=tuple(changes),
    )


def plan_file(inventory: Inventory, proposal: Proposal) -> Path:
    """Where the plan file lies on the host that made it."""
    return _folder(inventory, proposal.target.partition("/")[2]) / f"{proposal.id}.tfplan"


def _folder(inventory: Inventory, name: str) -> Path:
    return private(folder(inventory, name) / "plans")


def _proposal(event: Event) -> Proposal:
    told = event.details
    return Proposal(
        id=event.subject,
        target=event.target,
        mode=str(told["mode"]),
        digest=str(told["digest"]),
        meaning=str(told["meaning"]),
        source=str(told["source"]),
        host=str(told["host"]),
        proposed_at=event.at,
        expires_at=datetime.fromisoformat(told["expires_at"]),
        changes=tuple(told.get("changes", ())),
    )


def _approved(known: Proposal, event: Event) -> Proposal:
    if known.approved_by is not None:
        return known
    by, reason = str(event.details["by"]), str(event.details["reason"])
    return replace(known, approved_by=by, approved_at=event.at, reason=reason)


def _used(known: Proposal, event: Event) -> Proposal:
    return replace(known, used_at=event.at, outcome=str(event.details["outcome"]))
