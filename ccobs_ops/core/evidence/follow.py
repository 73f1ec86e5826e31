"""Whether links follow from one another, and if not, what was done to them: changed, moved, removed, renumbered.

Links that do not follow are kept until one does again. For each position of such a stretch the link is looked for that
follows from the good one before: found in another place, it was moved; not found, what stands there was changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ccobs_ops.core.ledger_chain import Link, follow

MOST_SUSPECTS = 100


@dataclass(frozen=True, slots=True)
class Break:
    """A position where the chain does not hold."""

    code: str
    seq: int
    message: str


class Follower:
    """Takes links in their order and tells what is wrong with them."""

    def __init__(self, seq: int, link: str) -> None:
        self._seq = seq
        self._before = link
        self._anchor = link
        self._suspects: list[Link] = []
        self._lost = False

    def take(self, link: Link) -> Iterator[Break]:
        """The next link, as it is stored; yields what is now known to be wrong."""
        expected = self._seq + 1
        if link.seq != expected:
            yield from self._settle()
            yield self._missing(expected, link.seq)
            self._anchor = link.link
        elif follow(self._before, link.seq, link.kind, link.row, link.digest) == link.link:
            yield from self._settle()
            self._anchor = link.link
            self._lost = False
        elif not self._lost:
            self._suspects.append(link)
            if len(self._suspects) > MOST_SUSPECTS:
                yield self._renumbered()
        self._seq, self._before = link.seq, link.link

    def end(self) -> Iterator[Break]:
        """No more links come."""
        yield from self._settle()

    def _missing(self, first: int, then: int) -> Break:
        last = then - 1
        what = f"the link at position {first} is" if first == last else f"the links {first} to {last} are"
        return Break("link_missing", first, f"{what} gone, between positions {first - 1} and {then}")

    def _renumbered(self) -> Break:
        first = self._suspects[0]
        self._suspects, self._lost = [], True
        told = (
            f"from position {first.seq} on ({first.kind} {first.row}) no link follows from the one before it"
        )
        return Break("chain_broken", first.seq, f"{told}: links were removed, slipped in or renumbered there")

    def _settle(self) -> Iterator[Break]:
        """Tell what was done to the links that did not follow, now that one does (or there are no more)."""
        suspects, self._suspects = self._suspects, []
        anchor = self._anchor
        for position, stands in enumerate(suspects):
            fitting = _fitting(anchor, stands, suspects)
            if fitting is None:
                named = f"the link at position {stands.seq} ({stands.kind} {stands.row}) was changed"
                yield Break(
                    "link_changed", stands.seq, f"{named}: it does not follow from position {stands.seq - 1}"
                )
                anchor = _goes_on(anchor, stands, suspects[position + 1 : position + 2])
                continue
            if fitting.row != stands.row or fitting.kind != stands.kind:
                told = f"position {stands.seq} holds {stands.kind} {stands.row}"
                yield Break(
                    "link_moved",
                    stands.seq,
                    f"{told}, where {fitting.kind} {fitting.row} belongs, which stands at {fitting.seq}: reordered",
                )
            anchor = follow(anchor, stands.seq, fitting.kind, fitting.row, fitting.digest)


def _fitting(anchor: str, stands: Link, suspects: list[Link]) -> Link | None:
    """The one of `suspects` that belongs where `stands` does, by a link that is stored there or with it."""
    for each in [stands, *suspects]:
        if follow(anchor, stands.seq, each.kind, each.row, each.digest) in (stands.link, each.link):
            return each
    return None


def _goes_on(anchor: str, changed: Link, following: list[Link]) -> str:
    """From what the link after a changed one follows: what is stored there, or what was before it was changed."""
    computed = follow(anchor, changed.seq, changed.kind, changed.row, changed.digest)
    for each in following:
        if follow(computed, each.seq, each.kind, each.row, each.digest) == each.link:
            return computed
    return changed.link
