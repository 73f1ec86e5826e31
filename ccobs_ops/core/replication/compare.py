"""Compare one pair: both sides listed and merged, each difference explained, suspects looked at again."""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.errors import UnknownError, UsageError
from ccobs_ops.core.exercise import Recorder, Severity
from ccobs_ops.core.folders import only_one, private
from ccobs_ops.core.replication import report
from ccobs_ops.core.replication.again import Again
from ccobs_ops.core.replication.difference import REPAIRABLE, Difference
from ccobs_ops.core.replication.explain import Explainer
from ccobs_ops.core.replication.journal import Journal
from ccobs_ops.core.replication.lister import Lister
from ccobs_ops.core.replication.merge import NotInOrderError
from ccobs_ops.core.replication.native import ask as native
from ccobs_ops.core.replication.order import Order
from ccobs_ops.core.replication.sample import Sample
from ccobs_ops.core.replication.scan import scan
from ccobs_ops.core.replication.tally import Tally
from ccobs_ops.core.replication.versions import VersionComparison
from ccobs_ops.core.units import format_seconds

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.exercise import Exercise
    from ccobs_ops.inventory_replication import ReplicationPair

CAPABILITY = "comparison"
PART = "sweep"
"""What the comparison of one part is recorded as: it says nothing of the rest."""
JOURNAL = "running.jsonl"
SKEW_SECONDS = 5.0
"""How far a store's clock may be off before it is worth a finding."""


def compare(
    ctx: Context,
    name: str,
    *,
    prefix: str = "",
    hash_sample: float | None = None,
    resume: bool = False,
) -> Exercise:
    """Compare the pair `name`; recorded as capability `comparison`, or `sweep` if of a part, of `replication/NAME`.

    `prefix` narrows it further than the inventory's; `hash_sample` (0 to 1) replaces the inventory's; `resume` goes on
    where an interrupted comparison of the same pair and prefix stopped. Claims `complete`, `content` and `no_extra`.
    The differences are kept by `report.write`. Raises BusyError, and records nothing, while another process compares it.
    """
    pair = ctx.inventory.replication[name]
    if hash_sample is not None and not 0 <= hash_sample <= 1:
        raise UsageError(f"a sample of {hash_sample} is no share", hint="give a number from 0 to 1")
    rate = pair.hash_sample if hash_sample is None else hash_sample

    def body(rec: Recorder) -> str:
        if pair.mode == "inventory":
            from ccobs_ops.core.replication.exports import compare_exports  # noqa: PLC0415

            return compare_exports(ctx, rec, name, prefix=prefix)
        comparison = _Comparison(ctx, rec, name, pair, pair.prefix + prefix, rate)
        try:
            return comparison.run(resume=resume)
        finally:
            comparison.tell_throttled()

    place = private(report.folder(ctx.inventory, name))
    busy = f"replication/{name} is being compared already"
    with only_one(place / "lock", busy, hint="wait for it to end"):
        return attempt(ctx, f"replication/{name}", PART if prefix else CAPABILITY, "complete", body)


