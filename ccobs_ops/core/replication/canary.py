"""Canary objects: written to the source on a clock, watched for in the replica, removed when they are old.

Invariants that the measured lag rests on:
1. A canary is on record only after the source confirmed it, with the moment of that confirmation: the replicator is never
   charged for time in which the object was not committed.
2. `seen_at` is a moment at which the whole object, byte for byte, was read from the replica.
3. `absent_at` is a moment at which the replica answered that it does not have it. A replica that does not
   answer says nothing: neither moment changes.
4. What an agent wrote and could not record before it was killed is found again in the source by its key.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ccobs_ops.core.errors import DamagedError, OpsError
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.guard import Permit, permit
from ccobs_ops.core.replication.arrivals import Arrival, Arrivals
from ccobs_ops.core.storage import MissingObjectError, ObjectStore, md5_hex

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.inventory import Inventory

_NAME = re.compile(r"(\d{12})-[0-9a-f]{8}")
_TIMEOUT = timedelta(seconds=5)
_FIRST_LOOK_SECONDS = 0.05
_LONGEST_LOOK_SECONDS = 5.0
_FLUSH_SECONDS = 5.0


def target_of(name: str) -> str:
    """`replication/NAME`, as the ledger knows the pair called `name`."""
    return f"replication/{name}"


def impatient(inventory: Inventory, name: str) -> ObjectStore:
    """The store called `name`, giving up after one short attempt: whoever looks on a clock looks again anyway."""
    store = inventory.stores[name]
    hasty = store.model_copy(update={"attempts": 1, "timeout": min(store.timeout, _TIMEOUT)})
    return ObjectStore.open(inventory.model_copy(update={"stores": {**inventory.stores, name: hasty}}), name)


class Canaries:
    """The canaries of one pair. One thread may send and remove while another one looks."""

    def __init__(
        self,
        ctx: Context,
        name: str,
        *,
        source: ObjectStore | None = None,
        replica: ObjectStore | None = None,
    ) -> None:
        pair = ctx.inventory.replication[name]
        self.target = target_of(name)
        self.pair = pair
        self.config = pair.canary
        self.arrivals = Arrivals(ctx.ledger, self.target)
        self._ctx = ctx
        self._prefix = pair.canary_prefix
        self._source = source or impatient(ctx.inventory, pair.source)
        self._replica = replica or impatient(ctx.inventory, pair.replica)
        self._waiting: dict[int, Arrival] = {}
        self._due: dict[int, float] = {}
        self._flushed: dict[int, float] = {}
        self._next = 1

    # -- the source's side -----------------------------------------------------------------------------------------

    def reconcile(self) -> int:
        """Put on record what lies in the source without a row; returns how many canaries that were.

        Raises OpsError when the source or the ledger cannot be asked.
        """
        known = {arrival.key for arrival in self.arrivals.stored()}
        self._next = self.arrivals.last_seq() + 1
        found = 0
        for stored in self._source.list(self._prefix):
            match = _NAME.fullmatch(stored.key.removeprefix(self._prefix))
            if match is None or stored.key in known:
                continue
            seq = int(match[1])
            if seq < self._next:
                seq = self._next  # a row that was forgotten already; it is removed like the others
            self._next = seq + 1
            self.arrivals.add(
                Arrival(self.target, seq, stored.key, stored.etag, stored.modified, reconciled=True)
            )
            found += 1
        return found

    def send(self) -> Arrival:
        """Write one canary to the source and put it on record. Raises OpsError when it was not taken."""
        seq = self._next
        key = f"{self._prefix}{seq:012d}-{secrets.token_hex(4)}"
        body = canary_body(self.target, seq, self._ctx.clock(), self.config.size)
        self._next = seq + 1  # also when it fails: nobody knows whether the source took it
        self._source.put(key, body)
        arrival = Arrival(self.target, seq, key, md5_hex(body), self._ctx.clock())
        self.arrivals.add(arrival)
        return arrival

    def remove_old(self) -> int:
        """Remove canaries older than the inventory's `canary.keep` from the source, and from the replica what stayed there.

        A canary that is still looked for stays. Only objects that are on record as ours are touched; returns how many.
        """
        now = self._ctx.clock()
        allowed = permit(
            "canary", self.target, allowed={"canary"}, dry_run=False, confirmation=self.target
        )  # our own objects: the inventory's `canary.keep` stands for the operator
        gone: list[Arrival] = []
        for arrival in self.arrivals.stored():
            if arrival.waiting or now - arrival.written_at < self.config.keep:
                continue
            if not _NAME.fullmatch(arrival.key.removeprefix(self._prefix)):
                continue
            self._source.delete(arrival.key, allowed)
            gone.append(replace(arrival, removed_at=now))
        self.arrivals.update(gone)
        with contextlib.suppress(
            OpsError
        ):  # read-only keys, or a replica that is down: a lifecycle rule will do
            self._tidy_replica(now, allowed)
        return len(gone)

    def _tidy_replica(self, now: datetime, allowed: Permit) -> None:
        """Where the replicator does not carry deletions, canaries would stay in the replica for good."""
        kept = {arrival.key for arrival in self.arrivals.stored()}
        for stored in list(self._replica.list(self._prefix)):
            old = now - stored.modified > self.config.keep + self.pair.rpo
            if old and stored.key not in kept and _NAME.fullmatch(stored.key.removeprefix(self._prefix)):
                self._replica.delete(stored.key, allowed)

    # -- the replica's side ----------------------------------------------------------------------------------------

    def resume(self) -> int:
        """Take up the canaries that an earlier agent still looked for; returns how many."""
        for arrival in self.arrivals.waiting():
            self.watch(arrival)
        return len(self._waiting)

    def watch(self, arrival: Arrival) -> None:
        """Look for `arrival` from now on."""
        self._waiting.setdefault(arrival.seq, arrival)
        self._flushed.setdefault(arrival.seq, self._ctx.timer())
        self._due.setdefault(arrival.seq, self._ctx.timer())

    @property
    def waiting(self) -> tuple[Arrival, ...]:
        """Those that are looked for, oldest first."""
        return tuple(self._waiting[seq] for seq in sorted(self._waiting))

    def look(self) -> tuple[Arrival, ...]:
        """Look for every canary whose turn it is; returns those that were seen or given up.

        A new canary is looked for every 50 ms, an older one after a tenth of its age, 5 s at most. Raises OpsError when the
        replica does not answer, and DamagedError when it holds other bytes than the source was given.
        """
        ended: list[Arrival] = []
        try:
            for arrival in self.waiting:
                if self._due[arrival.seq] > self._ctx.timer():
                    continue
                looked = self._look_for(arrival)
                if not looked.waiting:
                    ended.append(looked)
        finally:
            self._keep(ended)
        return tuple(ended)

    def flush(self) -> None:
        """Write down how far the looks for every waiting canary are."""
        self._flushed.clear()
        self._keep([])

    def next_look_seconds(self) -> float:
        """Seconds until a canary's turn comes; a second when none is looked for."""
        if not self._due:
            return 1.0
        return min(1.0, max(0.0, min(self._due.values()) - self._ctx.timer()))

    def _look_for(self, arrival: Arrival) -> Arrival:
        age = (self._ctx.clock() - arrival.written_at).total_seconds()
        pause = min(max(_FIRST_LOOK_SECONDS, age / 10), _LONGEST_LOOK_SECONDS)
        self._due[arrival.seq] = self._ctx.timer() + pause
        asked = self._ctx.clock()
        try:
            data = self._replica.get(arrival.key, limit=max(self.config.size, 1024) * 16)
        except MissingObjectError:
            arrival = replace(arrival, absent_at=asked)
            if asked - arrival.written_at >= self.config.timeout:
                arrival = replace(arrival, given_up_at=asked)
        else:
            if md5_hex(data) != arrival.md5:
                raise DamagedError(
                    f"{self._replica.locate(arrival.key)} holds other bytes than were written to the source",
                    code="canary_corrupt",
                    subject=arrival.key,
                    hint="compare the pair with full hashes: ccobs-ops replication compare NAME --hash-sample 1",
                )
            arrival = replace(arrival, seen_at=self._ctx.clock())
        self._waiting[arrival.seq] = arrival
        return arrival

    def _keep(self, ended: list[Arrival]) -> None:
        """Write what ended, and now and then how far the others are, so that a killed agent loses little."""
        now = self._ctx.timer()
        changed = list(ended)
        for arrival in self._waiting.values():
            if arrival.waiting and now - self._flushed.get(arrival.seq, 0.0) >= _FLUSH_SECONDS:
                self._flushed[arrival.seq] = now
                changed.append(arrival)
        if changed:
            self.arrivals.update(changed)
        for arrival in ended:
            for table in (self._waiting, self._due, self._flushed):
                table.pop(arrival.seq, None)


