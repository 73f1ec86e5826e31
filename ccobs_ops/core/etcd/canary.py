"""Canary keys: small keys written on a clock, each with its revision in the ledger, outside the cluster.

Invariants that the proof rests on:
1. A canary is one key in a ring of `keep` slots: number n lies in slot n modulo keep. It is written only if the slot still
   has the revision that it was last seen with, so that a write whose answer was lost is never done twice.
2. A canary is in the ledger only after a quorum confirmed it, with the revision of exactly that write. At most one in the
   life of an agent is written and not yet recorded; the next start reads it back and records it as reconciled.
3. A cluster that was restored from a snapshot has lost canaries: the next start records which (event `canaries_lost`), and
   goes on with a new timeline.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.etcd.client import EtcdClient
from ccobs_ops.core.etcd.messages import KeyValue, everything_below
from ccobs_ops.core.ledger import Canary, Event, Ledger

LOST = "canaries_lost"


@dataclass(frozen=True, slots=True)
class Slot:
    """What one canary key holds, and the revision that it was written at."""

    seq: int
    timeline: int
    at: datetime
    revision: int


def slot_key(prefix: str, seq: int, keep: int) -> bytes:
    """The key of canary `seq`."""
    return f"{prefix}{seq % keep:06d}".encode()


def parse_slot(kv: KeyValue) -> Slot | None:
    """The canary in a key, or None if somebody else has written there."""
    try:
        body = json.loads(kv.value)
        return Slot(body["seq"], body["timeline"], datetime.fromisoformat(body["at"]), kv.mod_revision)
    except (ValueError, KeyError, TypeError):
        return None


def read_slots(client: EtcdClient, prefix: str, *, revision: int = 0, local: bool = False) -> list[Slot]:
    """Every canary of a cluster, by number; at `revision` if it is given."""
    key = prefix.encode()
    found = client.range(key, everything_below(key), revision=revision, local=local)
    slots = [slot for kv in found.kvs if (slot := parse_slot(kv)) is not None]
    return sorted(slots, key=lambda slot: slot.seq)


class CanaryWriter:
    """Writes canaries through `client` and records them in the ledger."""

    def __init__(self, client: EtcdClient, ledger: Ledger, target: str, *, prefix: str, keep: int) -> None:
        self._client = client
        self._ledger = ledger
        self._target = target
        self._prefix = prefix
        self._keep = keep
        self._next = 1
        self._timeline = 1
        self._revisions: dict[bytes, int] = {}

    def prepare(self, now: datetime) -> int:
        """Read the ring, record what an earlier agent wrote and could not record; returns how many that were."""
        slots = read_slots(self._client, self._prefix)
        self._revisions = {slot_key(self._prefix, s.seq, self._keep): s.revision for s in slots}
        last = self._ledger.last_canary(self._target)
        known = last.seq if last else 0
        top = slots[-1].seq if slots else 0
        self._timeline = max([last.timeline if last else 1, *(slot.timeline for slot in slots)])
        fresh = [slot for slot in slots if slot.seq > known]
        if last is not None and top < known:
            self._ledger.record_event(
                Event(
                    self._target,
                    LOST,
                    str(top + 1),
                    now,
                    {"first_seq": top + 1, "last_seq": known, "timeline": self._timeline},
                )
            )
            self._timeline += 1
        for slot in fresh:
            self._ledger.record_canary(self._canary(slot, reconciled=True))
        self._next = max(known, top) + 1
        return len(fresh)

    def write_one(self, now: datetime) -> Canary:
        """Write one canary and record it. Raises OpsError; the next call finds out whether it was written all the same."""
        key = slot_key(self._prefix, self._next, self._keep)
        slot = Slot(self._next, self._timeline, now.astimezone(UTC), 0)
        body = {"seq": slot.seq, "timeline": slot.timeline, "at": slot.at.isoformat()}
        written = self._client.put_if(
            key, json.dumps(body, separators=(",", ":")).encode(), mod_revision=self._revisions.get(key, 0)
        )
        slot = self._already(key) if written is None else replace(slot, revision=written)
        self._revisions[key] = slot.revision
        canary = self._canary(slot, reconciled=False)
        self._ledger.record_canary(canary)
        self._next += 1
        return canary

    def _already(self, key: bytes) -> Slot:
        """The slot changed since we looked: our own write, whose answer was lost, or somebody else's."""
        kvs = self._client.range(key).kvs
        slot = parse_slot(kvs[0]) if kvs else None
        if slot is not None and slot.seq == self._next:
            return slot
        self._revisions[key] = kvs[0].mod_revision if kvs else 0
        raise OpsError(
            f"somebody else writes below {self._prefix} of {self._target}",
            hint="one agent a cluster is enough; give each cluster its own target",
        )

    def _canary(self, slot: Slot, *, reconciled: bool) -> Canary:
        return Canary(
            self._target,
            slot.seq,
            slot.timeline,
            slot.at,
            slot.revision,
            slot.revision,
            reconciled=reconciled,
        )


