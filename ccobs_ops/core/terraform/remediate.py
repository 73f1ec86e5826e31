"""Put drift back, or accept it: one exercise, `remediation` or `acceptance` of `terraform/NAME`.

Safety invariant: what is applied is a saved plan whose every change was looked at by `refusals`, made from the configuration
and the state that are still there, permitted by the guard and, where the inventory asks for it, approved on record. Anything
that does not hold, or cannot be told, ends the exercise before Terraform is asked to change anything. Whether it helped is
only said by a second scan.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Exercise, Recorder, Severity, Verdict, failed, passed, unknown
from ccobs_ops.core.guard import permit
from ccobs_ops.core.ledger import Event
from ccobs_ops.core.terraform import approval, history, runner
from ccobs_ops.core.terraform.approval import Proposal
from ccobs_ops.core.terraform.change import Change, DriftClass
from ccobs_ops.core.terraform.classify import consequences
from ccobs_ops.core.terraform.refusals import Case, Proof, Refusal, acceptance_refusals, refusals
from ccobs_ops.core.terraform.root import Root, opened
from ccobs_ops.core.terraform.runner import MemoryFile, PlanFile
from ccobs_ops.core.terraform.scan import Seen, details, look, rules_of, scan

if TYPE_CHECKING:
    from ccobs_ops.core.guard import Permit

REMEDIATION = "remediation"
ACCEPTANCE = "acceptance"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for. `dry_run` is the default everywhere; `by` is who asks, for the record."""

    accept: bool = False
    dry_run: bool = True
    confirmation: str | None = None
    by: str = ""

    @property
    def action(self) -> str:
        """The guard's name for it, which the inventory's `allow` has to hold."""
        return "accept" if self.accept else "remediate"


def remediate(ctx: Context, name: str, asked: Asked) -> Exercise:
    """Put the drift of root `name` back to what its configuration says, or accept it into the state.

    Claims `permitted`, `approved` (where an approval is needed), `applied`, and `resolved`, or `recorded` for an
    acceptance. A dry run says what would be done and claims only `permitted`. Raises RefusedError when the guard refuses.
    """
    target = f"terraform/{name}"
    if not asked.dry_run:
        _permit(ctx, target, asked)

    def body(recorder: Recorder) -> str | None:
        with ExitStack() as stack:
            root = stack.enter_context(opened(ctx.inventory, name))
            return _remediate(ctx, root, recorder, asked, stack)

    return attempt(ctx, target, ACCEPTANCE if asked.accept else REMEDIATION, "permitted", body)


def _permit(ctx: Context, target: str, asked: Asked) -> Permit:
    name = target.partition("/")[2]
    return permit(
        asked.action,
        target,
        allowed=ctx.inventory.terraform[name].allow,
        dry_run=asked.dry_run,
        confirmation=target if asked.confirmation == name else asked.confirmation,
    )


def _remediate(ctx: Context, root: Root, recorder: Recorder, asked: Asked, stack: ExitStack) -> str | None:
    approval.sweep(ctx, root.target)
    seen = look(ctx, root, recorder, stack, side_by_side=True)
    recorder.details |= details(seen, recorder.started_at)
    case, chosen = _case(ctx, root, recorder, asked, seen)
    recorder.details["plan"] = [change.to_json() for change in chosen]
    recorder.measurements["changes_planned"] = len(chosen)
    judge = acceptance_refusals if asked.accept else refusals
    found: list[Refusal] = [*judge(case), *_uncommitted(root, seen)]
    for refusal in found:
        recorder.find(
            f"refused_{refusal.code}", Severity.WARNING, refusal.subject, refusal.reason, refusal.lift
        )
    if found:
        more = f", and {len(found) - 1} more reasons" if len(found) > 1 else ""
        recorder.claim(failed("permitted", f"refused: {found[0].subject}: {found[0].reason}{more}"))
        return None
    saved = seen.observation.saved_refresh if asked.accept else seen.observation.saved
    if not chosen or saved is None:
        recorder.claim(passed("permitted", "there is nothing to do: no drift that an apply would put back"))
        return "nothing to do"
    recorder.claim(passed("permitted", f"{counted(len(chosen))}, none of them against the policy"))
    if asked.dry_run:
        recorder.details["next"] = [
            f"ccobs-ops terraform remediate {root.name}{' --accept' if asked.accept else ''} --no-dry-run"
            f" --confirm {root.name}"
        ]
        return f"dry run: {counted(len(chosen))} would be made"
    return _apply_or_propose(ctx, root, recorder, asked, seen, chosen, saved)


