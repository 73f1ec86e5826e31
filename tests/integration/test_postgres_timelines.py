"""Across a promotion and across a restart of everything, the proof stays exact."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ccobs_ops.core.exercise import Verdict
from tests.postgres_support import Estate, estate_in, wait_for, why


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A lab under write load with one backup on timeline 1."""
    with estate_in(
        tmp_path_factory.mktemp("timelines") / "lab", "us", "postgres", "writer", "agent"
    ) as estate:
        yield estate


def test_moments_on_both_sides_of_a_promotion(estate: Estate) -> None:
    before, _ = estate.commit_marked("on the old timeline")
    estate.lab.promote()
    wait_for(lambda: _timeline(estate) == 2, 30, "WAL of the new timeline")
    after, _ = estate.commit_marked("on the new timeline")
    estate.await_archived(after)
    for at in (before, after):
        validation = estate.validate(at=at)
        assert validation.verdict is Verdict.PASSED, why(validation)
        assert validation.details["timeline"] == 2
    newest = estate.validate()
    assert newest.verdict is Verdict.PASSED, why(newest)
    assert estate.backup(incremental=True).verdict is Verdict.PASSED
    again = estate.validate()
    assert again.verdict is Verdict.PASSED, why(again)


def _timeline(estate: Estate) -> int | None:
    newest = estate.window().details.get("newest_commit")
    return newest["timeline"] if newest else None


def test_a_restart_of_everything_loses_nothing(estate: Estate) -> None:
    at, _ = estate.commit_marked("before the restart")
    for name in ("agent", "writer", "postgres", "us"):
        estate.lab.kill_service(name)
    for name in ("us", "postgres", "writer", "agent"):
        estate.lab.start_service(name)
    estate.await_archived(estate.now(), seconds=60)
    window = estate.window(deep=True)
    assert window.verdict is Verdict.PASSED, why(window)
    for options in ({"at": at}, {}, {"strategy": "segment-boundary", "seed": 4}):
        validation = estate.validate(**options)
        assert validation.verdict is Verdict.PASSED, why(validation)
