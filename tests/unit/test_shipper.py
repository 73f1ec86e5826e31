"""What is written of the segment that is being written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccobs_ops.core.postgres.shipper import written_of

PAGE = 8192
SEGMENT = 4 * 1024 * 1024


def segment(path: Path, pages: int, last: int) -> bytes:
    """A segment of which `pages` pages and `last` bytes of the next are written; most of a page may be zeros."""
    written = (b"\x18\xd1" + bytes(PAGE - 2)) * pages + (b"\x18\xd1" + b"r" * last if last else b"")
    path.write_bytes(written.ljust(SEGMENT, b"\0"))
    return written.rstrip(b"\0")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool") / "000000010000000000000001.partial"


@settings(max_examples=60)
@given(
    pages=st.one_of(st.integers(0, 511), st.sampled_from([0, 1, 127, 128, 129, 255, 256, 511])),
    last=st.sampled_from([0, 1, 100, PAGE - 2]),
    known=st.floats(0, 1),
)
def test_it_is_all_that_is_written_whatever_was_known_before(
    path: Path, pages: int, last: int, known: float
) -> None:
    expected = segment(path, pages, last)
    assert written_of(path) == expected
    assert written_of(path, int(known * len(expected))) == expected
    assert written_of(path, len(expected)) == expected


def test_a_full_segment_is_read_to_its_end(path: Path) -> None:
    expected = segment(path, SEGMENT // PAGE, 0)
    assert written_of(path) == written_of(path, SEGMENT // 2) == expected


def test_no_more_is_read_than_a_block_past_the_end(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"\x18\xd1")
        file.truncate(1 << 34)  # sparse: reading it all would take minutes and all memory
    assert written_of(path) == b"\x18\xd1"
