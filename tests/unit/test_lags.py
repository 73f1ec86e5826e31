"""Lags of canaries: what is known of each, and the quantiles of a series in which some never came."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.replication.arrivals import Arrival, Arrivals, lags, quantile
from ccobs_ops.core.replication.pace import Pace

T0 = datetime(2026, 11, 23, 2, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def arrival(seq: int = 1, **moments: float) -> Arrival:
    return Arrival(
        "replication/pair", seq, f"k{seq}", "0" * 32, T0, **{name: at(s) for name, s in moments.items()}
    )


def test_a_lag_is_known_when_somebody_looked_shortly_before() -> None:
    assert arrival(absent_at=9.0, seen_at=10.0).lag_seconds == 10.0
    assert arrival(seen_at=0.4).lag_seconds == 0.4
    assert arrival(absent_at=1.0, seen_at=600.0).lag_seconds is None, "nobody looked for ten minutes"
    assert arrival(absent_at=500.0, seen_at=600.0).lag_seconds == 600.0
    assert arrival(absent_at=30.0).lag_seconds is None
    assert arrival(absent_at=30.0).least_seconds == 30.0
    assert arrival(seen_at=-0.2).lag_seconds == 0.0, "a clock that was set back gives no negative lag"


def test_without_losses_quantiles_are_those_of_the_sorted_series() -> None:
    series = [float(number) for number in range(1, 101)]
    random.Random(1).shuffle(series)
    assert quantile(series, [], 0.5) == 50.0
    assert quantile(series, [], 0.95) == 95.0
    assert quantile([], [], 0.5) is None


def test_what_never_came_is_neither_left_out_nor_taken_for_an_arrival() -> None:
    # 90 of 100 arrive within a second; ten are looked for in vain for an hour
    observed, censored = [1.0] * 90, [3600.0] * 10
    assert quantile(observed, censored, 0.5) == 1.0
    assert quantile(observed, censored, 0.95) is None, "at most 90 of 100 are known to arrive"
    # those that are only young say nothing against it
    assert quantile([1.0] * 90, [0.5] * 10, 0.95) == 1.0


def test_the_estimate_agrees_with_the_textbook_example() -> None:
    # Kaplan and Meier (1958), by hand: survival 1 → 0.8 at 6 → 0.5333 at 13 → 0.2667 at 21 → 0 at 30; 10+ is censored
    observed, censored = [6.0, 13.0, 21.0, 30.0], [10.0]
    assert quantile(observed, censored, 0.2) == 6.0
    assert quantile(observed, censored, 0.46) == 13.0
    assert quantile(observed, censored, 0.5) == 21.0
    assert quantile(observed, censored, 0.95) == 30.0


def test_a_series_counts_what_arrived_waits_and_was_given_up() -> None:
    found = lags(
        [
            arrival(1, seen_at=1.0),
            arrival(2, absent_at=40.0),
            arrival(3, absent_at=900.0, given_up_at=900.0),
            arrival(4, absent_at=1.0, seen_at=700.0),
        ]
    )
    assert (found.canaries, found.arrived, found.waiting, found.given_up, found.blurred) == (4, 2, 1, 1, 1)
    assert found.max_seconds == 900.0
    assert found.p50_seconds is None or found.p50_seconds >= 1.0


def test_arrivals_are_kept_updated_and_forgotten(tmp_path: object) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        book = Arrivals(ledger, "replication/pair")
        for seq in (1, 2, 3):
            book.add(arrival(seq))
        Arrivals(ledger, "replication/other").add(Arrival("replication/other", 9, "x", "0" * 32, T0))
        assert book.last_seq() == 3
        assert [one.seq for one in book.waiting()] == [1, 2, 3]
        book.update([arrival(1, seen_at=2.0), arrival(2, absent_at=900.0, given_up_at=900.0)])
        assert [one.seq for one in book.waiting()] == [3]
        assert book.since(T0)[0] == arrival(1, seen_at=2.0)
        assert book.prune(at(1.0)) == 0, "an object that is still stored keeps its row"
        book.update([arrival(1, seen_at=2.0, removed_at=3.0)])
        assert [one.seq for one in book.stored()] == [2, 3]
        assert book.prune(at(1.0)) == 1
        assert [one.seq for one in book.since(T0)] == [2, 3]


@pytest.mark.parametrize(("rate", "units", "times"), [(100.0, 50.0, 20), (10.0, 100.0, 3)])
def test_a_pace_is_never_exceeded_by_more_than_its_burst(rate: float, units: float, times: int) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(rate, timer=lambda: now[0], sleep=sleep)
    for _ in range(times):
        pace.take(units)
    assert now[0] >= (units * times - rate) / rate - 1e-6
    assert now[0] <= units * times / rate