def _case(
    ctx: Context, root: Root, recorder: Recorder, asked: Asked, seen: Seen
) -> tuple[Case, tuple[Change, ...]]:
    now = recorder.started_at
    rules = rules_of(root)
    plan = seen.observation.plan
    planned = () if plan is None else consequences(plan, impact=rules, role=root.config.role)
    config = root.config.remediation
    proofs = {
        target: Proof(target, latest.finished_at if latest else None)
        for target in set(config.validated_by.values())
        for latest in [ctx.ledger.last_passed(target, "validation")]
    }
    first: dict[str, Any] = {}
    for change in seen.drift.open:
        since = seen.history.since(change, now)
        first[change.address] = min(since, first.get(change.address, since))
    case = Case(
        target=root.target,
        policy=config,
        drift=seen.drift,
        planned=planned,
        stateful=rules.is_stateful,
        now=now,
        first_seen=first,
        flips=history.flips(ctx.ledger, root.target, since=now - config.flip_window),
        proofs=proofs,
    )
    if not asked.accept:
        return case, planned
    repaired = (DriftClass.CHANGED, DriftClass.DELETED)
    return case, tuple(change for change in seen.drift.open if change.drift_class in repaired)


def _uncommitted(root: Root, seen: Seen) -> tuple[Refusal, ...]:
    if not seen.observation.source.dirty:
        return ()
    return (
        Refusal(
            "uncommitted",
            root.target,
            f"the checkout has changes that are in no commit ({seen.observation.source})",
            "commit them, or reset the checkout",
        ),
    )


def _apply_or_propose(
    ctx: Context,
    root: Root,
    recorder: Recorder,
    asked: Asked,
    seen: Seen,
    chosen: tuple[Change, ...],
    saved: PlanFile,
) -> str | None:
    meaning = _meaning(seen, chosen)
    now = ctx.clock()
    proposal = approval.new(
        root.target,
        asked.action,
        saved.content(),
        meaning=meaning,
        source=str(seen.observation.source),
        changes=history.as_rows(chosen),
        now=now,
        expires_at=now + root.config.remediation.approval_expires,
    )
    if root.config.remediation.approval:
        ready = approval.approved_plan(ctx, root.target, asked.action, meaning)
        if ready is None:
            waiting = approval.propose(ctx, proposal, saved.content())
            recorder.details |= {"proposal": waiting.id, "plan_digest": waiting.digest}
            recorder.details["next"] = [f"ccobs-ops terraform approve {waiting.id} --by WHO --reason WHY"]
            told = f"plan {waiting.id} waits for approval until {waiting.expires_at:%Y-%m-%d %H:%M} UTC"
            recorder.claim(unknown("approved", told))
            return told
        recorder.claim(passed("approved", f"by {ready.approved_by}: {ready.reason}"))
        with MemoryFile("tfplan") as file:
            file.path.write_bytes(approval.checked_content(ctx, ready))
            return _apply(ctx, root, recorder, asked, chosen, ready, file.path)
    return _apply(ctx, root, recorder, asked, chosen, proposal, saved.file.path)


