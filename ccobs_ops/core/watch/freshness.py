"""How old the newest backup or snapshot is, and whether WAL was lost since: from the ledger alone, whatever the
schedules did.

| claim | PASSED says |
|---|---|
| `backup`, `snapshot` | a complete one is younger than `backup_age` |
| `wal` | no gap was recorded since the newest complete backup: all later moments can be restored |
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ccobs_ops.core.exercise import Claim, Exercise, Finding, Severity, Verdict, failed, passed
from ccobs_ops.core.units import format_duration, format_seconds
from ccobs_ops.core.watch.record import FRESHNESS, Judged, keep

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.ledger import Ledger
    from ccobs_ops.inventory import Inventory

_LOOKED_AT = 200
_GAP = "wal_gap"
TAKEN = {"postgres": "backup", "etcd": "snapshot"}
"""What is taken of each noun, and goes stale."""


def watch_freshness(ctx: Context, *, always: bool = False) -> list[Exercise]:
    """Look at every target that backups or snapshots are taken of: `freshness`. Only what is worth a row is in the list."""
    now = ctx.clock()
    found = [
        keep(
            ctx,
            f"{noun}/{name}",
            FRESHNESS,
            judge(ctx.inventory, ctx.ledger, f"{noun}/{name}", now),
            always=always,
        )
        for noun in TAKEN
        for name in getattr(ctx.inventory, noun)
    ]
    return [exercise for exercise in found if exercise is not None]


def judge(inventory: Inventory, ledger: Ledger, target: str, now: datetime) -> Judged:
    """What the ledger says about the newest backup or snapshot of `target` at the moment `now`."""
    noun, _, name = target.partition("/")
    capability = TAKEN[noun]
    limit: timedelta = getattr(inventory, noun)[name].objectives.backup_age
    newest = _newest(ledger, target, capability)
    claims: list[Claim] = []
    findings: list[Finding] = []
    measurements: dict[str, float] = {}
    if newest is None:
        claims.append(failed(capability, f"no {capability} was ever completed"))
    else:
        age = (now - newest.finished_at).total_seconds()
        measurements["backup_age_seconds"] = age
        told = (
            f"the newest {capability} is {format_seconds(age)} old, promised at most {format_duration(limit)}"
        )
        claims.append((passed if age <= limit.total_seconds() else failed)(capability, told))
    if claims[0].verdict is not Verdict.PASSED:
        hint = f"take one: ccobs-ops {noun} {capability} {name}"
        findings.append(Finding("proof_stale", Severity.CRITICAL, target, claims[0].reason, hint))
    if noun == "postgres" and newest is not None:
        claims.append(_wal(ledger, target, newest))
    return Judged(tuple(claims), tuple(findings), measurements)


def _newest(ledger: Ledger, target: str, capability: str) -> Exercise | None:
    taken = ledger.exercises(target=target, capability=capability, limit=_LOOKED_AT)
    return next(
        (one for one in taken if (made := one.claim("complete")) and made.verdict is Verdict.PASSED), None
    )


def _wal(ledger: Ledger, target: str, newest: Exercise) -> Claim:
    gaps = ledger.events(target, _GAP, since=newest.started_at, limit=1)
    if gaps:
        return failed("wal", f"WAL was lost at {gaps[0].subject} after the newest backup began")
    return passed("wal", "no gap was recorded since the newest backup began")
