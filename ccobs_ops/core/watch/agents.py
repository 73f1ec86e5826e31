"""Are the agents alive? One claim for each part of each agent, by its signs of life in the ledger.

| claim | PASSED says | FAILED | UNKNOWN |
|---|---|---|---|
| `noun/name/part` | a sign of life within the promise | it was alive, and is silent | never seen, or it says that it cannot |
| `postgres/name/slot` | the slot keeps the WAL that is not streamed yet | the server has dropped WAL, or will | |
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ccobs_ops.core.exercise import Claim, Exercise, Finding, Severity, failed, passed, unknown
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.units import format_duration, format_seconds
from ccobs_ops.core.watch.record import AGENTS, WATCH, Judged, claim_name, keep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ccobs_ops.core.context import Context
    from ccobs_ops.core.ledger import Ledger
    from ccobs_ops.inventory import Inventory

_INTERVALS = 5
"""A canary is due every interval; silence shorter than so many says nothing."""
_LEAST = timedelta(seconds=15)
_LOST = ("lost", "unreserved")
_COMMANDS = {
    "postgres": "ccobs-ops postgres agent",
    "etcd": "ccobs-ops etcd agent",
    "replication": "ccobs-ops replication agent",
}


def watch_agents(ctx: Context, *, always: bool = False) -> Exercise | None:
    """Look at every agent of the inventory: `watch` of `ccobs/agents`. None where nothing changed, or there is no agent."""
    return keep(ctx, AGENTS, WATCH, judge(ctx.inventory, ctx.ledger, ctx.clock()), always=always)


def parts(inventory: Inventory) -> Iterator[tuple[str, str, timedelta]]:
    """Target, part and longest silence of every part of an agent that the inventory needs."""
    silence = inventory.watch.agent_silence
    for name, cluster in inventory.postgres.items():
        limit = silence or cluster.objectives.time_to_detect
        for part in ("wal", "ship"):
            yield f"postgres/{name}", part, max(limit, _LEAST)
        yield f"postgres/{name}", "canary", max(limit, _LEAST, _INTERVALS * cluster.canary.interval)
    for name, member in inventory.etcd.items():
        if member.access == "direct":
            limit = silence or member.objectives.time_to_detect
            yield f"etcd/{name}", "canary", max(limit, _LEAST, _INTERVALS * member.canary.interval)
    for name, pair in inventory.replication.items():
        limit = silence or timedelta(minutes=15)
        for part in ("send", "watch"):
            yield f"replication/{name}", part, max(limit, _LEAST, _INTERVALS * pair.canary.interval)


def judge(inventory: Inventory, ledger: Ledger, now: datetime) -> Judged:
    """What the heartbeats in `ledger` say at the moment `now`; nothing is written."""
    claims: list[Claim] = []
    findings: list[Finding] = []
    ages: list[float] = []
    for target, part, limit in parts(inventory):
        name = claim_name(target, part)
        beat = ledger.heartbeat(target, part)
        if beat is None:
            claims.append(unknown(name, f"the agent of {target} ({part}) has never run"))
            findings.append(_finding("agent_never_ran", target, f"no sign of life of {part} is on record"))
            continue
        age = (now - beat.at).total_seconds()
        ages.append(age)
        if age > limit.total_seconds():
            told = f"the agent of {target} ({part}) was last seen {format_seconds(age)} ago"
            claims.append(failed(name, f"{told}, at most {format_duration(limit)} is promised"))
            findings.append(_finding("agent_silent", target, told))
            continue
        if error := beat.details.get("error"):
            said = REDACT(str(error).splitlines()[0])
            claims.append(unknown(name, f"the agent of {target} ({part}) says: {said}"))
            findings.append(_finding("agent_troubled", target, said))
        else:
            claims.append(passed(name, f"seen {format_seconds(max(age, 0.0))} ago"))
        if part == "wal" and (status := beat.details.get("slot_status")):
            claims.append(_slot(target, str(status)))
    silent = max(ages, default=0.0)
    return Judged(tuple(claims), tuple(findings), {"longest_silence_seconds": silent} if ages else {})


def _slot(target: str, status: str) -> Claim:
    name = claim_name(target, "slot")
    if status in _LOST:
        return failed(
            name, f"the replication slot of {target} is {status}: the server drops WAL that is not archived"
        )
    return passed(name, f"the slot is {status}")


def _finding(code: str, target: str, message: str) -> Finding:
    noun, _, name = target.partition("/")
    hint = f"see whether it runs and what it says: systemctl status, or start {_COMMANDS[noun]} {name}"
    return Finding(code, Severity.CRITICAL, target, message, hint)
