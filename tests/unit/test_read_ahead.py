"""A stream is read one step ahead, in few buffers, and nothing is left running whatever happens."""

from __future__ import annotations

import threading
import time

import pytest

from ccobs_ops.core.read_ahead import read_ahead


class Source:
    """Bytes handed out in pieces of changing length; counts how often it was asked."""

    def __init__(self, data: bytes, pieces: list[int], fail_at: int | None = None) -> None:
        self.data = data
        self.pieces = pieces
        self.at = 0
        self.calls = 0
        self.fail_at = fail_at
        self.threads: set[int] = set()

    def readinto(self, buffer: memoryview) -> int:
        """The next piece."""
        self.threads.add(threading.get_ident())
        if self.calls == self.fail_at:
            raise ValueError("the source broke")
        wanted = min(self.pieces[self.calls % len(self.pieces)], len(buffer))
        self.calls += 1
        piece = self.data[self.at : self.at + wanted]
        buffer[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)


DATA = bytes(range(256)) * 400


@pytest.mark.parametrize("pieces", [[1000], [7, 999, 64], [64]])
@pytest.mark.parametrize("buffers", [1, 2, 4])
def test_every_byte_comes_once_and_in_order(pieces: list[int], buffers: int) -> None:
    source = Source(DATA, pieces)
    with read_ahead(source.readinto, size=700, buffers=buffers) as blocks:
        assert b"".join(bytes(block) for block in blocks) == DATA
    assert source.threads.isdisjoint({threading.get_ident()})
    assert len(source.threads) == 1


def test_a_block_stays_as_it_is_while_it_is_held() -> None:
    source = Source(DATA, [100])
    with read_ahead(source.readinto, size=100, buffers=3) as blocks:
        for number, block in enumerate(blocks):
            if number % 200 == 0:
                time.sleep(0.01)  # the reader would run ahead into this buffer if it could
            assert bytes(block) == DATA[number * 100 : number * 100 + 100]


def test_no_more_is_read_ahead_than_there_are_buffers() -> None:
    source = Source(DATA, [100])
    with read_ahead(source.readinto, size=100, buffers=3) as blocks:
        next(blocks)
        deadline = time.monotonic() + 5
        while source.calls < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert source.calls == 3


def test_an_error_comes_after_everything_before_it() -> None:
    source = Source(DATA, [100], fail_at=5)
    seen: list[bytes] = []
    with pytest.raises(ValueError, match="broke"), read_ahead(source.readinto, size=100) as blocks:
        seen.extend(bytes(block) for block in blocks)
    assert b"".join(seen) == DATA[:500]


def test_leaving_early_ends_the_thread() -> None:
    source = Source(DATA, [100])
    before = threading.active_count()
    with pytest.raises(KeyError), read_ahead(source.readinto, size=100) as blocks:
        next(blocks)
        raise KeyError
    assert threading.active_count() == before