def canary_body(target: str, seq: int, at: datetime, size: int) -> bytes:
    """What canary `seq` holds: who it is, and then `size` bytes in all that follow from it and do not compress."""
    head = f"ccobs canary {target} {seq} {rfc3339(at)}\n".encode()
    filler = hashlib.shake_256(head).digest(max(0, size - len(head)))
    return (head + filler)[: max(size, len(head))]


def watch_until(
    ctx: Context, canaries: Canaries, seq: int, seconds: float, *, on_trouble: Callable[[OpsError], None]
) -> Arrival | None:
    """Look for canary `seq` for up to `seconds`; returns what became of it, None when the replica never answered."""
    deadline = ctx.timer() + seconds
    answered = False
    last: Arrival | None = next((one for one in canaries.waiting if one.seq == seq), None)
    while ctx.timer() < deadline:
        try:
            ended = canaries.look()
            answered = True
        except DamagedError:
            raise
        except OpsError as error:
            on_trouble(error)
            ctx.sleep(0.5)
            continue
        for arrival in ended:
            if arrival.seq == seq:
                return arrival
        last = next((one for one in canaries.waiting if one.seq == seq), last)
        ctx.sleep(min(canaries.next_look_seconds(), max(0.0, deadline - ctx.timer())))
    return last if answered else None


__all__ = ["Canaries", "canary_body", "impatient", "target_of", "watch_until"]
