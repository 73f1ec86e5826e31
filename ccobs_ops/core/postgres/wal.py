"""WAL arithmetic: LSNs, segment names, timelines.

A WAL file name is timeline, log and segment, 8 hex digits each (PostgreSQL: src/include/access/xlog_internal.h).
An LSN is a byte position; segment number = LSN // segment size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
SEGMENT_NAME = re.compile(r"[0-9A-F]{24}")
INFINITE = 1 << 64


def parse_lsn(text: str) -> int:
    """`0/16B3740` as a byte position; raises ValueError."""
    match = _LSN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no LSN; write for example 0/16B3740")
    return int(match[1], 16) << 32 | int(match[2], 16)


def format_lsn(lsn: int) -> str:
    """A byte position as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def segment_name(timeline: int, number: int, size: int) -> str:
    """File name of segment `number` (LSN // size) on `timeline`, for segments of `size` bytes."""
    per_log = (1 << 32) // size
    return f"{timeline:08X}{number // per_log:08X}{number % per_log:08X}"


def segment_number(name: str, size: int) -> int:
    """Segment number of a WAL file name, for segments of `size` bytes."""
    return int(name[8:16], 16) * ((1 << 32) // size) + int(name[16:24], 16)


def segment_timeline(name: str) -> int:
    """Timeline of a WAL file name."""
    return int(name[:8], 16)


@dataclass(frozen=True, slots=True)
class Stretch:
    """One timeline's part of a history: its WAL counts from `begin` (inclusive) to `end` (exclusive), as LSNs."""

    timeline: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class History:
    """The line of timelines that leads to one: oldest stretch first; the last one has no end yet."""

    stretches: tuple[Stretch, ...]

    @property
    def timeline(self) -> int:
        """The timeline that this history leads to."""
        return self.stretches[-1].timeline

    def end_of(self, timeline: int) -> int | None:
        """Where `timeline` was left, as LSN (INFINITE for the newest); None if it is not in this history."""
        return next((s.end for s in self.stretches if s.timeline == timeline), None)

    def holds(self, timeline: int, lsn: int) -> bool:
        """Whether WAL before `lsn` on `timeline` is part of this history."""
        end = self.end_of(timeline)
        return end is not None and lsn <= end

    def timelines_of(self, number: int, size: int) -> list[int]:
        """Timelines whose file may hold segment `number`, in the order PostgreSQL tries them: newest first.

        A promotion copies the segment it happens in, so the segment of a switch point exists on both timelines
        (xlogrecovery.c, XLogFileReadAnyTLI).
        """
        return [
            s.timeline
            for s in reversed(self.stretches)
            if s.begin // size <= number and (s.end == INFINITE or number <= (s.end - 1) // size)
        ]


def parse_history(timeline: int, text: str) -> History:
    """The history file of `timeline`: lines of `parent TLI <tab> switch point <tab> reason`. Raises ValueError."""
    stretches: list[Stretch] = []
    begin = 0
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if len(words) < 2 or not words[0].isdigit():
            raise ValueError(f"unreadable line in the history of timeline {timeline}: {line!r}")
        end = parse_lsn(words[1])
        stretches.append(Stretch(int(words[0]), begin, end))
        begin = end
    return History((*stretches, Stretch(timeline, begin, INFINITE)))


def only(timeline: int) -> History:
    """The history of a timeline that has no parent."""
    return History((Stretch(timeline, 0, INFINITE),))


def ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Sorted numbers as runs (first, last), for messages."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
