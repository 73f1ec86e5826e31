"""Merge two listings, page by page, in constant memory.

Both sides are asked for what follows the same key, so that their pages line up. Where the rows of both pages are the same
bytes, the objects are the same and nothing is parsed. Where not, both are taken apart up to the last key that both have
shown; what one side showed beyond it is kept if none of it was used, and asked for again otherwise, so that the pages line
up once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.replication.difference import Seen
from ccobs_ops.core.replication.lister import Lister
from ccobs_ops.core.replication.order import Order
from ccobs_ops.core.replication.page import Page, Row
from ccobs_ops.core.replication.sample import Sample


class NotInOrderError(UnknownError):
    """A listing was not in the order that it was expected in; `order` is the one that it does have, if any."""

    def __init__(self, where: str, order: Order | None) -> None:
        super().__init__(
            f"the keys of {where} are not listed in the order of their bytes",
            hint="such a store (an S3 directory bucket, for example) is compared by `mode: inventory`",
        )
        self.order = order


@dataclass(frozen=True, slots=True)
class Suspect:
    """A key that the two listings show differently; None where a side does not show it."""

    key: str
    source: Seen | None
    replica: Seen | None


@dataclass(slots=True)
class Found:
    """What a stretch of the key space holds."""

    source_objects: int = 0
    replica_objects: int = 0
    suspects: list[Suspect] = field(default_factory=list)
    sampled: list[tuple[str, int]] = field(default_factory=list)
    pages: int = 0


@dataclass(slots=True)
class _Open:
    """One side's page and its rows, taken apart when needed. `fresh` while it begins right after the cursor."""

    page: Page
    fresh: bool = True
    rows: list[Row] | None = None

    def taken_apart(self, order: Order) -> list[Row]:
        if self.rows is None:
            self.rows = self.page.rows()
            keys = [order.of(row[0]) for row in self.rows]
            if keys != sorted(keys) or len(set(keys)) != len(keys):
                raw = [row[0] for row in self.rows]
                trees = [key.replace(b"/", b"\0") for key in raw]
                raise NotInOrderError(self.page.where, Order.TREE if trees == sorted(trees) else None)
        return self.rows


class Merge:
    """Merges what follows a cursor. `sample` says which objects are read later.

    `advanced` is called with the bytes of every page that was fetched.
    """

    def __init__(
        self,
        source: Lister,
        replica: Lister,
        order: Order,
        sample: Sample,
        advanced: Callable[[int], None],
    ) -> None:
        self._source, self._replica, self._order, self._sample_of = source, replica, order, sample
        self._advanced = advanced
        self._one: _Open | None = None
        self._two: _Open | None = None

    def step(
        self, cursor: bytes | None, claim: Callable[[bytes | None], tuple[bytes | None, bool]], found: Found
    ) -> tuple[bytes | None, bool]:
        """Compare what follows `cursor`, as far as both pages reach and `claim` allows; adds to `found`.

        Returns the new cursor and whether the range is at its end. When it raises, `found` holds what it held before.
        """
        one = self._one = self._one or self._fetch(self._source, cursor)
        two = self._two = self._two or self._fetch(self._replica, cursor)
        found.pages += 1
        if one.fresh and two.fresh and one.page.same_rows(two.page):
            last = one.page.last() if one.page.more else None
            reached, ends = claim(last)
            if reached == last:
                count = one.page.count()
                found.source_objects += count
                found.replica_objects += count
                if self._sample_of.mark is not None:
                    self._sample(found, one.page.sampled(self._sample_of.mark))
                self._one = self._two = None
                return self._onwards(cursor, reached), ends
        else:
            bound = self._common(one, two)
            reached, ends = claim(bound)
        self._apart(one, two, reached, found)
        return self._onwards(cursor, reached), ends

    def _onwards(self, cursor: bytes | None, reached: bytes | None) -> bytes | None:
        if cursor is not None and reached is not None and self._order.of(reached) <= self._order.of(cursor):
            raise UnknownError(
                f"the listing of {self._source.where} or {self._replica.where} does not go on after {decoded(cursor)!r}",
                hint="the store does not heed start-after; it cannot be compared by listing",
            )
        return reached

    def _fetch(self, lister: Lister, cursor: bytes | None) -> _Open:
        page = lister.page(cursor)
        self._advanced(len(page.body))
        return _Open(page)

    def _common(self, one: _Open, two: _Open) -> bytes | None:
        """The last key up to which both sides have shown everything; None when both are at their end."""
        lasts = [side.page.last() for side in (one, two) if side.page.more]
        return min(lasts, key=self._order.of, default=None)

    def _apart(self, one: _Open, two: _Open, reached: bytes | None, found: Found) -> None:
        (left, self._one), (right, self._two) = (self._split(side, reached) for side in (one, two))
        if left == right:
            differing: set[Row] = set()
            same = left
        else:
            differing = set(left) ^ set(right)
            same = [row for row in left if row not in differing]
        wanted = {row[0] for row in differing}
        ours, theirs = (side.page.seen(wanted) if wanted else {} for side in (one, two))
        found.suspects += [
            Suspect(decoded(key), ours.get(key), theirs.get(key))
            for key in sorted(wanted, key=self._order.of)
        ]
        found.source_objects += len(left)
        found.replica_objects += len(right)
        if (mark := self._sample_of.mark) is not None:
            self._sample(found, [row for row in same if row[1].startswith(mark)])

    def _split(self, side: _Open, reached: bytes | None) -> tuple[list[Row], _Open | None]:
        """The rows up to `reached`, and what is left to be used later."""
        rows = side.taken_apart(self._order)
        if reached is None:
            return rows, None
        limit = self._order.of(reached)
        inside = [row for row in rows if self._order.of(row[0]) <= limit]
        rest = rows[len(inside) :]
        if rest and (not inside or not side.page.more):
            return inside, _Open(side.page, fresh=False, rows=rest)
        if not rest and not side.page.more:
            return inside, _Open(side.page, fresh=False, rows=[])
        return inside, None

    def _sample(self, found: Found, rows: Sequence[Row]) -> None:
        found.sampled += [(decoded(key), int(size)) for key, _, size in rows if self._sample_of.keeps(key)]


def decoded(key: bytes) -> str:
    """A key as text; S3 keys are UTF-8, and what is not survives the way back."""
    return key.decode(errors="surrogateescape")
