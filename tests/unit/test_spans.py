"""From gaps to spans: a span reaches exactly as far as replay does, and every hole has its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccobs_ops.core.exercise import Finding
from ccobs_ops.core.postgres import view as view_module
from ccobs_ops.core.postgres.archive import Segment, WalListing
from ccobs_ops.core.postgres.layout import Entry
from ccobs_ops.core.postgres.server import Tools
from ccobs_ops.core.postgres.wal import only, segment_name
from ccobs_ops.core.postgres.waldump import Commit
from tests.unit.catalogues import ARCHIVE, SEGMENT, at, entry, segments


@st.composite
def archives(draw: st.DrawFn) -> tuple[set[int], list[Entry], int]:
    """Which segments of 2 to `last` are there, and backups in segments of their own or over two of them."""
    last = draw(st.integers(2, 14))
    there = {n for n in range(2, last + 1) if draw(st.integers(0, 4))} | {last}
    starts = sorted(draw(st.sets(st.integers(2, last), min_size=1, max_size=4)))
    return there, [entry(f"b{n:02d}", at(n), segment=n) for n in starts], last


@given(archives())
def test_a_span_reaches_as_far_as_replay_does_and_every_hole_has_its_name(
    made: tuple[set[int], list[Entry], int],
) -> None:
    there, entries, last = made
    listing = WalListing(
        {n: s for n, s in segments(range(2, last + 1)).items() if int(n, 16) % 2**32 in there}, {}, ()
    )
    findings: list[Finding] = []
    with pytest.MonkeyPatch.context() as patch:
        # where pg_waldump reads commits is not looked at here: say that each segment has one in its middle
        patch.setattr(view_module, "commits_of", lambda _archive, _tools, segment, _size: [commit(segment)])
        found = view_module._spans(
            ARCHIVE, listing, only(1), entries, SEGMENT, findings, lambda major: Tools(Path("/"), major)
        )
    held = {name: span for span in found for name in span.backups}
    for one in entries:
        number = one.start_lsn // SEGMENT
        if number not in there:
            assert one.id not in held
            continue
        end = next(n for n in range(number, last + 2) if n not in there or n > last) - 1
        assert held[one.id].last == end
        assert held[one.id].first <= number
        assert set(range(held[one.id].first, end + 1)) <= there
    for span in found:
        assert span.start == min(e.stopped_at for e in entries if e.id in span.backups)
        assert span.end is not None
        assert span.end.lsn // SEGMENT == span.last
    needed = range(min(e.start_lsn // SEGMENT for e in entries), last + 1)
    named = "\n".join(f.message for f in findings)
    holes = [n for n in needed if n not in there]
    assert {f.code for f in findings} <= {"wal_gap"}
    for n in holes:
        if n - 1 not in holes or n + 1 not in holes:
            assert segment_name(1, n, SEGMENT) in named
    assert bool(findings) == bool(holes)


def commit(segment: Segment) -> Commit:
    number = int(segment.name[16:], 16)
    return Commit(number * SEGMENT + SEGMENT // 2, number, at(number + 0.5), 1)


def test_a_running_segment_counts_only_at_the_end() -> None:
    listed = segments(range(2, 9))
    for number in (5, 8):
        name = segment_name(1, number, SEGMENT)
        listed[name] = Segment(name, f"wal/{name}", None)
    findings: list[Finding] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(view_module, "commits_of", lambda _archive, _tools, segment, _size: [commit(segment)])
        tools = Tools(Path("/"), 18)
        found = view_module._spans(
            ARCHIVE,
            WalListing(listed, {}, ()),
            only(1),
            [entry("a", at(2), segment=2), entry("b", at(6), segment=6)],
            SEGMENT,
            findings,
            lambda _major: tools,
        )
    assert [(span.first, span.last, span.backups) for span in found] == [(2, 4, ("a",)), (6, 8, ("b",))]
    assert [finding.subject for finding in findings] == [segment_name(1, 5, SEGMENT)]
    assert "only as far as it was once written" in findings[0].message
