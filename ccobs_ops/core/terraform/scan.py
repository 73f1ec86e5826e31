"""The drift scan of a root: one exercise, `drift` of `terraform/NAME`. It changes nothing.

Claims: `complete` (everything was read, from one state), `no_critical_drift` (nothing that recovery rests on was weakened),
`no_drift`, and where the inventory asks for them `coverage` (what is in the account is in a state) and `parity` (the dr root
could take over from its primary).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Claim, Exercise, Recorder, failed, passed, rfc3339, unknown
from ccobs_ops.core.terraform import history
from ccobs_ops.core.terraform.change import Change, Drift, DriftClass, ranked
from ccobs_ops.core.terraform.classify import classify
from ccobs_ops.core.terraform.cloudtrail import detection
from ccobs_ops.core.terraform.impact import ImpactRules, load_rules
from ccobs_ops.core.terraform.observe import Observation, observe
from ccobs_ops.core.terraform.root import Root, opened
from ccobs_ops.core.terraform.surroundings import account_of, blame, parity_of

CAPABILITY = history.CAPABILITY
_SHOWN_CHANGES = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a root: what was observed, and what it means."""

    observation: Observation
    drift: Drift
    history: history.History


def scan(
    ctx: Context, name: str, *, side_by_side: bool = True, cancelled: threading.Event | None = None
) -> Exercise:
    """Scan the root `name` for drift. With `side_by_side` it may use more than one core. Setting `cancelled` ends it.

    The exercise is UNKNOWN when anything could not be read, and FAILED as soon as drift was seen.
    """

    def body(recorder: Recorder) -> str | None:
        with ExitStack() as stack:
            root = stack.enter_context(opened(ctx.inventory, name, cancelled=cancelled))
            seen = look(ctx, root, recorder, stack, side_by_side=side_by_side)
            return conclude(ctx, root, recorder, seen)

    return attempt(ctx, f"terraform/{name}", CAPABILITY, "complete", body)


def scan_all(ctx: Context, names: Sequence[str], *, workers: int | None = None) -> list[Exercise]:
    """Scan several roots side by side, as many at a time as there are cores; in the order of `names`."""
    count = min(workers or os.cpu_count() or 1, len(names)) or 1
    if len(names) == 1:
        return [scan(ctx, names[0])]
    said, cancelled = threading.Lock(), threading.Event()

    def one(name: str) -> Exercise:
        exercise = scan(ctx, name, side_by_side=False, cancelled=cancelled)
        with said:
            ctx.progress.note(f"{exercise.verdict.value:<8} {exercise.target}  {exercise.reason}")
        return exercise

    with ThreadPoolExecutor(count, thread_name_prefix="scan") as pool:
        try:
            return list(pool.map(one, names))
        except BaseException:
            cancelled.set()
            raise


def look(ctx: Context, root: Root, recorder: Recorder, stack: ExitStack, *, side_by_side: bool) -> Seen:
    """Observe `root` and say what differs, who did it, and what else is in its account. Nothing is claimed yet."""
    now = ctx.clock()
    rules = rules_of(root)
    ctx.progress.begin(f"{root.target}: plans")
    observation = observe(root, recorder, stack, side_by_side=side_by_side)
    earlier = history.History.of(ctx.ledger, root.target)
    drift = Drift(unread=observation.unread)
    refresh = observation.refresh or observation.plan
    if refresh is not None:
        drift = classify(
            refresh,
            observation.plan,
            impact=rules,
            role=root.config.role,
            ignore=root.config.ignore,
            accepted=history.accepted(ctx.ledger, root.target),
            today=now.date(),
        )
        drift = replace(drift, unread=tuple(dict.fromkeys((*observation.unread, *drift.unread))))
        drift = account_of(ctx, root, recorder, drift, refresh)
        drift = parity_of(ctx, root, recorder, drift, refresh, rules)
        drift = blame(ctx, root, recorder, drift, since=earlier.last_clean, now=now)
        drift = replace(drift, changes=ranked(drift.changes))
    return Seen(observation, drift, earlier)


def rules_of(root: Root) -> ImpactRules:
    """The impact rules for `root`: ours, and the inventory's own."""
    return load_rules(tuple(root.inventory.resolve(file) for file in root.config.impact_rules))


def conclude(ctx: Context, root: Root, recorder: Recorder, seen: Seen) -> str:
    """Put claims, measurements, findings and details of `seen` into the recorder; returns the reason."""
    drift = seen.drift
    now = recorder.started_at
    for claim in _claims(root, drift):
        recorder.claim(claim)
    recorder.findings.extend(drift.findings())
    recorder.measurements |= _measurements(drift, seen.history, now)
    recorder.details |= details(seen, now)
    return _reason(drift)


