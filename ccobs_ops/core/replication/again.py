"""Look at every suspect again before it is reported: by HEAD where they are few, by listing again where they are many."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ccobs_ops.core.replication import objects
from ccobs_ops.core.replication.difference import Difference, Kind
from ccobs_ops.core.replication.explain import Explainer
from ccobs_ops.core.replication.journal import Journal, Stretch
from ccobs_ops.core.replication.merge import Found, Merge, Suspect
from ccobs_ops.core.replication.order import Order
from ccobs_ops.core.replication.sample import Sample
from ccobs_ops.core.storage import in_order

MANY = 200
"""Suspects in one stretch from which on a second listing is cheaper than asking for each of them."""
SETTLE_SECONDS = 1.0
"""How long an object that only the replica has is given to go the way of its original, where no deletion is on record."""
MOST_READ = 100_000


@dataclass(slots=True)
class Again:
    """The second look at what `journal` holds. `resolved` counts suspects that were none any more."""

    explainer: Explainer
    journal: Journal
    order: Order
    sample: Sample
    workers: int
    timer: Callable[[], float]
    sleep: Callable[[float], None]
    resolved: int = 0
    read: int = 0
    read_bytes: int = 0
    _budget: int = field(default=0)
    _settled_by: float = field(default=0.0)

    def differences(self) -> Iterator[Difference]:
        """Every difference that is still one, in key order."""
        self._settled_by = self.timer() + SETTLE_SECONDS
        for stretch, suspects in self.journal.suspects(self.order):
            look = self._look
            if len(suspects) >= MANY:
                suspects = self._listed(stretch, suspects)
                look = self._look_if_needed
            found = list(in_order(iter(suspects), look, workers=self.workers, ahead=4 * self.workers))
            if any(each is not None and each.kind is Kind.ONLY_IN_REPLICA for each in found):
                found = self._settled(list(suspects), found)
            for each in found:
                if each is None:
                    self.resolved += 1
                else:
                    yield each

    def hashed(self, limit_bytes: int) -> Iterator[Difference]:
        """Read the drawn objects, at most `limit_bytes` on each side; yields those that differ, in key order."""
        drawn = self._drawn(limit_bytes)
        results = in_order(iter(drawn), self._compare, workers=min(self.workers, 8), ahead=16)
        yield from (each for each in results if each is not None)

    def _listed(self, stretch: Stretch, suspects: list[Suspect]) -> list[Suspect]:
        """The same suspects as a second listing shows them; those that it does not show any more are resolved."""
        found = Found()
        again = Merge(
            self.explainer.source, self.explainer.replica, self.order, Sample.of(0, 0), lambda _count: None
        )
        cursor, ends = stretch.low, False

        def claim(bound: bytes | None) -> tuple[bytes | None, bool]:
            high = stretch.high
            if high is not None and (bound is None or self.order.of(bound) >= self.order.of(high)):
                return high, True
            return bound, bound is None

        while not ends:
            cursor, ends = again.step(cursor, claim, found)
        known = {each.key for each in suspects}
        still = [each for each in found.suspects if each.key in known]
        self.resolved += len(suspects) - len(still)
        return still

    def _look(self, suspect: Suspect) -> Difference | None:
        found = self.explainer.look(suspect)
        if found is not None and found.kind is Kind.UNVERIFIABLE:
            return self._verified(found)
        return found

    def _look_if_needed(self, suspect: Suspect) -> Difference | None:
        """Two listings are evidence enough that the replica lacks an object or has it in another size."""
        source, replica = suspect.source, suspect.replica
        if source is None or (replica is not None and source.bytes == replica.bytes):
            return self._look(suspect)
        return self.explainer.lost(suspect.key, source, replica)

    def _settled(self, suspects: list[Suspect], found: list[Difference | None]) -> list[Difference | None]:
        """Those looked at too early after the listing are looked at once more; later ones were late enough."""
        left = self._settled_by - self.timer()
        if left <= 0:
            return found
        self.sleep(left)
        return [
            self._look(suspect) if each is not None and each.kind is Kind.ONLY_IN_REPLICA else each
            for suspect, each in zip(suspects, found, strict=True)
        ]

    def _verified(self, found: Difference) -> Difference | None:
        """Read an object that nothing else tells about, if it is drawn and the budget has room for it."""
        if found.bytes > self._budget or not self.sample.draws(found.key.encode(errors="surrogateescape")):
            return found
        self._budget -= found.bytes
        return self._compare((found.key, found.bytes))

    def allow(self, limit_bytes: int) -> None:
        """How many bytes may be read of objects that ETags and checksums say nothing about."""
        self._budget = limit_bytes

    def _drawn(self, limit_bytes: int) -> list[tuple[str, int]]:
        """What to read: drawn objects, those first whose keys' hashes are smallest, until the limit is reached."""
        kept: list[tuple[float, str, int]] = []
        total = 0
        for key, size in self.journal.sampled(self.order):
            if size > limit_bytes:
                continue
            heapq.heappush(kept, (-self.sample.position(key.encode(errors="surrogateescape")), key, size))
            total += size
            while total > limit_bytes or len(kept) > MOST_READ:
                total -= heapq.heappop(kept)[2]
        return sorted((key, size) for _, key, size in kept)

    def _compare(self, drawn: tuple[str, int]) -> Difference | None:
        """Read one object on both sides. One that changed meanwhile is left to the next comparison."""
        key, size = drawn
        source = objects.head(self.explainer.source, key)
        replica = objects.head(self.explainer.replica, key)
        if source.seen is None or replica.seen is None:
            return None
        why = ""
        try:
            ours = objects.digest(self.explainer.source, key)
            theirs = objects.digest(self.explainer.replica, key)
        except FileNotFoundError:
            return None
        except OSError as error:
            why = f"read in full: {error}"
        else:
            if ours[0] != source.seen.etag or theirs[0] != replica.seen.etag:
                return None
            self.read += 1
            self.read_bytes += size
            if ours[1] != theirs[1]:
                why = f"read in full: SHA-256 {ours[1]} in the source, {theirs[1]} in the replica"
        return Difference(Kind.CONTENT_MISMATCH, key, source.seen, replica.seen, why) if why else None
