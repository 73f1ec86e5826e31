"""Durations, sizes and moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccobs_ops.core.units import (
    format_bytes,
    format_duration,
    format_seconds,
    parse_duration,
    parse_moment,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("250ms", timedelta(milliseconds=250)),
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(minutes=90)),
        (" 1h 30m ", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta(0)),
    ],
)
def test_durations(text: str, span: timedelta) -> None:
    assert parse_duration(text) == span


@pytest.mark.parametrize(
    "text", ["", "5", "5 minutes", "m", "-5m", "1h30", "5y", "1,5h", "PT5M", "1h;30m", "nans"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="1h30m"):
        parse_duration(text)


@given(st.integers(0, 10**12))
def test_a_duration_survives_being_written(milliseconds: int) -> None:
    span = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(span)) == span


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("512", 512),
        ("512B", 512),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("64MiB", 64 * 1024**2),
        ("64 MiB", 64 * 1024**2),
        ("1.5GiB", 1536 * 1024**2),
        ("2GB", 2 * 10**9),
        ("1PiB", 1024**5),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "MiB", "-1KB", "1kb", "1KBs", "1EiB", "1 K iB", "1,5MB", "1K", "1iB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="64MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T02:14:07Z",
        "2026-11-23 02:14:07+00:00",
        "2026-11-23T03:14:07+01:00",
        "2026-11-22 18:14:07-0800",
        "2026-11-23T07:59:07+05:45",
        " 20261123T021407Z ",
    ],
)
def test_a_moment_is_one_whatever_zone_it_is_written_in(text: str) -> None:
    moment = parse_moment(text)
    assert moment == datetime(2026, 11, 23, 2, 14, 7, tzinfo=UTC)
    assert moment.utcoffset() == timedelta(0)


@pytest.mark.parametrize("text", ["2026-11-23T02:14:07", "2026-11-23", "2026-11-23 02:14"])
def test_a_moment_without_a_zone_is_refused_not_guessed(text: str) -> None:
    with pytest.raises(ValueError, match="has no time zone; append Z"):
        parse_moment(text)


@pytest.mark.parametrize(
    "text", ["", "now", "yesterday", "2026-02-29T00:00:00Z", "2026-11-23T24:30:00Z", "1763864047"]
)
def test_what_is_no_moment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="2026-11-23T02:14:07Z"):
        parse_moment(text)


@given(
    st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
)
def test_a_moment_survives_every_offset_to_the_microsecond(naive: datetime, minutes: int) -> None:
    moment = naive.replace(tzinfo=UTC)
    assert parse_moment(moment.astimezone(timezone(timedelta(minutes=minutes))).isoformat()) == moment


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (0.424, "0.42 s"),
        (9.994, "9.99 s"),
        (12.34, "12.3 s"),
        (99.9, "99.9 s"),
        (99.96, "1m 40s"),
        (247, "4m 07s"),
        (3599.4, "59m 59s"),
        (3600, "1h"),
        (11520, "3h 12m"),
        (172800, "2d 0h"),
        (2_692_800, "31d 4h"),
        (-5, "-5.00 s"),
    ],
)
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (1024, "1.0 KiB"),
        (3_565_158, "3.4 MiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * 1024**4, "5.0 TiB"),
        (2 * 1024**5, "2.0 PiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_bytes_for_people(count: float, text: str) -> None:
    assert format_bytes(count) == text