def recorded_at(
    ledger: Ledger, target: str, started_at: datetime, stopped_at: datetime, *, keep: int, revision: int
) -> tuple[list[Canary], list[tuple[int, int]]]:
    """What `compare` needs for a snapshot taken from `started_at` to `stopped_at`: canaries, and those lost before it.

    What was written after a later restore of production is left out: it has revisions that this snapshot's history had too.
    """
    events = ledger.events(target, LOST, limit=1000)
    earlier = [event.details for event in events if event.at <= started_at]
    later = [event.details["timeline"] for event in events if event.at > started_at]
    lost = [(details["first_seq"], details["last_seq"]) for details in earlier]
    bounds = ledger.canary_bounds(target)
    if bounds is None:
        return [], lost
    newest = min(later, default=None)
    near = ledger.canaries(
        target, after=started_at - timedelta(days=1), before=stopped_at + timedelta(days=1)
    )
    before = [
        canary.seq for canary in near if canary.lsn_high <= revision and canary.committed_at <= stopped_at
    ]
    first = max(before, default=bounds[1]) - 2 * keep - sum(last - start + 1 for start, last in lost)
    found = ledger.canaries(target, first_seq=first)
    return [c for c in found if newest is None or c.timeline <= newest], lost


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a copy has against what is on record. Numbers of canaries; `last` is the newest that came back."""

    expected: int
    present: int
    missing: tuple[int, ...]
    unexpected: tuple[int, ...]
    changed: tuple[int, ...]
    last: Canary | None

    @property
    def exact(self) -> bool:
        """Nothing is missing, nothing too much, every revision is the recorded one."""
        return not (self.missing or self.unexpected or self.changed)


def compare(
    recorded: Sequence[Canary],
    found: Sequence[Slot],
    *,
    revision: int,
    keep: int,
    lost: Sequence[tuple[int, int]],
) -> Comparison:
    """Compare the ring of a copy of `revision` with the ledger. Pure.

    Expected are the canaries on record with a revision up to `revision`, as far back as the ring reaches, without those
    that an earlier restore lost (`lost`, first and last number of each): the revisions of those were given out again.
    """

    def gone(seq: int) -> bool:
        return any(first <= seq <= last for first, last in lost)

    alive = {canary.seq: canary for canary in recorded if not gone(canary.seq)}
    expected = {seq: canary for seq, canary in alive.items() if canary.lsn_high <= revision}
    slots: dict[int, int] = {}
    for seq in sorted(expected):
        slots[seq % keep] = seq
    wanted = {seq: expected[seq] for seq in slots.values()}
    here = {slot.seq: slot for slot in found}
    missing = tuple(sorted(seq for seq in wanted if seq not in here))
    unexpected = tuple(sorted(seq for seq in here if seq not in wanted))
    changed = tuple(
        sorted(seq for seq in wanted if seq in here and here[seq].revision != wanted[seq].lsn_high)
    )
    present = [seq for seq in wanted if seq in here and seq not in changed]
    last = wanted[max(present)] if present else None
    return Comparison(len(wanted), len(present), missing, unexpected, changed, last)