def _apply(
    ctx: Context,
    root: Root,
    recorder: Recorder,
    asked: Asked,
    chosen: tuple[Change, ...],
    proposal: Proposal,
    plan_file: Path,
) -> str | None:
    """The act itself. The keys are looked at again; Terraform itself refuses a plan whose state has changed."""
    _permit(ctx, root.target, asked)
    config = root.config
    recorder.details |= {"plan_digest": proposal.digest, "proposal": proposal.id, "by": asked.by}
    ctx.progress.begin(f"{root.target}: apply")
    began = ctx.clock()
    outcome = "interrupted"
    try:
        with recorder.phase("apply"):
            ended = runner.apply(
                root.terraform,
                plan_file,
                lock_timeout=config.lock_timeout.total_seconds(),
                parallelism=config.parallelism,
                deadline=config.remediation.deadline.total_seconds(),
            )
        outcome = "applied" if ended.returncode == 0 else "failed"
    finally:
        _note(ctx, root, asked, chosen, proposal, outcome, began)
    if ended.returncode != 0:
        first = ended.errors[0]
        recorder.find("apply_failed", Severity.CRITICAL, root.target, first.told, first.hint)
        recorder.claim(failed("applied", f"terraform apply failed: {first.told}"))
    else:
        recorder.claim(passed("applied", f"plan {proposal.digest[:12]}: {counted(len(chosen))}"))
    return _resolve(ctx, root, recorder, asked, chosen)


def _note(
    ctx: Context,
    root: Root,
    asked: Asked,
    chosen: tuple[Change, ...],
    proposal: Proposal,
    outcome: str,
    began: Any,
) -> None:
    """Put what was done on record, whatever came of it; a plan is used up by the attempt."""
    kind = history.ACCEPTED if asked.accept else history.APPLIED
    if outcome != "applied":
        kind = f"terraform_apply_{outcome}"
    ctx.ledger.record_event(
        Event(
            root.target,
            kind,
            proposal.id,
            ctx.clock(),
            {
                "digest": proposal.digest,
                "source": proposal.source,
                "outcome": outcome,
                "by": asked.by,
                "approved_by": proposal.approved_by,
                "reason": proposal.reason,
                "seconds": round((ctx.clock() - began).total_seconds(), 3),
                "changes": history.as_rows(chosen),
            },
        )
    )
    if proposal.approved_by is not None:
        approval.used(ctx, proposal, outcome)


def _resolve(
    ctx: Context, root: Root, recorder: Recorder, asked: Asked, chosen: tuple[Change, ...]
) -> str | None:
    """Scan again: only that says whether the drift is gone, or recorded."""
    with recorder.phase("second_scan"):
        second = scan(ctx, root.name)
    recorder.details["second_scan"] = second.id
    complete = second.claim("complete")
    if complete is None or complete.verdict is not Verdict.PASSED:
        name = "recorded" if asked.accept else "resolved"
        recorder.claim(unknown(name, f"the second scan could not read everything: {second.reason}"))
        return None
    left = {row["address"]: row["class"] for row in second.details.get("changes", ()) if row["open"]}
    touched = {change.address for change in chosen}
    if asked.accept:
        wrong = [address for address in touched if left.get(address) == DriftClass.CHANGED.value]
        if wrong:
            recorder.claim(failed("recorded", f"{wrong[0]} still differs from the state"))
            return None
        recorder.claim(
            passed("recorded", "the state says what is there; the configuration still says otherwise")
        )
        return f"{counted(len(touched), 'object')} accepted into the state; write that into the configuration"
    clean = second.claim("no_drift")
    if clean is None or clean.verdict is not Verdict.PASSED:
        recorder.claim(failed("resolved", f"the second scan is not clean: {second.reason}"))
        return None
    recorder.claim(passed("resolved", f"the second scan ({second.id}) is clean"))
    return f"{counted(len(touched), 'object')} put back; the second scan is clean"


def _meaning(seen: Seen, chosen: tuple[Change, ...]) -> str:
    """A digest of what a plan would do and from what: two plans with the same one are the same to whoever approves."""
    rows = [
        {
            "address": change.address,
            "actions": list(change.actions),
            "attributes": [attribute.to_json() for attribute in change.attributes],
        }
        for change in sorted(chosen, key=lambda each: each.address)
    ]
    state = seen.observation.state
    facts = [rows, seen.observation.source.digest, str(state)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def counted(number: int, what: str = "change") -> str:
    """`1 change`, `2 changes`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
