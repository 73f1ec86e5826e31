"""What every approval in the ledger has in common: a proposal, who approved it and why, what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol, TypeVar

from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.ledger import Event, Ledger

_MOST_EVENTS = 10_000


class Proposed(Protocol):
    """What waits for an approval."""

    @property
    def proposed_at(self) -> datetime:
        """When it was proposed; aware UTC."""
        ...


P = TypeVar("P", bound=Proposed)


def followed(
    ledger: Ledger,
    target: str | None,
    *,
    proposed: str,
    begin: Callable[[Event], P],
    after: Mapping[str, Callable[[P, Event], P]],
) -> list[P]:
    """The proposals of `target`, or of every one, newest first, with what became of them.

    `begin` makes one of an event of the kind `proposed`; `after` says, by its kind, what a later event of the same subject
    makes of it.
    """
    events = ledger.events(target=target, limit=_MOST_EVENTS)[::-1]
    # first all proposals: the clocks of two hosts may disagree about what came first
    found = {event.subject: begin(event) for event in events if event.kind == proposed}
    for event in events:
        if event.kind in after and event.subject in found:
            found[event.subject] = after[event.kind](found[event.subject], event)
    return sorted(found.values(), key=lambda one: one.proposed_at, reverse=True)


def on_whose_word(by: str, reason: str) -> tuple[str, str]:
    """Who approves and why, without white space around. Raises UsageError where nobody or no reason is named."""
    if not by.strip() or not reason.strip():
        raise UsageError("an approval needs a name and a reason", hint="give --by WHO --reason WHY")
    return by.strip(), reason.strip()
