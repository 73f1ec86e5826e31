"""The proof of exactness against a model that knows what truly happened: commits, crashes, promotions, lost branches."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccobs_ops.core.ledger import Canary
from ccobs_ops.core.postgres.exact import Bounds, compare, compare_all
from ccobs_ops.core.postgres.wal import INFINITE, History, Stretch, only

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def canary(seq: int, low: int, high: int, timeline: int = 1, *, reconciled: bool = False) -> Canary:
    return Canary(
        "postgres/x", seq, timeline, NOON + timedelta(seconds=seq), low, high, reconciled=reconciled
    )


@dataclass
class World:
    """A cluster and its agent. `commits` is the truth: sequence number to timeline and end of the commit record."""

    commits: dict[int, tuple[int, int]] = field(default_factory=dict)
    recorded: list[Canary] = field(default_factory=list)
    switches: list[int] = field(default_factory=list)
    position: int = 100
    next: int = 1

    @property
    def timeline(self) -> int:
        return len(self.switches) + 1

    def commit(self, gap: int, size: int) -> None:
        """The agent reads the position, commits, reads it again and writes it down."""
        low = self._advance(gap)
        self._commit(gap, size)
        self.recorded.append(canary(self.next, low, self._advance(gap), self.timeline))
        self.next += 1

    def commit_and_crash(self, gap: int, size: int) -> None:
        """The agent dies between commit and record."""
        self._commit(gap, size)

    def restart(self, gap: int, size: int) -> None:
        """The agent starts and writes down what it finds beyond its last record."""
        last = self.recorded[-1] if self.recorded else None
        known = last.seq if last else 0
        low = last.lsn_high if last and last.timeline == self.timeline else 0
        top = max(self._visible(self.timeline, self.position), default=0)
        high = self._advance(gap + size)
        if top > known:
            assert top == known + 1
            self.recorded.append(canary(top, low, high, self.timeline, reconciled=True))
        self.next = max(known, top) + 1

    def promote(self, gap: int, size: int) -> None:
        """A standby takes over that had received less than all; the agent starts anew on it."""
        begin = self.switches[-1] if self.switches else 1
        self.switches.append(max(begin, self.position - gap * size))
        self.position = self.switches[-1] + 1
        self.restart(gap, size)

    def _commit(self, gap: int, size: int) -> None:
        self._advance(gap)
        self.commits[self.next] = (self.timeline, self._advance(size))

    def _advance(self, count: int) -> int:
        self.position += count
        return self.position

    def history(self, timeline: int) -> History:
        bounds = [0, *self.switches[: timeline - 1], INFINITE]
        return History(tuple(Stretch(t, bounds[t - 1], bounds[t]) for t in range(1, timeline + 1)))

    def _visible(self, timeline: int, lsn: int) -> set[int]:
        history = self.history(timeline)
        return {seq for seq, (at, end) in self.commits.items() if end <= min(lsn, history.end_of(at) or 0)}

    def visible(self, timeline: int, lsn: int, floor: int) -> set[int]:
        """What a copy shows that followed `timeline` up to `lsn`."""
        return {seq for seq in self._visible(timeline, lsn) if seq > floor}


STEPS = ["commit", "commit", "commit", "commit", "crash and restart", "promote", "crash and promote"]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world = World()
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=14)):
        gap, size = draw(st.integers(0, 5)), draw(st.integers(1, 30))
        if step.startswith("crash"):
            world.commit_and_crash(gap, size)
        if step == "commit":
            world.commit(gap, size)
        elif step.endswith("promote"):
            world.promote(gap, size)
        else:
            world.restart(gap, size)
    if draw(st.booleans()):
        world.commit_and_crash(draw(st.integers(0, 5)), 10)
    return world


@st.composite
def recoveries(draw: st.DrawFn) -> tuple[World, int, int, int]:
    """A world, and the timeline, LSN and floor of a copy of it."""
    world = draw(worlds())
    timeline = draw(st.integers(1, world.timeline))
    ends = [end for _, end in world.commits.values()]
    lsn = draw(
        st.one_of(st.integers(1, world.position), st.sampled_from([*ends, *(end - 1 for end in ends), 10**6]))
    )
    newest = world.recorded[-1].seq if world.recorded else 0
    return world, timeline, lsn, draw(st.one_of(st.just(0), st.integers(0, newest)))


def undecided(world: World, timeline: int, lsn: int) -> set[int]:
    """Records whose range the end of replay cuts, or whose timeline says nothing: either way is right."""
    history, found = world.history(timeline), set()
    for row in world.recorded:
        end = history.end_of(row.timeline)
        if row.lsn_low < min(lsn, end or 0) < row.lsn_high or (end is None and row.reconciled):
            found.add(row.seq)
    return found


@given(recoveries())
@settings(max_examples=250, deadline=None)
def test_the_truth_is_exact(recovery: tuple[World, int, int, int]) -> None:
    world, timeline, lsn, floor = recovery
    result = compare(world.recorded, world.visible(timeline, lsn, floor), floor, world.history(timeline), lsn)
    assert result.exact, result
    assert result.present == result.expected


@given(recoveries())
@settings(max_examples=250, deadline=None)
def test_one_canary_too_few_or_too_many_is_told_by_its_number(recovery: tuple[World, int, int, int]) -> None:
    world, timeline, lsn, floor = recovery
    truth, history = world.visible(timeline, lsn, floor), world.history(timeline)
    either = undecided(world, timeline, lsn)
    for row in world.recorded:
        changed = truth ^ {row.seq}
        result = compare(world.recorded, changed, floor, history, lsn)
        if row.seq in either or row.seq <= floor:
            assert result.exact
        elif row.seq in truth:
            assert (result.missing, result.unexpected) == ((row.seq,), ())
            assert result.present == result.expected - 1
        else:
            assert (result.missing, result.unexpected) == ((), (row.seq,))


@given(recoveries())
@settings(max_examples=250, deadline=None)
def test_beyond_the_record_only_the_very_next_canary_is_explained(
    recovery: tuple[World, int, int, int],
) -> None:
    world, timeline, lsn, floor = recovery
    truth, history = world.visible(timeline, lsn, floor), world.history(timeline)
    newest = world.recorded[-1].seq if world.recorded else 0
    assert not compare(world.recorded, truth | {newest + 2}, floor, history, lsn).exact
    assert not compare(world.recorded, truth | {newest + 1, newest + 2}, floor, history, lsn).exact
    alone = compare(world.recorded, truth | {newest + 1}, floor, history, lsn)
    if world.recorded and world.recorded[-1].timeline == timeline and lsn < world.recorded[-1].lsn_high:
        assert alone.unexpected == (newest + 1,), (
            "replay ended before the newest on record: nothing later can be there"
        )
    elif not world.recorded or world.recorded[-1].timeline == timeline:
        assert alone.exact


@given(recoveries())
@settings(max_examples=200, deadline=None)
def test_at_most_one_canary_of_a_timeline_is_undecided_unless_reconciled(
    recovery: tuple[World, int, int, int],
) -> None:
    world, timeline, lsn, _ = recovery
    doubtful = [
        row for row in world.recorded if row.seq in undecided(world, timeline, lsn) and not row.reconciled
    ]
    assert len({row.timeline for row in doubtful}) == len(doubtful)


TEN = [canary(seq, seq * 10, seq * 10 + 5) for seq in range(1, 11)]


@pytest.mark.parametrize(
    ("lsn", "must", "may"),
    [(9, 0, 0), (10, 0, 0), (11, 0, 1), (14, 0, 1), (15, 1, 0), (20, 1, 0), (1000, 10, 0)],
)
def test_the_edges_of_a_range(lsn: int, must: int, may: int) -> None:
    for count in range(12):
        result = compare(TEN, set(range(1, count + 1)), 0, only(1), lsn)
        assert result.expected == must
        assert result.exact == (must <= count <= must + may or (count == 11 and must == 10))


def test_which_canary_is_the_last_there_and_which_the_first_not_there() -> None:
    result = compare(TEN, {1, 2, 3}, 0, only(1), 38)
    assert (result.last, result.next) == (TEN[2], TEN[3])
    whole = compare(TEN, range(1, 11), 0, only(1), 1000)
    assert (whole.last, whole.next) == (TEN[9], None)
    none = compare(TEN, set(), 0, only(1), 5)
    assert (none.last, none.next) == (None, TEN[0])


def test_a_lost_branch_must_not_come_back() -> None:
    history = History((Stretch(1, 0, 40), Stretch(2, 40, INFINITE)))
    lost = [*TEN[:5], canary(6, 41, 45, timeline=2)]  # 4 and 5 were on timeline 1 after 0/28
    assert compare(lost, {1, 2, 3, 6}, 0, history, 100).exact
    assert compare(lost, {1, 2, 3, 4, 6}, 0, history, 100).unexpected == (4,)
    assert compare(lost, {1, 2, 3}, 0, history, 100).missing == (6,)


def test_what_was_pruned_on_either_side_is_not_compared() -> None:
    assert compare(TEN, range(6, 11), 5, only(1), 1000).exact  # gone from the table, still on record
    assert compare(
        TEN[5:], range(1, 11), 0, only(1), 1000
    ).exact  # gone from the record, still in an old copy's table
    assert compare(TEN, range(5, 11), 0, only(1), 1000).missing == (1, 2, 3, 4)


def test_an_empty_record_explains_one_canary_and_no_more() -> None:
    assert compare([], set(), 0, only(1), 1000).exact
    assert compare([], {1}, 0, only(1), 1000).exact
    assert compare([], {1, 2}, 0, only(1), 1000).unexpected == (1, 2)
    assert compare([], {2}, 0, only(1), 1000).unexpected == (2,)


def test_in_pieces_it_says_the_same_as_at_once() -> None:
    history = only(1)
    recorded = [canary(seq, 100 * seq, 100 * seq + 50) for seq in range(3, 60) if seq != 20]
    for visible in (
        [c.seq for c in recorded if c.seq <= 40],
        [c.seq for c in recorded if c.seq <= 40 and c.seq != 33],
        [20, *(c.seq for c in recorded if c.seq <= 40)],
        [*(c.seq for c in recorded if c.seq <= 40), 44],
        [*(c.seq for c in recorded), 60],
        [],
    ):
        whole = compare(recorded, visible, 4, history, 4060)
        bounds = Bounds(4, 3, 59, max(visible, default=0))
        for step in (1, 7, 16, 1000):
            pieces = compare_all(
                lambda first, last: [c for c in recorded if first <= c.seq <= last],
                lambda first, last, seen=tuple(visible): [seq for seq in seen if first <= seq <= last],
                bounds,
                history,
                4060,
                step=step,
            )
            assert pieces == whole, step
