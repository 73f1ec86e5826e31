"""Which day is proven next, and how."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from ccobs_ops.core.postgres.strategy import Strategy, older_day, strategy_for

TODAY = date(2026, 11, 23)


@pytest.mark.parametrize("day", [TODAY, TODAY + timedelta(days=1)])
def test_today_is_proven_by_the_newest_commit(day: date) -> None:
    assert strategy_for(day, today=TODAY) is Strategy.NEWEST


def test_older_days_take_turns_and_never_ask_for_the_newest() -> None:
    for start in range(1, 40):
        days = [TODAY - timedelta(days=start + offset) for offset in range(3)]
        assert {strategy_for(day, today=TODAY) for day in days} == set(Strategy) - {Strategy.NEWEST}


def test_an_older_day_lies_between_the_oldest_and_yesterday_and_each_comes_up() -> None:
    oldest = TODAY - timedelta(days=5)
    chosen = {older_day(today=TODAY, oldest=oldest, seed=f"target{number}") for number in range(300)}
    assert chosen == {oldest + timedelta(days=offset) for offset in range(5)}


def test_the_same_date_and_seed_choose_the_same_day() -> None:
    oldest = TODAY - timedelta(days=30)
    assert older_day(today=TODAY, oldest=oldest, seed="a") == older_day(today=TODAY, oldest=oldest, seed="a")


@pytest.mark.parametrize("oldest", [TODAY, TODAY + timedelta(days=3)])
def test_there_is_no_older_day_before_the_second_day(oldest: date) -> None:
    assert older_day(today=TODAY, oldest=oldest, seed="a") is None
