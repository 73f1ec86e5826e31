"""WAL arithmetic, held against PostgreSQL's own rules: src/include/access/xlog_internal.h and timeline.c."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccobs_ops.core.postgres.wal import (
    INFINITE,
    SEGMENT_NAME,
    History,
    Stretch,
    format_lsn,
    only,
    parse_history,
    parse_lsn,
    ranges,
    segment_name,
    segment_number,
    segment_timeline,
)

MIB = 1024 * 1024
SIZES = [MIB << power for power in range(11)]  # 1 MiB to 1 GiB, all that initdb allows
LSNS = st.integers(0, INFINITE - 1)


@pytest.mark.parametrize(
    ("text", "lsn"),
    [
        ("0/0", 0),
        ("0/16B3740", 0x16B3740),
        ("1/0", 1 << 32),
        (" ab/CDef ", 0xAB0000CDEF),
        ("FFFFFFFF/FFFFFFFF", INFINITE - 1),
    ],
)
def test_an_lsn_is_two_hexadecimal_halves(text: str, lsn: int) -> None:
    assert parse_lsn(text) == lsn
    assert format_lsn(lsn) == f"{lsn >> 32:X}/{lsn % (1 << 32):X}"


@given(LSNS)
def test_an_lsn_survives_being_written(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn


@pytest.mark.parametrize(
    "text", ["", "0", "/0", "0/", "0x1/2", "1/100000000", "-1/0", "1/2/3", "g/0", "0/1 0/2"]
)
def test_what_is_no_lsn_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="0/16B3740"):
        parse_lsn(text)


@pytest.mark.parametrize(
    ("timeline", "lsn", "size", "name"),
    [
        # answers of pg_walfile_name()
        (1, "0/16B3740", 16 * MIB, "000000010000000000000001"),
        (1, "0/FF000000", 16 * MIB, "0000000100000000000000FF"),
        (1, "1/0", 16 * MIB, "000000010000000100000000"),
        (10, "AB/CD123456", 16 * MIB, "0000000A000000AB000000CD"),
        (1, "1/0", 1024 * MIB, "000000010000000100000000"),
        (1, "0/C0000000", 1024 * MIB, "000000010000000000000003"),
        (2, "0/FFFFFFFF", MIB, "000000020000000000000FFF"),
    ],
)
def test_segments_are_named_as_postgresql_names_them(timeline: int, lsn: str, size: int, name: str) -> None:
    assert segment_name(timeline, parse_lsn(lsn) // size, size) == name


@given(st.integers(1, 0xFFFFFFFF), LSNS, st.sampled_from(SIZES))
def test_a_segments_name_tells_its_number_and_timeline(timeline: int, lsn: int, size: int) -> None:
    number = lsn // size
    name = segment_name(timeline, number, size)
    assert SEGMENT_NAME.fullmatch(name)
    assert (segment_timeline(name), segment_number(name, size)) == (timeline, number)


@given(st.integers(1, 0xFFFFFFFF), st.integers(0, 1 << 40), st.sampled_from(SIZES))
def test_names_of_one_timeline_sort_as_their_numbers(timeline: int, number: int, size: int) -> None:
    number %= (INFINITE // size) - 1
    assert segment_name(timeline, number, size) < segment_name(timeline, number + 1, size)


THREE = "1\t0/5000000\tno recovery target specified\n\n2\t0/9000028\tbefore 2026-11-23 02:00:00+00\n"


def test_a_history_file_gives_each_timelines_stretch() -> None:
    history = parse_history(3, THREE)
    assert history.stretches == (
        Stretch(1, 0, 0x5000000),
        Stretch(2, 0x5000000, 0x9000028),
        Stretch(3, 0x9000028, INFINITE),
    )
    assert history.timeline == 3
    assert [history.end_of(timeline) for timeline in (1, 2, 3, 4)] == [0x5000000, 0x9000028, INFINITE, None]


def test_comments_in_a_history_file_mean_nothing() -> None:
    assert parse_history(2, "# by hand\n1 0/5000000 # was: 0/6000000\n") == parse_history(
        2, "1\t0/5000000\twhy\n"
    )


@pytest.mark.parametrize("text", ["1", "one\t0/5\t", "1\t5000000\t", "\x00", "-1\t0/5\tx"])
def test_an_unreadable_history_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_history(2, text)


def test_what_a_history_holds_ends_at_its_switch_points() -> None:
    history = parse_history(3, THREE)
    assert history.holds(1, 0x5000000)
    assert not history.holds(1, 0x5000001)
    assert history.holds(2, 0x9000028)
    assert not history.holds(2, 0x9000029)
    assert history.holds(3, INFINITE - 1)
    assert not history.holds(4, 1)


def test_the_segment_of_a_switch_point_is_looked_for_on_both_timelines_newest_first() -> None:
    history = parse_history(3, THREE)
    found = {number: history.timelines_of(number, 16 * MIB) for number in (3, 4, 5, 7, 8, 9, 10)}
    # 0/5000000 begins segment 5: nothing of segment 5 is on timeline 1. 0/9000028 lies inside segment 9.
    assert found == {3: [1], 4: [1], 5: [2], 7: [2], 8: [2], 9: [3, 2], 10: [3]}


@given(
    st.lists(st.integers(1, 40 * MIB), min_size=1, max_size=5, unique=True).map(sorted),
    st.integers(0, 45),
    st.sampled_from([MIB, 4 * MIB]),
)
def test_timelines_of_a_segment_are_those_with_a_byte_in_it(ends: list[int], number: int, size: int) -> None:
    text = "".join(f"{timeline}\t{format_lsn(end)}\tx\n" for timeline, end in enumerate(ends, start=1))
    history = parse_history(len(ends) + 1, text)
    low, high = number * size, (number + 1) * size
    overlapping = [s.timeline for s in history.stretches if s.begin < high and s.end > low]
    assert history.timelines_of(number, size) == overlapping[::-1]


def test_a_timeline_without_parent_holds_everything() -> None:
    assert only(7) == History((Stretch(7, 0, INFINITE),))
    assert only(7).timelines_of(12345, 16 * MIB) == [7]


@given(st.sets(st.integers(0, 60)).map(sorted))
def test_runs_cover_the_numbers_and_never_touch(numbers: list[int]) -> None:
    runs = ranges(numbers)
    assert [n for low, high in runs for n in range(low, high + 1)] == numbers
    assert all(high + 1 < low for (_, high), (low, _) in itertools.pairwise(runs))
