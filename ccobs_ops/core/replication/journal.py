"""What a running comparison has found so far, on disk: so that an interrupted one goes on, and memory stays constant.

One JSON line a stretch of the key space, `(low, high]` with everything found in it, appended in one write. A stretch is on
record or it is not: what was listed after the last line is listed again. A last line that is torn is dropped.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.replication.difference import Seen
from ccobs_ops.core.replication.merge import Found, Suspect, decoded
from ccobs_ops.core.replication.order import Order

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Stretch:
    """One line: `(low, high]`, and where it stands in the file."""

    low: bytes | None
    high: bytes | None
    source_objects: int
    replica_objects: int
    offset: int


class Journal:
    """The journal in `path`. `header` says what is compared; another header is another comparison."""

    def __init__(self, path: Path, header: dict[str, Any], stretches: list[Stretch]) -> None:
        self.path = path
        self.header = header
        self.stretches = stretches
        self._lock = threading.Lock()
        self._file = path.open("ab")

    @classmethod
    def begin(cls, path: Path, header: dict[str, Any]) -> Journal:
        """A new journal; whatever was in `path` is gone."""
        path.write_text(json.dumps({"format": FORMAT, **header}) + "\n")
        return cls(path, header, [])

    @classmethod
    def resume(cls, path: Path) -> Journal | None:
        """The journal that an interrupted comparison left in `path`, None if there is none."""
        try:
            with path.open("rb") as file:
                header = json.loads(file.readline())
                if header.pop("format") != FORMAT:
                    return None
                stretches: list[Stretch] = []
                whole = file.tell()
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    stretches.append(_stretch(json.loads(line), whole))
                    whole += len(line)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:
            raise UnknownError(
                f"what an interrupted comparison left in {path} cannot be read: {error}",
                hint="compare without --resume",
            ) from error
        os.truncate(path, whole)
        return cls(path, header, stretches)

    def add(self, low: bytes | None, high: bytes | None, found: Found) -> None:
        """Put a stretch on record."""
        document = {
            "low": _text(low),
            "high": _text(high),
            "source": found.source_objects,
            "replica": found.replica_objects,
            "sampled": found.sampled,
            "suspects": [
                [each.key, *(side.to_json() if side else None for side in (each.source, each.replica))]
                for each in found.suspects
            ],
        }
        line = json.dumps(document, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            offset = self._file.seek(0, os.SEEK_END)
            self._file.write(line)
            self._file.flush()
            self.stretches.append(_stretch(document, offset))

    def gaps(self, order: Order) -> list[tuple[bytes | None, bytes | None]]:
        """What is not on record yet, in key order."""
        gaps: list[tuple[bytes | None, bytes | None]] = []
        at: bytes | None = None
        for each in self._ordered(order):
            if each.low != at:
                gaps.append((at, each.low))
            if each.high is None:
                return gaps
            at = each.high
        return [*gaps, (at, None)]

    def suspects(self, order: Order) -> Iterator[tuple[Stretch, list[Suspect]]]:
        """The suspects of each stretch that has any, in key order."""
        for row in self._lines(order):
            if row["suspects"]:
                found = [Suspect(key, _seen(one), _seen(two)) for key, one, two in row["suspects"]]
                yield _stretch(row, 0), found

    def sampled(self, order: Order) -> Iterator[tuple[str, int]]:
        """The key and size of every object that was drawn, in key order."""
        for row in self._lines(order):
            yield from ((key, size) for key, size in row["sampled"])

    def close(self) -> None:
        """Close the file; it stays."""
        self._file.close()

    def _ordered(self, order: Order) -> list[Stretch]:
        return sorted(self.stretches, key=lambda each: (each.low is not None, order.of(each.low or b"")))

    def _lines(self, order: Order) -> Iterator[dict[str, Any]]:
        with self.path.open("rb") as file:
            for each in self._ordered(order):
                file.seek(each.offset)
                yield json.loads(file.readline())


def _stretch(row: dict[str, Any], offset: int) -> Stretch:
    return Stretch(_bytes(row["low"]), _bytes(row["high"]), row["source"], row["replica"], offset)


def _text(key: bytes | None) -> str | None:
    return None if key is None else decoded(key)


def _bytes(key: str | None) -> bytes | None:
    return None if key is None else key.encode(errors="surrogateescape")


def _seen(document: dict[str, Any] | None) -> Seen | None:
    return Seen.from_json(document) if document else None
