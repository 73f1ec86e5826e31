"""From "where to" to "what to fetch": at every edge of the window either a plan that reaches it, or a refusal."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ccobs_ops.core.errors import DamagedError, OpsError, UnknownError, UsageError
from ccobs_ops.core.exercise import Finding, Severity
from ccobs_ops.core.postgres.archive import WalListing
from ccobs_ops.core.postgres.choose import choose
from ccobs_ops.core.postgres.layout import Entry
from ccobs_ops.core.postgres.plan import Plan, plan
from ccobs_ops.core.postgres.server import Tools
from ccobs_ops.core.postgres.strategy import Strategy
from ccobs_ops.core.postgres.target import RecoveryTarget
from ccobs_ops.core.postgres.view import Span, View
from ccobs_ops.core.postgres.wal import INFINITE, History, Stretch, only, segment_name
from ccobs_ops.core.postgres.waldump import Commit
from tests.unit.catalogues import ARCHIVE, MIDNIGHT, SEGMENT, at, entry, segments

TICK = timedelta(microseconds=1)


FULL = [
    entry("f0", at(1), segment=2, stop_xmax=1000),
    entry("f1", at(5), segment=10, stop_xmax=2000),
    entry("i1", at(6), segment=11, parent="f1", stop_xmax=2500),
    entry("f2", at(20), segment=30, stop_xmax=4000),
]
NEWEST = Commit(41 * SEGMENT + 0x5000, 5000, at(22), 1)
SPANS = (
    # a hole from segment 20 to 27 cuts the archive in two
    Span(at(1), Commit(19 * SEGMENT + 0x400, 3000, at(9), 1), ("f0", "f1", "i1"), 2, 19),
    Span(at(20), NEWEST, ("f2",), 28, 41),
)


def view(
    usable: list[Entry] = FULL,
    spans: tuple[Span, ...] = SPANS,
    history: History | None = None,
    *findings: Finding,
) -> View:
    listing = WalListing(segments(range(2, 20)) | segments(range(28, 42)), {}, ())
    newest = spans[-1].end if spans else None
    return View(tuple(usable), tuple(usable), listing, history or only(1), SEGMENT, spans, newest, findings)


def reach(target: RecoveryTarget, seen: View | None = None) -> Plan:
    return plan(ARCHIVE, seen or view(), target)


def refused(target: RecoveryTarget) -> OpsError:
    with pytest.raises(OpsError) as caught:
        reach(target)
    assert not isinstance(caught.value, UsageError | DamagedError | UnknownError)
    assert "2026-11-23T01:00:00.000000Z to 2026-11-23T09:00:00.000000Z" in caught.value.hint
    assert "2026-11-23T20:00:00.000000Z to 2026-11-23T22:00:00.000000Z" in caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("moment", "backup", "names"),
    [
        (at(1), "f0", range(2, 20)),  # the very moment that the oldest backup ended
        (at(5) - TICK, "f0", range(2, 20)),
        (at(5), "f1", range(10, 20)),
        (at(6) - TICK, "f1", range(10, 20)),
        (at(6), "i1", range(11, 20)),
        (at(9) - TICK, "i1", range(11, 20)),
        (at(20), "f2", range(30, 42)),
        (at(22) - TICK, "f2", range(30, 42)),
    ],
)
def test_a_time_is_reached_from_the_newest_backup_before_it(
    moment: datetime, backup: str, names: range
) -> None:
    made = reach(RecoveryTarget(at=moment))
    assert made.entry.id == backup
    assert [file.name for file in made.files] == list(segments(names))
    assert made.settings == {
        "recovery_target_time": moment.strftime("%Y-%m-%d %H:%M:%S.%f+00"),
        "recovery_target_inclusive": "on",
        "recovery_target_timeline": "1",
    }


@pytest.mark.parametrize(("moment", "lsn"), [(at(9), "0/13000400"), (at(22), "0/29005000")])
def test_the_last_commits_own_time_is_asked_for_by_its_place(moment: datetime, lsn: str) -> None:
    """No later commit follows by which PostgreSQL could see that it is there."""
    made = reach(RecoveryTarget(at=moment))
    assert made.settings["recovery_target_lsn"] == lsn
    assert made.settings["recovery_target_inclusive"] == "on"
    assert "recovery_target_time" not in made.settings


@pytest.mark.parametrize(
    "moment", [at(1) - TICK, at(-1000), at(9) + TICK, at(15), at(20) - TICK, at(22) + TICK, at(100_000)]
)
def test_a_time_before_between_or_after_is_refused_with_what_there_is(moment: datetime) -> None:
    assert "lies outside the recovery window" in refused(RecoveryTarget(at=moment)).message


def test_a_time_means_the_same_in_every_zone() -> None:
    there = at(5).astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert reach(RecoveryTarget(at=there)).settings["recovery_target_time"] == "2026-11-23 05:00:00.000000+00"
    across_midnight = at(1).astimezone(timezone(timedelta(hours=-12)))
    assert across_midnight.date() != at(1).date()
    assert reach(RecoveryTarget(at=across_midnight)).entry.id == "f0"


def test_an_incremental_backup_brings_its_chain() -> None:
    made = reach(RecoveryTarget(at=at(7)))
    assert [link.id for link in made.chain] == ["f1", "i1"]
    assert made.raw_bytes == 2000


def test_the_latest_is_the_end_of_the_newest_span() -> None:
    made = reach(RecoveryTarget(latest=True))
    assert (made.entry.id, made.settings) == ("f2", {"recovery_target_timeline": "1"})
    assert [file.name for file in made.files] == list(segments(range(30, 42)))


@pytest.mark.parametrize(
    ("lsn", "backup"),
    [
        (2 * SEGMENT + 0x120, "f0"),
        (10 * SEGMENT + 0x11F, "f0"),
        (10 * SEGMENT + 0x120, "f1"),
        (20 * SEGMENT - 1, "i1"),
        (30 * SEGMENT + 0x120, "f2"),
        (42 * SEGMENT - 1, "f2"),
    ],
)
def test_an_lsn_is_reached_from_the_newest_backup_that_ended_by_it(lsn: int, backup: str) -> None:
    made = reach(RecoveryTarget(lsn=lsn))
    assert made.entry.id == backup
    assert made.settings["recovery_target_inclusive"] == "on"
    assert int(made.settings["recovery_target_lsn"].split("/")[1], 16) == lsn


@pytest.mark.parametrize(
    "lsn", [0, 2 * SEGMENT + 0x11F, 20 * SEGMENT, 28 * SEGMENT, 30 * SEGMENT, 42 * SEGMENT, INFINITE - 1]
)
def test_an_lsn_before_between_or_after_is_refused(lsn: int) -> None:
    assert "lies outside" in refused(RecoveryTarget(lsn=lsn)).message


@pytest.mark.parametrize(
    ("xid", "backup"),
    [
        (1000, "f0"),
        (1999, "f0"),
        (2000, "f1"),
        (2500, "i1"),
        (3999, "i1"),
        (4000, "f2"),
        (2_000_000_000, "f2"),
    ],
)
def test_a_transaction_is_left_out_starting_from_a_backup_before_it(xid: int, backup: str) -> None:
    made = reach(RecoveryTarget(before_xid=xid))
    assert made.entry.id == backup
    assert made.settings["recovery_target_xid"] == str(xid)
    assert made.settings["recovery_target_inclusive"] == "off"


def test_a_transaction_before_the_oldest_backup_is_refused() -> None:
    assert "committed before the oldest backup" in refused(RecoveryTarget(before_xid=999)).message


EPOCH = 1 << 32


def wrapped(stop_xmax: int) -> View:
    """Two backups, the older one far back, the newer one ended at `stop_xmax`."""
    old, new = (
        entry("old", at(20), segment=28, stop_xmax=max(3, stop_xmax - 2**30)),
        entry("new", at(21), segment=30, stop_xmax=stop_xmax),
    )
    return view([old, new], (Span(at(20), NEWEST, ("old", "new"), 28, 41),))


@pytest.mark.parametrize(
    ("stop_xmax", "given_xid", "backup"),
    [
        (EPOCH + 100, 100, "new"),  # 32 bits, same epoch
        (EPOCH + 100, 99, "old"),
        (EPOCH + 100, EPOCH - 50, "old"),  # 32 bits, just before the counter wrapped
        (EPOCH + 100, EPOCH + 100, "new"),  # 64 bits
        (EPOCH + 100, EPOCH + 99, "old"),
        (EPOCH - 50, 10, "new"),  # 32 bits: the counter wrapped after the backup
        (EPOCH - 50, EPOCH - 51, "old"),
        (5 * EPOCH - 50, 10, "new"),
        (5 * EPOCH + 10, EPOCH - 50, "old"),
        (5000, 4_000_000_000, "new"),  # nothing lies before the first epoch
    ],
)
def test_transaction_ids_of_32_and_64_bits_around_the_wrap(
    stop_xmax: int, given_xid: int, backup: str
) -> None:
    made = reach(RecoveryTarget(before_xid=given_xid), wrapped(stop_xmax))
    assert made.entry.id == backup
    assert made.settings["recovery_target_xid"] == str(given_xid % EPOCH)


@given(near=st.integers(2**31, 1 << 40), offset=st.integers(-(2**31) + 1, 2**31 - 1))
def test_the_low_half_of_a_transaction_id_says_as_much_as_all_of_it(near: int, offset: int) -> None:
    full = near + offset
    assume(full >= EPOCH)  # below that the two ways to write it are one
    seen = wrapped(near)

    def outcome(xid: int) -> str:
        try:
            return reach(RecoveryTarget(before_xid=xid), seen).entry.id
        except OpsError as error:
            return error.message.split("transaction")[0]

    if abs(full - max(3, near - 2**30)) < 2**31:
        assert outcome(full % EPOCH) == outcome(full)


@pytest.mark.parametrize(
    "target",
    [
        RecoveryTarget(),
        RecoveryTarget(at=at(2), latest=True),
        RecoveryTarget(lsn=1, before_xid=1),
        RecoveryTarget(at=at(2), lsn=0, before_xid=0, latest=True),
    ],
)
def test_anything_but_one_target_is_wrong_usage(target: RecoveryTarget) -> None:
    with pytest.raises(UsageError, match="one recovery target is needed"):
        reach(target)


def test_zero_is_a_target_too() -> None:
    assert "LSN 0/0 lies outside" in refused(RecoveryTarget(lsn=0)).message


def test_with_nothing_intact_the_first_finding_says_why() -> None:
    why = Finding(
        "manifest_missing", Severity.CRITICAL, "s3://b/m", "the manifest is missing", "take a backup"
    )
    with pytest.raises(DamagedError, match="no backup can be restored: the manifest is missing") as caught:
        reach(RecoveryTarget(latest=True), view([], (), None, why))
    assert (caught.value.code, caught.value.subject) == ("manifest_missing", "s3://b/m")


def test_history_files_come_first_and_the_settings_follow_the_timeline() -> None:
    history = History((Stretch(1, 0, 31 * SEGMENT + 5), Stretch(2, 31 * SEGMENT + 5, INFINITE)))
    listing = WalListing(
        segments(range(28, 32)) | segments(range(31, 42), 2), {2: "wal/00000002.history.zst", 3: "other"}, ()
    )
    span = Span(at(20), NEWEST, ("f2",), 28, 41)
    seen = View((FULL[3],), (FULL[3],), listing, history, SEGMENT, (span,), NEWEST, ())
    made = reach(RecoveryTarget(latest=True), seen)
    assert [file.name for file in made.files] == [
        "00000002.history",
        segment_name(1, 30, SEGMENT),
        *segments(range(31, 42), 2),
    ]
    assert made.files[0].history
    assert made.settings["recovery_target_timeline"] == "2"


# -- choosing what a validation restores to ----------------------------------------------------------------------

DAYS = (
    Span(MIDNIGHT - timedelta(hours=30), Commit(5, 1, MIDNIGHT - timedelta(hours=20), 1), ("f0",), 2, 3),
    Span(MIDNIGHT - timedelta(hours=10), Commit(9, 1, MIDNIGHT + timedelta(hours=3), 1), ("f1",), 5, 6),
)
DAYS_USABLE = [
    entry("f0", DAYS[0].start, segment=2),
    entry("f1", DAYS[1].start, segment=5),
]


def no_tools(_major: int) -> Tools:
    raise AssertionError("pg_waldump is not asked here")


@given(
    strategy=st.sampled_from([Strategy.NEWEST, Strategy.RANDOM, Strategy.AFTER_BACKUP]),
    seed=st.integers(),
    day=st.sampled_from([None, date(2026, 11, 21), date(2026, 11, 22), date(2026, 11, 23)]),
)
def test_what_is_chosen_lies_in_the_window_and_in_the_day(
    strategy: Strategy, seed: int, day: date | None
) -> None:
    seen = view(DAYS_USABLE, DAYS)
    chosen = choose(ARCHIVE, seen, strategy, seed=seed, day=day, tools_for=no_tools)
    assert chosen == choose(ARCHIVE, seen, strategy, seed=seed, day=day, tools_for=no_tools)
    reach(chosen, seen)
    if chosen.latest:
        assert strategy is Strategy.NEWEST
        assert day in (None, date(2026, 11, 23))
        return
    assert chosen.at is not None
    assert any(span.holds(chosen.at) for span in DAYS)
    assert day is None or chosen.at.astimezone(UTC).date() == day


def test_the_newest_of_an_older_day_is_the_last_moment_of_that_day() -> None:
    seen = view(DAYS_USABLE, DAYS)
    chosen = choose(ARCHIVE, seen, Strategy.NEWEST, seed=1, day=date(2026, 11, 22), tools_for=no_tools)
    assert chosen.at == MIDNIGHT - TICK


def test_random_moments_fill_the_spans_by_their_length() -> None:
    seen = view(DAYS_USABLE, DAYS)
    chosen = [
        choose(ARCHIVE, seen, Strategy.RANDOM, seed=seed, day=None, tools_for=no_tools).at
        for seed in range(400)
    ]
    older = sum(1 for moment in chosen if moment is not None and DAYS[0].holds(moment))
    assert 120 < older < 230  # 10 of 23 hours, so 174 on average
    assert len(set(chosen)) == 400


def test_after_a_backup_means_within_seconds_of_its_end() -> None:
    seen = view(DAYS_USABLE, DAYS)
    for seed in range(30):
        chosen = choose(ARCHIVE, seen, Strategy.AFTER_BACKUP, seed=seed, day=None, tools_for=no_tools).at
        assert chosen is not None
        assert any(timedelta(0) <= chosen - span.start <= timedelta(seconds=5) for span in DAYS)


def test_a_day_without_a_restorable_moment_cannot_be_proven() -> None:
    with pytest.raises(UnknownError, match="holds no moment of 2026-11-20"):
        choose(
            ARCHIVE,
            view(DAYS_USABLE, DAYS),
            Strategy.RANDOM,
            seed=1,
            day=date(2026, 11, 20),
            tools_for=no_tools,
        )
