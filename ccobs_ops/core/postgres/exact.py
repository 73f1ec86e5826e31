"""Which canaries a restored copy must hold, and whether it holds exactly those. Pure functions.

For a copy that replayed up to LSN L along a history of timelines, let b(t) be the smaller of L and the point where the
history leaves timeline t (0 for a timeline that it does not contain). A canary whose commit record lies in
(low, high] on timeline t

* must be visible if high <= b(t),
* must not be visible if low >= b(t),
* may be either if b(t) cuts its range: at most one canary for each timeline, since ranges do not overlap.

One that was reconciled was committed on the timeline that it was found on or on one before: for a history without that
timeline it may be either, too.

A visible canary that the ledger does not know is explained only if it is the single next one after the newest on record,
and replay went beyond that newest one: the agent died, or is just now, between commit and record.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ccobs_ops.core.ledger import Canary
from ccobs_ops.core.postgres.wal import History


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the copy holds against what it must hold, as sequence numbers. `last` is the newest visible canary on record,
    `next` the oldest on record that is beyond the recovery point.
    """

    expected: int
    present: int
    missing: tuple[int, ...]
    unexpected: tuple[int, ...]
    last: Canary | None
    next: Canary | None

    @property
    def exact(self) -> bool:
        """Whether the two sets are equal."""
        return not self.missing and not self.unexpected


def compare_all(
    recorded: Callable[[int, int], Sequence[Canary]],
    visible: Callable[[int, int], Collection[int]],
    bounds: Bounds,
    history: History,
    replay_lsn: int,
    *,
    step: int = 100_000,
) -> Comparison:
    """Compare all canaries, `step` sequence numbers at a time, so that a month of them (2.6 million) needs no more memory
    than a day: `recorded` and `visible` give those with first <= seq <= last.
    """
    parts: list[Comparison] = []
    first = max(bounds.floor, bounds.oldest - 1) + 1
    end = max(bounds.newest, bounds.newest_visible)
    while True:
        tail = (
            end - first <= step
        )  # one longer, so that the one not recorded yet is never in a piece of its own
        last = max(first, end) if tail else first + step - 1
        parts.append(
            compare(recorded(first, last), visible(first, last), bounds.floor, history, replay_lsn, tail=tail)
        )
        if tail:
            break
        first = last + 1
    return Comparison(
        sum(part.expected for part in parts),
        sum(part.present for part in parts),
        tuple(seq for part in parts for seq in part.missing),
        tuple(seq for part in parts for seq in part.unexpected),
        next((part.last for part in reversed(parts) if part.last is not None), None),
        next((part.next for part in parts if part.next is not None), None),
    )


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where the comparison begins and ends: the copy's floor, the ledger's oldest and newest seq, the newest visible."""

    floor: int
    oldest: int
    newest: int
    newest_visible: int


def compare(
    recorded: Sequence[Canary],
    visible: Collection[int],
    floor: int,
    history: History,
    replay_lsn: int,
    *,
    tail: bool = True,
) -> Comparison:
    """Compare the canaries on record (ordered by seq) with those visible in the copy.

    `floor` is the newest sequence number that the copy says was pruned; whatever the ledger no longer holds is not
    compared either. Without `tail` there are later canaries, so that none here can be the one not recorded yet.
    """
    oldest = recorded[0].seq if recorded else 0
    newest = recorded[-1].seq if recorded else 0
    seen = {seq for seq in visible if seq > floor and (not recorded or not tail or seq >= oldest)}
    must: set[int] = set()
    may: set[int] = set()
    last: Canary | None = None
    following: Canary | None = None
    for canary in recorded:
        if canary.seq <= floor:
            continue
        end = history.end_of(canary.timeline)
        bound = 0 if end is None else min(replay_lsn, end)
        if canary.lsn_high <= bound:
            must.add(canary.seq)
        elif canary.lsn_low < bound or (end is None and canary.reconciled):
            may.add(canary.seq)
        elif following is None and (end is None or replay_lsn <= end):
            following = canary
        if canary.seq in seen:
            last = canary
    missing = sorted(must - seen)
    explained: set[int] = set()
    if tail and newest + 2 not in seen and (not recorded or _passed(recorded[-1], history, replay_lsn)):
        explained = {newest + 1}
    extra = sorted(seen - must - may - explained)
    return Comparison(len(must), len(must) - len(missing), tuple(missing), tuple(extra), last, following)


def _passed(canary: Canary, history: History, replay_lsn: int) -> bool:
    """Whether what was committed after `canary` may have been replayed: replay went beyond it, or left its timeline."""
    end = history.end_of(canary.timeline)
    return end is None or replay_lsn > end or replay_lsn >= canary.lsn_high