class _Comparison:
    def __init__(
        self, ctx: Context, rec: Recorder, name: str, pair: ReplicationPair, prefix: str, rate: float
    ) -> None:
        self.ctx, self.rec, self.name, self.pair, self.prefix = ctx, rec, name, pair, prefix
        self.rate = rate
        self.source, self.replica = (self._side(store) for store in (pair.source, pair.replica))

    def _side(self, store: str) -> Lister:
        ctx = self.ctx
        return Lister(
            ctx.inventory,
            store,
            self.prefix,
            self.pair.concurrency,
            clock=ctx.clock,
            timer=ctx.timer,
            sleep=ctx.sleep,
        )

    def run(self, *, resume: bool) -> str:
        """List, look again, read the sample, and say what it comes to."""
        order = self._greet()
        if self.pair.rules.versions == "all":
            return self._versions(order)
        journal = self._open(order, resume=resume)
        try:
            journal = self._list(journal, order)
            order = Order(journal.header["order"])
            tally = self._look_again(journal, order)
        finally:
            journal.close()
        journal.path.unlink()
        self.rec.details["seed"] = journal.header["seed"]
        self._account(tally)
        self._hear(tally)
        return tally.summary()

    def _versions(self, order: Order) -> str:
        """Every version of every key, in one pass that cannot be resumed."""
        comparison = VersionComparison(Explainer(self.pair, self.source, self.replica), order)
        tally = Tally(0, 0, self.source.where, self.replica.where)
        self.ctx.progress.begin("list")
        with self.rec.phase("list"):
            path = self._write(tally, comparison.differences())
        tally.source_objects, tally.replica_objects = comparison.source_objects, comparison.replica_objects
        tally.resolved = comparison.resolved
        self.rec.details |= {"differences": str(path), "order": order.value, "versions": "all"}
        self._account(tally)
        self._hear(tally)
        return tally.summary()

    def _greet(self) -> Order:
        """Ask both sides for one key: whether they answer at all, what time they have, and in which order they list."""
        for side in (self.source, self.replica):
            side.page(None, limit=1)
        for side, role in ((self.source, "source"), (self.replica, "replica")):
            offset = side.clock_offset or 0.0
            self.rec.measurements[f"{role}_clock_offset_seconds"] = round(offset, 1)
            if abs(offset) > SKEW_SECONDS:
                ahead = "ahead of" if offset > 0 else "behind"
                self.rec.find(
                    "clock_skew",
                    Severity.WARNING,
                    side.store,
                    f"the clock of store {side.store!r} is {format_seconds(abs(offset))} {ahead} this host's",
                    "ages of objects are told by their own store's clock; set the clock that is wrong",
                )
        if self.source.order is not self.replica.order:
            raise UnknownError(
                f"{self.source.where} is listed in {self.source.order} order and {self.replica.where} in "
                f"{self.replica.order} order: they cannot be merged",
                hint="compare them by `mode: inventory`",
            )
        return self.source.order

    def _open(self, order: Order, *, resume: bool) -> Journal:
        path = report.folder(self.ctx.inventory, self.name) / JOURNAL
        subject: dict[str, Any] = {
            "source": self.source.where,
            "replica": self.replica.where,
            "hash_sample": self.rate,
        }
        if resume:
            found = Journal.resume(path)
            if found is not None and all(found.header.get(key) == value for key, value in subject.items()):
                self.rec.details["resumed"] = True
                objects = sum(each.source_objects for each in found.stretches)
                self.ctx.progress.note(f"going on after {objects:,} objects")
                return found
            what = (
                "there is nothing to resume"
                if found is None
                else "what was interrupted is another comparison"
            )
            self.ctx.progress.note(f"{what}: comparing from the beginning")
            if found is not None:
                found.close()
        return Journal.begin(path, subject | {"order": order.value, "seed": secrets.randbits(32)})

    def _list(self, journal: Journal, order: Order) -> Journal:
        """List both sides to the end; once more in the other order if it turns out that they have that."""
        order = Order(journal.header["order"])
        self.ctx.progress.begin("list")
        with self.rec.phase("list") as meter:

            def advanced(count: int) -> None:
                meter.add(count)
                self.ctx.progress.advance(count)

            while True:
                sample = Sample.of(journal.header["hash_sample"], journal.header["seed"])
                try:
                    cuts = scan(
                        self.source, self.replica, journal, order, sample, self.pair.concurrency, advanced
                    )
                except NotInOrderError as error:
                    if error.order is None or error.order is order:
                        raise
                    order = error.order
                    self.ctx.progress.note(f"{error.message}, but folder by folder: listing again")
                    journal.close()
                    journal = Journal.begin(journal.path, journal.header | {"order": order.value})
                else:
                    self.rec.details |= {"cuts": cuts, "order": order.value}
                    return journal

    def _look_again(self, journal: Journal, order: Order) -> Tally:
        sample = Sample.of(journal.header["hash_sample"], journal.header["seed"])
        again = Again(
            Explainer(self.pair, self.source, self.replica),
            journal,
            order,
            sample,
            min(self.pair.concurrency, self.source.config.concurrency, self.replica.config.concurrency),
            self.ctx.timer,
            self.ctx.sleep,
        )
        tally = Tally(
            sum(each.source_objects for each in journal.stretches),
            sum(each.replica_objects for each in journal.stretches),
            self.source.where,
            self.replica.where,
        )
        self.ctx.progress.begin("hash")
        with self.rec.phase("hash") as meter:
            again.allow(self.pair.hash_limit)
            read = list(again.hashed(self.pair.hash_limit)) if sample.mark is not None else []
            meter.add(again.read_bytes)
        self.ctx.progress.begin("look_again")
        with self.rec.phase("look_again"):
            read.sort(key=lambda each: position(each, order))
            merged = heapq.merge(again.differences(), read, key=lambda each: position(each, order))
            path = self._write(tally, merged)
        tally.read, tally.resolved = again.read, again.resolved
        self.rec.details["differences"] = str(path)
        for side in (
            self.source,
            self.replica,
        ):  # an answer that a bucket is empty may mean that it has just gone
            side.page(None, limit=1)
        return tally

    def _write(self, tally: Tally, differences: Iterable[Difference]) -> Path:
        """Keep `differences` on disk, counting them while they pass."""

        def counted() -> Iterator[Difference]:
            for each in differences:
                tally.add(each)
                yield each

        return report.write(
            self.ctx.inventory,
            self.name,
            self.rec.id,
            finished_at=self.ctx.clock(),
            prefix=self.prefix,
            counts=tally.counts,
            differences=counted(),
        )

    def _hear(self, tally: Tally) -> None:
        """What the replicator itself says, held against what was found."""
        found = native.sources(self.ctx, self.name)
        if found:
            self.ctx.progress.begin("native")
            suspects = [self.source.full(each.key) for each in tally.first if each.kind in REPAIRABLE]
            with self.rec.phase("native"):
                signals = native.ask(found, suspects)
            native.contradict(self.rec, signals, differences=tally.of(*REPAIRABLE))

    def _account(self, tally: Tally) -> None:
        rec = self.rec
        tally.account(rec, sample_rate=self.rate)
        listing = next(phase for phase in rec.phases if phase.name == "list")
        objects = tally.source_objects + tally.replica_objects
        sides = (self.source, self.replica)
        rec.measurements |= {
            "objects_per_second": float(round(objects / max(listing.seconds, 1e-9))),
            "list_requests": float(sum(side.requests for side in sides)),
            "retries": float(sum(side.retries for side in sides)),
        }
        rec.details["prefix"] = self.prefix

    def tell_throttled(self) -> None:
        """Whether a store asked to slow down, also where that is why it could not be compared."""
        for side in (self.source, self.replica):
            if side.throttle.throttled:
                self.rec.find(
                    "throttled",
                    Severity.INFO,
                    side.store,
                    f"store {side.store!r} asked {side.throttle.throttled} times to slow down; at least "
                    f"{side.throttle.lowest} requests ran side by side",
                    "lower the pair's `concurrency` if others use the bucket at this time",
                )


def position(found: Difference, order: Order) -> bytes:
    """Where a difference belongs in the report."""
    return order.of(found.key.encode(errors="surrogateescape"))
