"""Two listings that differ in places that are known."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from bench.replication.rows import Row, packed_key, packed_row, write_packed

EACH = 25
OTHER_TIME = "2026-01-02T03:04:06.000Z"


@dataclass(frozen=True)
class Planted:
    """What differs, by kind. `objects` is the size of the larger side."""

    objects: int
    missing: frozenset[str]
    only_in_replica: frozenset[str]
    size_mismatch: frozenset[str]
    content_mismatch: frozenset[str]

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return {kind: len(getattr(self, kind)) for kind in KINDS}

    def all(self) -> set[tuple[str, str]]:
        """Kind and key of each."""
        return {(kind, key) for kind in KINDS for key in getattr(self, kind)}


KINDS = ("missing", "only_in_replica", "size_mismatch", "content_mismatch")


def plant(folder: Path, count: int, *, same_times: bool, seed: int = 1) -> Planted:
    """Write `source` and `replica` of `count` keys; with other times, no row of the replica equals the source's."""
    chosen = random.Random(seed).sample(range(count), 4 * EACH)
    lost, extra, sizes, contents = (chosen[n * EACH : (n + 1) * EACH] for n in range(4))
    changed = {number: _with(packed_row(number, count), bytes_=99_999) for number in sizes}
    changed |= {number: _with(packed_row(number, count), etag="f" * 32) for number in contents}
    whole = folder / "whole"
    if not whole.exists():
        write_packed(folder / "source", count, without=extra)
        modified = None if same_times else OTHER_TIME
        write_packed(folder / "replica", count, without=lost, changed=changed, modified=modified)
        whole.touch()
    named = [
        frozenset(packed_key(number, count) for number in each) for each in (lost, extra, sizes, contents)
    ]
    return Planted(count, *named)


def _with(row: Row, *, bytes_: int | None = None, etag: str | None = None) -> Row:
    return Row(row.key, bytes_ or row.bytes, etag or row.etag)