def _claims(root: Root, drift: Drift) -> list[Claim]:
    claims = [_complete(drift)]
    critical = [change for change in drift.open if change.recovery_critical]
    differing = [change for change in drift.open if change.drift_class is not DriftClass.UNMANAGED]
    claims.append(_none("no_critical_drift", critical, drift, "nothing that recovery rests on was weakened"))
    claims.append(_none("no_drift", differing, drift, "the infrastructure is what the configuration says"))
    if root.config.account is not None:
        claims.append(_coverage(root.config.account.min_coverage, drift))
    if root.config.parity_with is not None:
        claims.append(_parity(root.config.parity_with, drift))
    return claims


def _complete(drift: Drift) -> Claim:
    if drift.complete:
        return passed(
            "complete", f"all {drift.managed} objects of the state were read, and the state stood still"
        )
    first = drift.unread[0]
    more = f", and {len(drift.unread) - 1} more" if len(drift.unread) > 1 else ""
    return unknown("complete", f"{first.subject}: {first.message}{more}")


def _none(name: str, found: Sequence[Change], drift: Drift, good: str) -> Claim:
    if found:
        worst = found[0]
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        return failed(name, f"{worst.address}: {told(worst)}{more}")
    if not drift.complete:
        return unknown(name, "not everything could be read")
    return passed(name, good)


def told(change: Change) -> str:
    """What a change means, in a few words: its impact on recovery where it has one."""
    weakening = [impact.statement for impact in change.impacts if impact.direction.value == "weakens"]
    return weakening[0] if weakening else change.message


def _coverage(least: float, drift: Drift) -> Claim:
    ratio = drift.coverage_ratio
    if ratio is None or any(one.code.startswith("account") for one in drift.unread):
        return unknown("coverage", "the account could not be listed completely")
    text = f"{drift.managed} of {drift.managed + (drift.unmanaged or 0)} objects are in a state"
    return passed("coverage", text) if ratio >= least else failed("coverage", text)


def _parity(primary: str, drift: Drift) -> Claim:
    if any(one.code == "parity_not_compared" for one in drift.unread):
        return unknown("parity", f"{primary} could not be read")
    worse = [note for note in drift.notes if note.code.startswith("parity") and note.severity.value != "info"]
    if worse:
        more = f", and {len(worse) - 1} more" if len(worse) > 1 else ""
        return failed("parity", f"{worse[0].subject}: {worse[0].message}{more}")
    return passed("parity", f"it could take over from {primary}: nothing is smaller, older or shorter")


def _measurements(drift: Drift, earlier: history.History, now: datetime) -> dict[str, float]:
    found: dict[str, float] = {
        "objects_managed": drift.managed,
        "drift_open": sum(change.drift_class is not DriftClass.UNMANAGED for change in drift.open),
        "drift_critical": sum(change.recovery_critical for change in drift.open),
    }
    found |= {f"drift_{name}": count for name, count in drift.counts().items() if name != "unknown"}
    found["objects_unread"] = len(drift.unread)
    if drift.coverage_ratio is not None:
        found["coverage_ratio"] = drift.coverage_ratio
    fresh = [
        one
        for one in (detection(c, now=now, last_clean=earlier.last_clean) for c in _new(drift, earlier))
        if one
    ]
    if fresh:
        found["time_to_detect_seconds"] = max(one.seconds for one in fresh)
    return found


def _new(drift: Drift, earlier: history.History) -> list[Change]:
    return [change for change in drift.open if earlier.is_new(change)]


def details(seen: Seen, now: datetime) -> dict[str, Any]:
    """What a reader needs besides the claims: the changes with all that is known of them, and what they were read from."""
    observation, drift, earlier = seen.observation, seen.drift, seen.history
    version = observation.plan or observation.refresh
    basis = {
        d.basis for c in _new(drift, earlier) if (d := detection(c, now=now, last_clean=earlier.last_clean))
    }
    found: dict[str, Any] = {
        "source": str(observation.source),
        "source_digest": observation.source.digest,
        "commit": observation.source.commit,
        "state_serial": observation.state.serial if observation.state else None,
        "state_lineage": observation.state.lineage if observation.state else None,
        "terraform_version": version.terraform_version if version else None,
        "changes": [
            change.to_json() | {"first_seen": rfc3339(earlier.since(change, now))}
            for change in drift.changes[:_SHOWN_CHANGES]
        ],
        "counts": drift.counts(),
        "unread": [
            {"code": one.code, "subject": one.subject, "message": one.message, "hint": one.hint}
            for one in drift.unread
        ],
    }
    if basis:
        found["time_to_detect_counted_from"] = (
            "last clean scan" if "last_clean_scan" in basis else "the change"
        )
    if len(drift.changes) > _SHOWN_CHANGES:
        found["changes_left_out"] = len(drift.changes) - _SHOWN_CHANGES
    if observation.lock is not None:
        found["lock"] = str(observation.lock)
    if observation.lock_problem:
        found["lock_problem"] = observation.lock_problem
    return found


def _reason(drift: Drift) -> str:
    if not drift.open and drift.complete:
        return f"{drift.managed} objects, none differs from the configuration"
    return f"{len(drift.open)} differences"
