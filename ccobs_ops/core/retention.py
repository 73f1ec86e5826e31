"""What the retention of every kind of backup has in common: how far back is needed, who allowed it, what it may rest on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.exercise import Finding, Recorder
from ccobs_ops.core.guard import Permit, permit


class Backup(Protocol):
    """An entry of a catalogue: what can be restored to any moment from its end on."""

    @property
    def stopped_at(self) -> datetime:
        """When it was finished; aware UTC."""
        ...


E = TypeVar("E", bound=Backup)


@dataclass(frozen=True, slots=True)
class Choice(Generic[E]):
    """What is kept, oldest first, what may go, in the order of deletion, and why the oldest kept one is kept."""

    keep: tuple[E, ...]
    drop: tuple[E, ...]
    reason: str


def oldest_needed(good: Sequence[E], *, newest: int, edge: datetime) -> E | None:
    """The oldest of `good` (oldest first) that must stay: for the `newest` so many, and for every moment since `edge`. Pure.

    A moment rests on the newest backup that was finished by then, so the newest one older than `edge` stays too. While none
    is that old, all of them stay. None where `good` is empty.
    """
    before = [entry for entry in good if entry.stopped_at <= edge]
    far_end = before[-1:] or good[:1]
    return min([*good[-newest:], *far_end], key=lambda entry: entry.stopped_at, default=None)


def permitted(
    target: str, *, allowed: Collection[str], dry_run: bool, confirmation: str | None
) -> Permit | None:
    """The permit to delete from the archive of `target`, None for a dry run. Raises RefusedError when the guard refuses."""
    if dry_run:
        return None
    return permit("retention", target, allowed=allowed, dry_run=dry_run, confirmation=confirmation)


def only_if_trusted(rec: Recorder, findings: Sequence[Finding]) -> None:
    """Raises OpsError when the catalogue has `findings`: what it rests on is not known then."""
    if findings:
        rec.findings.extend(findings)
        raise OpsError(
            f"nothing is deleted while the catalogue cannot be trusted: {findings[0].message}",
            hint=findings[0].hint,
        )
