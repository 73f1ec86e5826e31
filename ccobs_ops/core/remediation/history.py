"""Attempts at incidents, as the ledger has them: begun by a transition, ended by an event.

Invariant: an attempt is begun once. Its number is the cause of the transition `remediating`, and the ledger keeps
one cause of one transition of one incident once, whatever processes on whatever hosts try.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ccobs_ops.core import incidents
from ccobs_ops.core.folders import try_only_one
from ccobs_ops.core.incident import Incident, Transition
from ccobs_ops.core.ledger import Event, Ledger
from ccobs_ops.core.remediation.policy import Attempt
from ccobs_ops.core.remediation.table import Action

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context

ENDED = "remediation_ended"
RESET = "breaker_reset"
_MOST = 1_000


def subject_lock(ctx: Context, subject: str) -> Path:
    """The file that whoever repairs the target `subject` on this host holds; the kernel lets go of it when that
    process dies.
    """
    return ctx.inventory.state / "remediation" / f"{subject.replace('/', '-')}.target.lock"


def attempts_of(ctx: Context, incident: Incident, subject: str, *, held: bool = False) -> list[Attempt]:
    """Every attempt at `incident`, oldest first, with what came of it.

    `held` tells that the caller holds the target's lock: whatever was begun on this host and has no end is then over.
    """
    ended = [one for one in ctx.ledger.events(subject, ENDED, limit=_MOST) if one.subject == incident.id]
    ends = {int(one.details["attempt"]): one for one in ended if one.details["action"] != Action.LOOK}
    found = [_ended(one) for one in reversed(ended) if one.details["action"] == Action.LOOK]
    for one in incidents.history(ctx.ledger, incident.id):
        if one.name != "remediating" or "number" not in one.details:
            continue
        number, action = int(one.details["number"]), str(one.details["action"])
        if (end := ends.get(number)) is not None:
            found.append(replace(_ended(end), began_at=one.at))
        else:
            alive = _alive(ctx, subject, str(one.details.get("host", "")), held=held)
            found.append(Attempt(incident.id, number, action, one.at, alive=alive))
    return sorted(found, key=lambda each: each.began_at)


def ended_at_target(ledger: Ledger, subject: str, since: datetime) -> list[Attempt]:
    """Attempts that ended at the target `subject` since then, oldest first, whichever incident they were for."""
    return [_ended(event) for event in reversed(ledger.events(subject, ENDED, since=since, limit=_MOST))]


def _ended(event: Event) -> Attempt:
    told = event.details
    return Attempt(
        event.subject, int(told["attempt"]), str(told["action"]), event.at, event.at, str(told["outcome"])
    )


def resets(ledger: Ledger, subject: str, since: datetime) -> list[datetime]:
    """When an operator closed the breaker of `subject`, since then."""
    return [event.at for event in ledger.events(subject, RESET, since=since, limit=_MOST)]


def reset(ctx: Context, subject: str, *, by: str) -> None:
    """Close the breaker of `subject`, on record."""
    ctx.ledger.record_event(Event(subject, RESET, subject, ctx.clock(), {"by": by}))


def begin(ctx: Context, incident: Incident, number: int, action: str, by: str) -> Incident | None:
    """Claim attempt `number` at `incident`; the incident as it is then, or None when somebody else has it, or it is
    closed.
    """
    from ccobs_ops.core.incident import remediating  # noqa: PLC0415

    cause = f"attempt {number}"
    more = {"number": number, "action": action, "by": by, "host": socket.gethostname(), "pid": os.getpid()}
    return move(ctx, incident, lambda now: remediating(now, cause=cause, now=ctx.clock()), more)


def move(
    ctx: Context,
    incident: Incident,
    make: Callable[[Incident], Transition | None],
    more: Mapping[str, object] | None = None,
) -> Incident | None:
    """Keep what `make` gives for the incident as the ledger has it now; None when nothing was kept."""
    with ctx.ledger.writing() as connection:
        incidents.lock(connection)
        current = incidents.by_id(connection, incident.id)
        transition = None if current is None else make(current)
        if transition is None:
            return None
        transition = replace(transition, details=transition.details | dict(more or {}))
        return transition.incident if incidents.keep(connection, transition) else None


def end(
    ctx: Context, incident: Incident, subject: str, number: int, action: str, outcome: str, why: str
) -> None:
    """Put on record what came of attempt `number`."""
    details = {"attempt": number, "action": action, "outcome": outcome, "why": why}
    ctx.ledger.record_event(Event(subject, ENDED, incident.id, ctx.clock(), details))


def _alive(ctx: Context, subject: str, host: str, *, held: bool) -> bool | None:
    """Whether a process of this host still holds the lock of the target; None where it was begun on another host."""
    if host != socket.gethostname():
        return None
    if held:
        return False
    with try_only_one(subject_lock(ctx, subject)) as free:
        return not free
