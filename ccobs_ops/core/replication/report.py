"""What a finished comparison leaves on disk for a repair: every difference, one a line, below the state folder.

    STATE/replication/PAIR/EXERCISE/differences.jsonl

The first line is a header: pair, exercise, when, the prefix compared, and the count of each kind. It is written under another
name and renamed when it is complete, so a file that is there is whole.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.folders import private
from ccobs_ops.core.replication.difference import Difference

if TYPE_CHECKING:
    from ccobs_ops.inventory import Inventory

KEPT = 10
"""Comparisons whose differences stay on disk, of each pair."""
NAME = "differences.jsonl"
_HEADER = 4096
"""Room for the first line, which is filled in last."""


@dataclass(frozen=True, slots=True)
class Report:
    """One finished comparison's differences on disk."""

    path: Path
    pair: str
    exercise: str
    finished_at: datetime
    prefix: str
    counts: dict[str, int]

    def differences(self) -> Iterator[Difference]:
        """Every difference, in key order."""
        with self.path.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                yield Difference.from_json(json.loads(line))


def folder(inventory: Inventory, pair: str) -> Path:
    """Where everything about `pair` lies on this host."""
    return inventory.state / "replication" / pair


def write(
    inventory: Inventory,
    pair: str,
    exercise: str,
    *,
    finished_at: datetime,
    prefix: str,
    counts: dict[str, int],
    differences: Iterable[Difference],
) -> Path:
    """Keep `differences` of `exercise`, drop the oldest of others, and return the file.

    `counts` is read after the last difference, so whoever yields them may count them.
    """
    place = private(folder(inventory, pair) / exercise)
    fresh = place / f"{NAME}.new"
    header = {
        "pair": pair,
        "exercise": exercise,
        "finished_at": rfc3339(finished_at),
        "prefix": prefix,
    }
    with fresh.open("w", encoding="utf-8") as file:
        file.write(" " * _HEADER + "\n")
        for each in differences:
            file.write(json.dumps(each.to_json()) + "\n")
        file.seek(0)
        file.write(json.dumps(header | {"counts": counts}).ljust(_HEADER))
    path = fresh.rename(place / NAME)
    for old in _folders(inventory, pair)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return path


def read(path: Path) -> Report:
    """The report in `path`. Raises UnknownError when it is not there or no report."""
    try:
        with path.open(encoding="utf-8") as file:
            header = json.loads(file.readline())
        return Report(
            path,
            header["pair"],
            header["exercise"],
            datetime.fromisoformat(header["finished_at"]),
            header["prefix"],
            header["counts"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise UnknownError(
            f"the differences of a comparison cannot be read from {path}: {error}",
            hint="compare again on this host",
        ) from error


def newest(inventory: Inventory, pair: str) -> Report | None:
    """The newest finished comparison of `pair` on this host, whatever came of it."""
    for place in reversed(_folders(inventory, pair)):
        with contextlib.suppress(UnknownError):
            return read(place / NAME)
    return None


def _folders(inventory: Inventory, pair: str) -> list[Path]:
    """Folders of finished comparisons, in the order in which they were finished: two may begin in one second."""
    found = [(path.stat().st_mtime_ns, path.parent) for path in folder(inventory, pair).glob(f"*/{NAME}")]
    return [place for _, place in sorted(found)]
