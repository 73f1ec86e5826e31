"""Work done side by side comes out in order, never runs far ahead, and leaves nothing behind."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccobs_ops.core.storage import in_order


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("store")}


def slow(item: int) -> int:
    time.sleep(random.Random(item).random() / 200)
    return item * item


@given(count=st.integers(0, 30), workers=st.integers(1, 6), ahead=st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_results_come_in_the_order_of_the_items(count: int, workers: int, ahead: int) -> None:
    assert list(in_order(iter(range(count)), slow, workers=workers, ahead=ahead)) == [
        n * n for n in range(count)
    ]


def test_work_is_done_side_by_side() -> None:
    meeting = threading.Barrier(4, timeout=10)  # passes only when four work at once
    assert list(in_order(iter(range(8)), lambda _: meeting.wait() >= 0, workers=4, ahead=4)) == [True] * 8


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_item_is_taken_before_there_is_room(ahead: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(50):
            taken += 1
            yield number

    for done, _ in enumerate(in_order(items(), slow, workers=8, ahead=ahead)):
        assert taken - done <= ahead, "results that nobody has taken yet pile up"
    assert taken == 50


def fail_at(*bad: int) -> Iterator[int]:
    def work(number: int) -> int:
        if number in bad:
            time.sleep(0.05 if number == min(bad) else 0)  # the later failure happens first
            raise ValueError(f"item {number}")
        return number

    yield from in_order(iter(range(20)), work, workers=4, ahead=6)


def test_the_first_error_in_order_wins_after_everything_before_it() -> None:
    results = fail_at(7, 5, 6)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="item 5"):
        next(results)
    assert not threads()


def test_an_error_of_the_source_goes_through() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the stream broke")

    with pytest.raises(OSError, match="the stream broke"):
        list(in_order(items(), slow, workers=2, ahead=3))
    assert not threads()


def test_after_an_error_no_new_work_begins() -> None:
    begun: list[int] = []
    release = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ValueError("first")
        release.wait(10)

    results = in_order(iter(range(100)), work, workers=2, ahead=10)
    threading.Timer(0.1, release.set).start()
    with pytest.raises(ValueError, match="first"):
        next(results)
    seen = len(begun)
    assert seen < 10
    assert not threads()
    assert len(begun) == seen


def test_a_consumer_that_stops_early_leaves_no_thread() -> None:
    results = in_order(iter(range(1000)), slow, workers=4, ahead=8)
    assert next(results) == 0
    assert isinstance(results, Iterator)
    results.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert not threads()
