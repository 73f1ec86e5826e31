"""List both sides with many hands, and put what is found on record stretch by stretch."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ccobs_ops.core.replication.journal import Journal
from ccobs_ops.core.replication.lister import Lister
from ccobs_ops.core.replication.merge import Found, Merge
from ccobs_ops.core.replication.order import Order
from ccobs_ops.core.replication.ranges import Board, Range
from ccobs_ops.core.replication.sample import Sample

STRETCH_PAGES = 16
STRETCH_SUSPECTS = 1000


def scan(
    source: Lister,
    replica: Lister,
    journal: Journal,
    order: Order,
    sample: Sample,
    workers: int,
    advanced: Callable[[int], None],
) -> int:
    """Merge whatever is not on record in `journal` yet, in `workers` threads; returns how often a range was cut.

    Raises the first error of any worker, after all of them have put on record what they had.
    """
    board = Board(journal.gaps(order), order, source)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while (taken := board.take()) is not None:
                try:
                    _list(board, taken, Merge(source, replica, order, sample, advanced), journal)
                finally:
                    board.done(taken)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            errors.append(error)
            board.stop()

    threads = [threading.Thread(target=work, name=f"list-{number}", daemon=True) for number in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        board.stop()
        raise
    if errors:
        raise errors[0]
    return board.cuts


def _list(board: Board, taken: Range, merge: Merge, journal: Journal) -> None:
    low = cursor = taken.low
    found = Found()
    ends = False
    try:
        while not ends and not board.stopped:
            cursor, ends = merge.step(cursor, lambda bound: board.claim(taken, bound), found)
            if ends or found.pages >= STRETCH_PAGES or len(found.suspects) >= STRETCH_SUSPECTS:
                journal.add(low, cursor, found)
                low, found = cursor, Found()
    finally:
        if cursor is not None and cursor != low:
            journal.add(low, cursor, found)
