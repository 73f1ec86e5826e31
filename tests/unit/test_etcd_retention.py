"""What may go: never the newest ones, never what a moment of the window rests on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ccobs_ops.core.etcd.layout import Entry
from ccobs_ops.core.etcd.retention import choose
from tests.unit.catalogues import snapshot

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def entry(hours: float) -> Entry:
    at = NOW - timedelta(hours=hours)
    return snapshot(f"{at:%Y%m%dT%H%M%S}-{hours}", at)


def pick(
    hours: list[float], *, snapshots: int, window: float, damaged: tuple[float, ...] = ()
) -> tuple[list, list]:
    entries = [entry(each) for each in sorted(hours, reverse=True)]
    by_id = {each.id: float(each.id.rpartition("-")[2]) for each in entries}
    usable = {each.id for each in entries if by_id[each.id] not in damaged}
    choice = choose(entries, usable=usable, snapshots=snapshots, window=timedelta(hours=window), now=NOW)
    return [by_id[each.id] for each in choice.keep], [by_id[each.id] for each in choice.drop]


def test_the_window_keeps_the_newest_that_is_older_than_it() -> None:
    assert pick([1, 2, 3, 4, 5], snapshots=1, window=3.5) == ([4, 3, 2, 1], [5])


def test_the_number_keeps_what_the_window_would_not() -> None:
    assert pick([10, 20, 30, 40], snapshots=3, window=1) == ([30, 20, 10], [40])


def test_a_damaged_one_protects_nothing() -> None:
    assert pick([1, 2, 3, 4, 5], snapshots=1, window=3.5, damaged=(4,)) == ([5, 4, 3, 2, 1], [])


def test_without_a_whole_one_nothing_goes() -> None:
    assert pick([1, 2], snapshots=1, window=1, damaged=(1, 2)) == ([2, 1], [])


@given(st.lists(st.integers(0, 400), unique=True, max_size=20), st.integers(1, 8), st.integers(1, 300))
def test_every_moment_of_the_window_has_the_snapshot_that_it_had(
    hours: list[int], number: int, window: int
) -> None:
    keep, drop = pick([float(each) for each in hours], snapshots=number, window=window)
    assert sorted(keep + drop) == sorted(hours)
    assert sorted(hours)[:number] == sorted(keep)[:number]
    for moment in (window, window / 2, window - 0.5, 0.5):
        before = [each for each in hours if each >= moment]
        if before:
            assert min(before) in keep
