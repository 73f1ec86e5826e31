"""What the report asks of the ledger is what reading all of it would tell, on both databases."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.report import query
from tests.ledger_support import exercise, ledger, server, url

__all__ = ["ledger", "server", "url"]

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
PLACES = [("etcd/a", "snapshot"), ("etcd/a", "validation"), ("etcd/ab", "health"), ("postgres/a", "backup")]


@pytest.fixture
def moments(ledger: Ledger) -> list[tuple[tuple[str, str], datetime, Verdict]]:
    """Exercises of four days, some of them at midnight and just before."""
    rng = random.Random(7)
    made: list[tuple[tuple[str, str], datetime, Verdict]] = []
    for number in range(120):
        place = rng.choice(PLACES)
        verdict = rng.choice(list(Verdict))
        at = MIDNIGHT - timedelta(seconds=rng.randrange(4 * 86400))
        if number % 6 == 0:
            at = MIDNIGHT - timedelta(days=rng.randrange(4)) - rng.choice([timedelta(0), MOMENT])
        ledger.record(exercise(number, verdict, at=at, target=place[0], capability=place[1]))
        made.append((place, at, verdict))
    return made


def test_every_pair_is_found_once(
    ledger: Ledger, moments: list[tuple[tuple[str, str], datetime, Verdict]]
) -> None:
    with ledger.reading() as connection:
        assert query.pairs(connection) == sorted({place for place, _, _ in moments}) == PLACES


def test_nothing_is_found_in_an_empty_ledger(ledger: Ledger) -> None:
    with ledger.reading() as connection:
        assert query.pairs(connection) == []
        assert query.oldest(connection) is None
        assert query.daily(connection, "a", "b", MIDNIGHT - timedelta(days=2), MIDNIGHT) == []


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (timedelta(days=5), timedelta(0)),
        (timedelta(days=3), timedelta(days=1)),
        (timedelta(days=2, hours=7), timedelta(hours=5)),
        (timedelta(hours=3), timedelta(hours=2)),
        (timedelta(days=1), timedelta(days=1) - MOMENT),
    ],
)
def test_days_are_counted_as_by_reading_all(
    ledger: Ledger,
    moments: list[tuple[tuple[str, str], datetime, Verdict]],
    since: timedelta,
    until: timedelta,
) -> None:
    first, last = MIDNIGHT - since, MIDNIGHT - until
    with ledger.reading() as connection:
        for place in PLACES:
            expected = Counter(
                (at.date(), verdict) for mine, at, verdict in moments if mine == place and first <= at <= last
            )
            found = query.daily(connection, *place, first, last)
            assert {(each.day, each.verdict): each.times for each in found} == expected
            assert len(found) == len(expected)
