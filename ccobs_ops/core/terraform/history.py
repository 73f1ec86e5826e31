"""What earlier scans and repairs of a root say: since when a change stands, what was accepted, what flips back and forth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.terraform.change import Change

CAPABILITY = "drift"
ACCEPTED = "terraform_accepted"
APPLIED = "terraform_applied"
_LOOK_BACK = 50
_MOST_EVENTS = 10_000

Key = tuple[str, str, str]
"""What makes a change the same one in two scans: its address, its class, and the attribute."""


def keys(change: Change) -> tuple[Key, ...]:
    """The keys of `change`, one an attribute; one without any for a change of the whole object."""
    kind = change.drift_class.value
    return tuple((change.address, kind, each.path) for each in change.attributes) or (
        (change.address, kind, ""),
    )


@dataclass(frozen=True, slots=True)
class History:
    """`first_seen` of what stood at the last scan that read everything; `last_clean` is the last scan without drift."""

    first_seen: dict[Key, datetime]
    last_clean: datetime | None

    @classmethod
    def of(cls, ledger: Ledger, target: str) -> History:
        """As the ledger has it. Repairs look too; what could not read everything adds to what is known and ends nothing."""
        seen: dict[Key, datetime] = {}
        for exercise in ledger.exercises(target=target, limit=_LOOK_BACK):
            for row in exercise.details.get("changes", ()):
                at = datetime.fromisoformat(row.get("first_seen") or exercise.started_at.isoformat())
                paths = [str(each["path"]) for each in row.get("attributes", ())] or [""]
                for path in paths:
                    found = (str(row["address"]), str(row["class"]), path)
                    seen[found] = min(at, seen.get(found, at))
            if _passed(exercise, "complete"):
                break
        clean = next(
            (
                exercise.started_at
                for exercise in ledger.exercises(target=target, capability=CAPABILITY, limit=_LOOK_BACK * 10)
                if _passed(exercise, "no_drift")
            ),
            None,
        )
        return cls(seen, clean)

    def since(self, change: Change, now: datetime) -> datetime:
        """When `change`, or the newest part of it, was first seen: `now` if this is the first time."""
        return max(self.first_seen.get(key, now) for key in keys(change))

    def is_new(self, change: Change) -> bool:
        """Whether there is something in it that no scan saw before."""
        return any(key not in self.first_seen for key in keys(change))


def accepted(ledger: Ledger, target: str) -> frozenset[tuple[str, str]]:
    """(address, attribute path) of the drift that was accepted into the state of `target` and is not known to be settled."""
    found: set[tuple[str, str]] = set()
    for event in reversed(ledger.events(target=target, limit=_MOST_EVENTS)):
        rows = {
            (str(row["address"]), str(path))
            for row in event.details.get("changes", ())
            for path in row["paths"]
        }
        if event.kind == ACCEPTED:
            found |= rows
        elif event.kind == APPLIED:
            found -= rows
    return frozenset(found)


def flips(ledger: Ledger, target: str, *, since: datetime) -> Counter[tuple[str, str]]:
    """How often each (address, attribute path) was put back by a repair after `since`."""
    count: Counter[tuple[str, str]] = Counter()
    for event in ledger.events(target=target, kind=APPLIED, since=since, limit=_MOST_EVENTS):
        for row in event.details.get("changes", ()):
            count.update((str(row["address"]), str(path)) for path in row["paths"])
    return count


def as_rows(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """`changes` as an event's details hold them: which attributes of which objects, without their values."""
    return [
        {
            "address": change.address,
            "type": change.type,
            "actions": list(change.actions),
            "paths": [attribute.path for attribute in change.attributes] or [""],
        }
        for change in changes
    ]


def newest_scan(ledger: Ledger, target: str, *, within: timedelta, now: datetime) -> Exercise | None:
    """The newest scan of `target`, if it is younger than `within`."""
    found = ledger.latest(target, CAPABILITY)
    return found if found is not None and now - found.finished_at <= within else None


def _passed(exercise: Exercise, name: str) -> bool:
    claim = exercise.claim(name)
    return claim is not None and claim.verdict is Verdict.PASSED
