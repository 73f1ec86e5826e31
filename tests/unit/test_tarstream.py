"""Any archive that Python's tarfile makes comes out the same, however it is cut; a piece of one never passes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccobs_ops.core.postgres.tarstream import TarError, TarReader

Member = tuple[str, bytes | None]
"""A name and its content; None for a folder."""


class Kept:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.members: list[tuple[str, bytes | None]] = []
        self.complete = 0
        self._running: tarfile.TarInfo | None = None
        self._data = b""

    def begin(self, member: tarfile.TarInfo) -> None:
        assert self._running is None, "a member began before the last one ended"
        self._running, self._data = member, b""

    def data(self, block: memoryview) -> None:
        assert len(block) > 0
        self._data += bytes(block)

    def end(self) -> None:
        assert self._running is not None
        assert len(self._data) == self._running.size
        self.members.append((self._running.name, None if self._running.isdir() else self._data))
        self._running = None


names = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyz0123456789_.-ü", min_size=1, max_size=12), min_size=1, max_size=4
).map("/".join)
sizes = st.one_of(st.integers(0, 3000), st.sampled_from([0, 1, 511, 512, 513, 1024, 10240]))
members = st.lists(
    st.tuples(names, st.one_of(st.none(), sizes.flatmap(lambda n: st.binary(min_size=n, max_size=n)))),
    max_size=6,
)


def archive(contents: list[Member], form: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, content in contents:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content or b""))
    return out.getvalue()


def cut(data: bytes, steps: list[int]) -> Iterator[bytes]:
    at, turn = 0, 0
    while at < len(data):
        step = steps[turn % len(steps)]
        yield data[at : at + step]
        at, turn = at + step, turn + 1


def read(data: bytes, steps: list[int]) -> Kept:
    kept = Kept()
    reader = TarReader(kept)
    for block in cut(data, steps):
        reader.feed(block)
    reader.finish()
    return kept


@given(
    contents=members,
    steps=st.lists(st.integers(1, 5000), min_size=1, max_size=8),
    form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT]),
)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
def test_members_come_out_as_they_went_in(contents: list[Member], steps: list[int], form: int) -> None:
    assert read(archive(contents, form), steps).members == contents


@pytest.mark.parametrize("step", [1, 511, 512, 513, 100_000])
def test_every_block_size_gives_the_same(step: int) -> None:
    contents: list[Member] = [("base", None), ("base/1", b"x" * 700), ("empty", b""), ("base/2", b"y" * 512)]
    assert read(archive(contents), [step]).members == contents


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_blocks_may_be_any_bytes(kind: type) -> None:
    kept = Kept()
    reader = TarReader(kept)
    reader.feed(kind(archive([("a", b"hello")])))
    reader.finish()
    assert kept.members == [("a", b"hello")]


def test_a_stream_that_ends_anywhere_before_its_end_mark_is_refused() -> None:
    data = archive([("base", None), ("base/1", b"x" * 700), ("empty", b""), ("PG_VERSION", b"18\n")])
    mark = (
        512 + (512 + 1024) + 512 + (512 + 512) + 512
    )  # headers and padded contents, and one block of zeroes
    for length in range(mark):
        with pytest.raises(TarError, match="the tar stream ends"):
            read(data[:length], [4096])
    assert len(read(data[:mark], [4096]).members) == 4


def test_an_end_mark_before_the_last_member_does_not_count_as_one() -> None:
    whole = archive([("a", b"hello")])[:1024] + bytes(1024) + archive([("b", b"world")])
    assert [name for name, _ in read(whole, [700]).members] == ["a", "b"]
    with pytest.raises(TarError, match="without an end mark"):
        read(whole[: 2048 + 1024], [700])


def test_an_empty_archive_has_no_members_and_nothing_is_no_archive() -> None:
    assert read(archive([]), [100]).members == []
    with pytest.raises(TarError, match="without an end mark"):
        TarReader(Kept()).finish()


@given(st.binary(min_size=512, max_size=600).filter(lambda data: any(data[:512])))
def test_rubbish_is_no_header(data: bytes) -> None:
    with pytest.raises(TarError, match="no tar header"):
        TarReader(Kept()).feed(data)


def test_a_flipped_bit_in_a_header_is_refused() -> None:
    data = bytearray(archive([("base/1/1259", b"x" * 100)]))
    used = [
        byte for byte in range(512) if byte < 157 or 257 <= byte < 345
    ]  # name to link flag, and ustar's fields
    passed = []
    for byte in used:
        for bit in range(8):
            data[byte] ^= 1 << bit
            try:
                kept = read(bytes(data), [10_000])
            except TarError:
                pass
            else:
                passed.append((byte, bit, kept.members))
            data[byte] ^= 1 << bit
    # the checksum covers every byte but its own field, where only the number counts
    assert {byte for byte, _, _ in passed} <= set(range(148, 156))
    assert all(members == [("base/1/1259", b"x" * 100)] for _, _, members in passed)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_extension_headers_are_refused_rather_than_misread(form: int) -> None:
    """pg_basebackup writes none; their content must not pass for files."""
    long_name = "n" * 300
    with pytest.raises(TarError):
        read(archive([("a", b"1"), (long_name, b"2")], form), [1000])


def test_files_beyond_eight_gigabytes_keep_their_size() -> None:
    info = tarfile.TarInfo("base/large")
    info.size = 9 << 30
    seen: list[int] = []

    class Sizes(Kept):
        def begin(self, member: tarfile.TarInfo) -> None:
            seen.append(member.size)

        def data(self, block: memoryview) -> None:
            seen.append(len(block))

    reader = TarReader(Sizes())
    reader.feed(info.tobuf(tarfile.GNU_FORMAT))
    reader.feed(bytes(4096))
    assert seen == [9 << 30, 4096]
    with pytest.raises(TarError, match="in the middle of a file"):
        reader.finish()
