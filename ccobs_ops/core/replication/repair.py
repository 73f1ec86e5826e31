"""Repair: copy exactly what one comparison found missing or different, and look at each object again.

Safety invariants:
1. Nothing is ever deleted.
2. An object is written only if both sides are still as the comparison saw them, and the replica's is not newer than the
   source's by the stores' own clocks. Each write is conditional on that, so that it also holds for what changes in the
   same instant.
3. Only keys of the comparison are touched.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.errors import OpsError, UnknownError, UsageError
from ccobs_ops.core.exercise import Exercise, Recorder, Severity, failed, passed, rfc3339, unknown
from ccobs_ops.core.guard import Permit, permit
from ccobs_ops.core.replication import objects, report
from ccobs_ops.core.replication.canary import target_of
from ccobs_ops.core.replication.copy import ChangedError, Copier, End, Original, original
from ccobs_ops.core.replication.difference import REPAIRABLE, Difference
from ccobs_ops.core.replication.lister import Lister
from ccobs_ops.core.replication.pace import Pace
from ccobs_ops.core.storage import in_order
from ccobs_ops.core.units import format_bytes, format_duration

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.inventory_replication import ReplicationPair

NAMED = 20
_CLOCK_SLACK = timedelta(seconds=1)
"""Times in S3 are whole seconds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one object: `state` is copied, already, planned, or why it is left."""

    key: str
    state: str
    bytes: int = 0
    why: str = ""


def repair(
    ctx: Context,
    name: str,
    *,
    dry_run: bool = True,
    confirmation: str | None = None,
    comparison: str | None = None,
) -> Exercise:
    """Repair the pair `name` by the newest comparison on this host, or by the one whose exercise id begins with `comparison`.

    A dry run (default) says what would be copied. Otherwise `confirmation` must be the pair (NAME or replication/NAME), and
    the inventory must allow `repair`. Claims `repaired`. Raises RefusedError when the guard refuses, UsageError for a
    comparison that is not here.
    """
    pair = ctx.inventory.replication[name]
    target = target_of(name)
    said = target_of(confirmation) if confirmation is not None and "/" not in confirmation else confirmation
    allowed = (
        None if dry_run else permit("repair", target, allowed=pair.allow, dry_run=dry_run, confirmation=said)
    )
    found = _report(ctx, name, comparison)
    return attempt(
        ctx, target, "repair", "repaired", lambda rec: _Repair(ctx, rec, name, pair, allowed).run(found)
    )


def _report(ctx: Context, name: str, wanted: str | None) -> report.Report:
    if wanted is None:
        found = report.newest(ctx.inventory, name)
        if found is None:
            raise UsageError(
                f"no comparison of replication/{name} is on this host",
                hint=f"compare first: ccobs-ops replication compare {name}",
            )
        return found
    root = report.folder(ctx.inventory, name)
    matches = sorted(path for path in root.glob(f"*/{report.NAME}") if wanted in path.parent.name)
    if len(matches) != 1:
        raise UsageError(
            f"{len(matches) or 'no'} comparisons of replication/{name} on this host match {wanted!r}",
            hint=f"see them: ls {root}",
        )
    return report.read(matches[0])


class _Repair:
    def __init__(
        self, ctx: Context, rec: Recorder, name: str, pair: ReplicationPair, allowed: Permit | None
    ) -> None:
        self.ctx, self.rec, self.name, self.pair, self.allowed = ctx, rec, name, pair, allowed
        limits = pair.repair
        self.copier = Copier(
            End.open(ctx.inventory, pair.source),
            End.open(ctx.inventory, pair.replica),
            Pace(limits.max_rate, timer=ctx.timer, sleep=ctx.sleep),
            Pace(limits.max_requests, timer=ctx.timer, sleep=ctx.sleep),
            ctx.progress.advance,
        )
        self.source, self.replica = (
            Lister(
                ctx.inventory,
                store,
                pair.prefix,
                limits.concurrency,
                clock=ctx.clock,
                timer=ctx.timer,
                sleep=ctx.sleep,
            )
            for store in (pair.source, pair.replica)
        )
        self._lock = threading.Lock()

    def run(self, found: report.Report) -> str:
        """Copy and look again; returns the reason."""
        rec = self.rec
        rec.details |= {
            "comparison": found.exercise,
            "compared_at": rfc3339(found.finished_at),
            "dry_run": self.allowed is None,
            "server_side": self.copier.server_side,
        }
        for side in (self.source, self.replica):
            side.page(None, limit=1)  # who does not answer now is told once, not for every object
        outcomes: list[Outcome] = []
        states: Counter[str] = Counter()
        copied_bytes = 0
        self.ctx.progress.begin("copy", None)
        with rec.phase("copy") as meter:
            limit = self.pair.repair.concurrency
            for outcome in in_order(self._wanted(found), self._one, workers=limit, ahead=4 * limit):
                states[outcome.state] += 1
                copied_bytes += outcome.bytes if outcome.state == "copied" else 0
                if outcome.state not in ("copied", "already"):
                    outcomes.append(outcome)
            meter.add(copied_bytes)
        rec.measurements |= {
            "repairable": float(sum(states.values())),
            "copied": float(states["copied"]),
            "copied_bytes": float(copied_bytes),
            "already_repaired": float(states["already"]),
            "left": float(sum(states.values()) - states["copied"] - states["already"]),
        }
        return self._account(outcomes, states, copied_bytes)

    def _wanted(self, found: report.Report) -> Iterator[Difference]:
        taken = 0
        for difference in found.differences():
            if difference.kind not in REPAIRABLE:
                continue
            taken += 1
            if taken > self.pair.repair.max_objects:
                self.rec.find(
                    "repair_bounded",
                    Severity.WARNING,
                    self.rec.target,
                    f"only the first {self.pair.repair.max_objects:,} objects are repaired at once",
                    "compare and repair again, or raise repair.max_objects",
                )
                return
            yield difference

    def _one(self, difference: Difference) -> Outcome:
        key = difference.key
        try:
            return self._repair(difference)
        except ChangedError as error:
            return Outcome(key, "changed", why=error.message)
        except UnknownError as error:
            return Outcome(key, "unknown", why=error.message)
        except OpsError as error:
            return Outcome(key, "failed", why=error.message)

    def _repair(self, difference: Difference) -> Outcome:
        key = difference.key
        seen = original(self.copier.source, key)
        if seen is None:
            return Outcome(
                key, "gone", why="it is no longer in the source; nothing is deleted in the replica"
            )
        version = str(seen.head.get("VersionId", ""))
        if difference.version_id and version and difference.version_id != version:
            return Outcome(
                key, "older_version", why="an older version is meant: a copy would become the current one"
            )
        now_source, now_replica = (objects.head(side, key) for side in (self.source, self.replica))
        if now_replica.seen is not None:
            if now_replica.seen.bytes == seen.bytes and objects.same_content(now_source, now_replica):
                return Outcome(key, "already", seen.bytes)
            if why := self._newer(now_source, now_replica):
                return Outcome(key, "newer", why=why)
            expected = difference.replica
            if expected is None or expected.etag != now_replica.seen.etag:
                return Outcome(key, "changed", why="the replica's object is not the one that was compared")
        if self.allowed is None:
            return Outcome(key, "planned", seen.bytes, f"{format_bytes(seen.bytes)} would be copied")
        replaces = now_replica.seen.etag if now_replica.seen is not None else None
        self.copier.copy(key, seen, replaces=replaces)
        return self._check(key, seen)

    def _newer(self, source: objects.Head, replica: objects.Head) -> str:
        """Why the replica's object must stay, "" when it may be replaced.

        Each store's own clock told when its object was written; how far that is ahead of ours at its answer makes the two
        moments comparable, however long the second answer took.
        """
        if source.seen is None or replica.seen is None:
            return ""
        if source.seen.modified is None or replica.seen.modified is None:
            return "its age is not known"
        later = (replica.seen.modified - replica.ahead) - (source.seen.modified - source.ahead)
        if later > _CLOCK_SLACK:
            told = format_duration(timedelta(seconds=round(later.total_seconds())))
            return f"the replica's object was written {told} after the source's and is not overwritten"
        return ""

    def _check(self, key: str, seen: Original) -> Outcome:
        """Look at what was written: size, ETag or native checksum, else the bytes themselves."""
        source, replica = (objects.head(side, key) for side in (self.source, self.replica))
        if source.seen is None or source.seen.etag != seen.etag:
            return Outcome(
                key, "changed", why="the source changed while it was being copied; repair it again"
            )
        if replica.seen is None:
            return Outcome(key, "failed", why="it was copied and is not there")
        same = replica.seen.bytes == seen.bytes and objects.same_content(source, replica)
        if same is None:
            same = objects.digest(self.source, key)[1] == objects.digest(self.replica, key)[1]
        if not same:
            return Outcome(key, "failed", why="it was copied and differs still")
        return Outcome(key, "copied", seen.bytes)

    def _account(self, outcomes: list[Outcome], states: Counter[str], copied_bytes: int) -> str:
        rec = self.rec
        rec.details["left"] = {state: count for state, count in sorted(states.items()) if state != "copied"}
        for outcome in outcomes[:NAMED]:
            if outcome.state == "planned":
                continue
            rec.find(
                f"repair_{outcome.state}",
                Severity.CRITICAL if outcome.state in ("failed", "unknown") else Severity.WARNING,
                outcome.key,
                outcome.why,
                _HINTS.get(outcome.state, ""),
            )
        done = f"{states['copied']} objects copied ({format_bytes(copied_bytes)}) and looked at again"
        if states["already"]:
            done += f", {states['already']} were there already"
        planned = states["planned"]
        if self.allowed is None:
            size = format_bytes(sum(each.bytes for each in outcomes if each.state == "planned"))
            rec.details["would_copy"] = [each.key for each in outcomes if each.state == "planned"][:NAMED]
            others = sum(count for state, count in states.items() if state not in ("planned", "already"))
            told = f"dry run: {planned} objects ({size}) would be copied" + (
                f", {others} would be left" if others else ""
            )
            if planned:
                rec.details["next"] = [f"ccobs-ops replication repair {self.name} --confirm {self.name}"]
            rec.claim(passed("repaired", told))
            return told
        left = {state: count for state, count in states.items() if state not in ("copied", "already", "gone")}
        if not left:
            rec.claim(passed("repaired", done))
        else:
            told = f"{done}; left: {', '.join(f'{count} {state}' for state, count in sorted(left.items()))}"
            rec.claim((unknown if set(left) == {"unknown"} else failed)("repaired", told))
        return done


_HINTS: dict[str, str] = {
    "newer": "if the source's is the right one, write it again there: then it is the newer one, and is replicated",
    "changed": "compare again, then repair",
    "unknown": "repair again: what was copied is not copied twice",
    "failed": "see the replica's log; repair again",
    "older_version": "bring older versions over by S3 Batch Replication",
}
