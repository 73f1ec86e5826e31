"""Retention never takes away a moment of the window, nor a backup that is to be kept, not even when it is cut short."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.postgres.archive import Segment, WalListing, chain
from ccobs_ops.core.postgres.layout import Entry
from ccobs_ops.core.postgres.retention import _unneeded_wal, choose
from ccobs_ops.core.postgres.wal import segment_name
from ccobs_ops.core.retention import Choice
from tests.unit.catalogues import MIDNIGHT, SEGMENT, entry

NOW = MIDNIGHT + timedelta(days=100)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def whole(entries: Sequence[Entry], one: Entry) -> bool:
    """Whether every backup that `one` rests on is in the catalogue."""
    try:
        chain(entries, one)
    except DamagedError:
        return False
    return True


def restorable(entries: Sequence[Entry], usable: Iterable[str], moment: datetime) -> bool:
    """Whether some backup that is usable, with its whole chain, ended by `moment`: WAL does the rest."""
    return any(e.id in usable and e.stopped_at <= moment and whole(entries, e) for e in entries)


@st.composite
def catalogues(draw: st.DrawFn) -> tuple[list[Entry], set[str]]:
    """Backups, oldest first, with chains, holes in chains, and some that are damaged; and the ids that are usable."""
    ages = draw(st.lists(st.floats(0, 90), min_size=0, max_size=12, unique=True))
    made: list[Entry] = []
    usable: set[str] = set()
    for number, age in enumerate(sorted(ages, reverse=True)):
        parents = [None, "gone", *(e.id for e in made)]
        parent = draw(st.sampled_from(parents if draw(st.booleans()) else [None]))
        fresh = entry(f"b{number:02d}", days_ago(age), parent=parent, segment=number + 2)
        made.append(fresh)
        if (parent is None or parent in usable) and draw(st.integers(0, 4)):
            usable.add(fresh.id)
    return made, usable


rules = st.tuples(st.integers(1, 5), st.floats(0.5, 80))


def decide(catalogue: tuple[list[Entry], set[str]], rule: tuple[int, float]) -> Choice[Entry]:
    return choose(catalogue[0], usable=catalogue[1], backups=rule[0], window=timedelta(days=rule[1]), now=NOW)


@given(catalogues(), rules)
@settings(max_examples=150, deadline=None)
def test_every_moment_of_the_window_stays_restorable_however_far_deletion_gets(
    catalogue: tuple[list[Entry], set[str]], rule: tuple[int, float]
) -> None:
    entries, usable = catalogue
    choice = decide(catalogue, rule)
    edge = NOW - timedelta(days=rule[1])
    moments = [m for m in [edge, NOW, *(e.stopped_at for e in entries)] if m >= edge]
    left = list(entries)
    for gone in (None, *choice.drop):
        left = [e for e in left if e is not gone]
        for moment in moments:
            assert restorable(left, usable, moment) == restorable(entries, usable, moment)
        for one in left:
            assert whole(left, one) or not whole(entries, one), (
                f"{one.id} lost what it rests on before it went"
            )
    assert left == list(choice.keep)


@given(catalogues(), rules)
@settings(max_examples=150, deadline=None)
def test_as_many_good_full_backups_stay_as_are_asked_for(
    catalogue: tuple[list[Entry], set[str]], rule: tuple[int, float]
) -> None:
    entries, usable = catalogue
    choice = decide(catalogue, rule)
    good = [e for e in entries if e.id in usable and not e.incremental]
    kept = [e for e in choice.keep if e in good]
    assert kept[-rule[0] :] == good[-rule[0] :]
    for one in kept:  # and with each, what was taken upon it
        assert {e.id for e in entries if whole(entries, e) and chain(entries, e)[0] == one} <= {
            e.id for e in choice.keep
        }


@given(catalogues(), rules)
@settings(max_examples=150, deadline=None)
def test_nothing_stays_that_neither_count_nor_window_needs(
    catalogue: tuple[list[Entry], set[str]], rule: tuple[int, float]
) -> None:
    entries, usable = catalogue
    choice = decide(catalogue, rule)
    good = [e for e in entries if e.id in usable and not e.incremental]
    if not good:
        assert choice.drop == ()
        return
    edge = NOW - timedelta(days=rule[1])
    oldest = next(e for e in choice.keep if e in good)
    assert all(e.stopped_at >= oldest.stopped_at for e in choice.keep if not e.incremental)
    later = [e for e in good if e.stopped_at > oldest.stopped_at]
    assert len(later) < rule[0] or not any(e.stopped_at <= edge for e in later)


@given(catalogues(), rules)
@settings(max_examples=100, deadline=None)
def test_wal_goes_only_from_before_every_kept_backup(
    catalogue: tuple[list[Entry], set[str]], rule: tuple[int, float]
) -> None:
    choice = decide(catalogue, rule)
    segments = {}
    for timeline in (1, 2):
        for number in range(20):
            name = segment_name(timeline, number, SEGMENT)
            segments[name] = Segment(name, f"wal/{name}", "0" * 32)
    gone = {key.removeprefix("wal/") for key in _unneeded_wal(WalListing(segments, {}, ()), choice.keep)}
    first = min((e.start_lsn // SEGMENT for e in choice.keep), default=0)
    assert gone == {segment_name(timeline, number, SEGMENT) for timeline in (1, 2) for number in range(first)}


def ids(entries: Iterable[Entry]) -> list[str]:
    return [e.id for e in entries]


DAILY = [entry(f"d{age:02d}", days_ago(age + 0.1), segment=100 - age) for age in range(60, -1, -1)]
ALL = {e.id for e in DAILY}


def test_daily_backups_with_a_window_of_thirty_days() -> None:
    choice = choose(DAILY, usable=ALL, backups=7, window=timedelta(days=30), now=NOW)
    assert ids(choice.keep) == [f"d{age:02d}" for age in range(30, -1, -1)]
    assert "d30 is the oldest needed" in choice.reason


@pytest.mark.parametrize("age", [1, 8, 29])
def test_while_nothing_is_as_old_as_the_window_nothing_goes(age: int) -> None:
    """The window of a young archive must grow: with seven daily backups it would else stay at a week for good."""
    choice = choose(DAILY[-age:], usable=ALL, backups=7, window=timedelta(days=30), now=NOW)
    assert choice.drop == ()


def test_the_count_holds_beyond_the_window() -> None:
    choice = choose(DAILY, usable=ALL, backups=40, window=timedelta(days=1), now=NOW)
    assert len(choice.keep) == 40


def test_a_damaged_backup_does_not_stand_in_for_a_good_one() -> None:
    choice = choose(DAILY, usable=ALL - {"d30"}, backups=7, window=timedelta(days=30), now=NOW)
    assert ids(choice.keep)[:2] == ["d31", "d30"]
    assert "d31 is the oldest needed" in choice.reason


def test_without_one_good_full_backup_nothing_goes() -> None:
    choice = choose(DAILY, usable=set(), backups=1, window=timedelta(days=1), now=NOW)
    assert (len(choice.keep), choice.drop) == (len(DAILY), ())


def test_an_incremental_chain_goes_last_link_first_whatever_the_clock_said() -> None:
    full = entry("full", days_ago(50))
    first = entry("incr1", days_ago(49), parent="full")
    second = entry("incr2", days_ago(49.5), parent="incr1")  # the server's clock was set back
    entries = [full, second, first, *DAILY[-5:]]
    choice = choose(entries, usable={e.id for e in entries}, backups=1, window=timedelta(days=1), now=NOW)
    assert ids(choice.drop)[:3] == ["incr2", "incr1", "full"]


def test_an_incremental_backup_inside_the_window_keeps_its_old_chain() -> None:
    entries = [
        entry("old", days_ago(50)),
        entry("full", days_ago(40)),
        entry("incr", days_ago(2), parent="full"),
    ]
    choice = choose(entries, usable=set(ids(entries)), backups=1, window=timedelta(days=30), now=NOW)
    assert (ids(choice.keep), ids(choice.drop)) == (["full", "incr"], ["old"])
