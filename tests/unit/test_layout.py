"""What is stored is read back the same, or not at all: every single bit of a catalogue entry counts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccobs_ops.core.archive import Part
from ccobs_ops.core.catalogue import seal
from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.postgres import layout
from ccobs_ops.core.postgres.layout import Entry, WalKey, load_entry
from ccobs_ops.core.postgres.wal import segment_name

MD5 = "0123456789abcdef0123456789abcdef"
WHERE = "s3://backups/postgres/observatory/catalogue/20261123T020000Z-full.json"
SMALL = Entry(
    id="20261123T020000Z-full",
    parent=None,
    system_identifier="7567890123456789012",
    server_version="18.6",
    timeline=1,
    segment_size=16777216,
    start_lsn=0x2000028,
    stop_lsn=0x2000120,
    started_at=datetime(2026, 11, 23, 2, 0, 0, 1, UTC),
    stopped_at=datetime(2026, 11, 23, 2, 0, 4, 999999, UTC),
    stop_xmax=761,
    raw_bytes=40_000_000,
    stored_bytes=5_000_000,
    manifest=Part("backups/20261123T020000Z-full/manifest.zst", 9000, 140_000, MD5),
    parts=(Part("backups/20261123T020000Z-full/part-000000.tar.zst", 5_000_000, 40_000_000, MD5),),
)

words = st.text(min_size=1, max_size=20)
counts = st.integers(0, 1 << 63)
moments = st.builds(
    lambda moment, minutes: moment.astimezone(timezone(timedelta(minutes=minutes))),
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)),
    st.integers(-14 * 60, 14 * 60),
)
parts = st.builds(Part, words, counts, counts, st.just(MD5))
entries = st.builds(
    Entry,
    id=words,
    parent=st.none() | words,
    system_identifier=words,
    server_version=st.sampled_from(["18.6", "17", "18beta1"]),
    timeline=st.integers(1, 0xFFFFFFFF),
    segment_size=st.sampled_from([1 << 20, 1 << 24, 1 << 30]),
    start_lsn=st.integers(0, (1 << 64) - 1),
    stop_lsn=st.integers(0, (1 << 64) - 1),
    started_at=moments,
    stopped_at=moments,
    stop_xmax=counts,
    raw_bytes=counts,
    stored_bytes=counts,
    manifest=parts,
    parts=st.lists(parts, max_size=3).map(tuple),
)


@given(entries)
def test_an_entry_is_read_back_as_it_was(entry: Entry) -> None:
    read = load_entry(entry.dump(), WHERE)
    assert read == entry
    assert (read.started_at.utcoffset(), read.stopped_at.utcoffset()) == (timedelta(0), timedelta(0))


def test_times_are_stored_in_utc_whatever_zone_they_came_in() -> None:
    elsewhere = replace(SMALL, started_at=SMALL.started_at.astimezone(timezone(timedelta(hours=-7))))
    assert elsewhere.dump() == SMALL.dump()


def test_every_flipped_bit_of_an_entry_is_refused_by_name() -> None:
    data = bytearray(SMALL.dump())
    assert load_entry(bytes(data), WHERE) == SMALL
    for byte in range(len(data)):
        for bit in range(8):
            data[byte] ^= 1 << bit
            with pytest.raises(DamagedError) as caught:
                load_entry(bytes(data), WHERE)
            assert (caught.value.code, caught.value.subject) == ("catalogue_corrupt", WHERE)
            data[byte] ^= 1 << bit


@given(st.integers(0, 2000), st.integers(0, 2000), st.binary(max_size=20))
def test_an_entry_with_a_piece_missing_or_replaced_is_refused(low: int, high: int, piece: bytes) -> None:
    data = SMALL.dump()
    low, high = sorted((low % (len(data) + 1), high % (len(data) + 1)))
    changed = data[:low] + piece + data[high:]
    if changed == data:
        assert load_entry(changed, WHERE) == SMALL
    else:
        with pytest.raises(DamagedError, match="cannot be trusted"):
            load_entry(changed, WHERE)


def test_an_entry_that_was_only_formatted_anew_is_refused() -> None:
    body = json.loads(SMALL.dump())
    for changed in (json.dumps(body), json.dumps(body, indent=2), SMALL.dump().decode() + "\n"):
        with pytest.raises(DamagedError, match="not as it was written"):
            load_entry(changed.encode(), WHERE)


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b"1", b'"x"', b"{}", b"\xff", b'{"sha256": null}', b"[" * 100]
)
def test_what_is_no_entry_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedError, match="cannot be trusted"):
        load_entry(data, WHERE)


def signed(**changes: object) -> bytes:
    body = json.loads(SMALL.dump())
    body.pop("sha256")
    body |= changes
    return seal(body, "sha256")


@pytest.mark.parametrize(
    "changes",
    [
        {"parts": None},
        {"parts": [["key", 1]]},
        {"manifest": {}},
        {"start_lsn": 5},
        {"start_lsn": "x"},
        {"started_at": "yesterday"},
        {"started_at": None},
        {"extra": 1},
    ],
)
def test_an_entry_of_another_shape_is_refused_though_its_checksum_is_right(
    changes: dict[str, object],
) -> None:
    assert load_entry(signed(), WHERE) == SMALL
    with pytest.raises(DamagedError, match="cannot be trusted"):
        load_entry(signed(**changes), WHERE)


def test_a_newer_format_is_refused_and_said_to_be_newer() -> None:
    with pytest.raises(DamagedError, match="format 2 is newer than this program reads"):
        load_entry(signed(format=2), WHERE)


def test_what_an_entry_says_of_itself() -> None:
    assert (SMALL.incremental, SMALL.major) == (False, 18)
    assert replace(SMALL, parent="other").incremental


@given(st.integers(1, 0xFFFFFFFF), st.integers(0, 1 << 30), st.binary(min_size=16, max_size=16))
def test_the_key_of_a_segment_tells_its_name_and_checksum(timeline: int, number: int, digest: bytes) -> None:
    name = segment_name(timeline, number, 1 << 24)
    assert layout.parse_wal_key(layout.segment_key(name, digest.hex())) == WalKey(name, digest.hex())
    running = layout.parse_wal_key(layout.partial_key(name))
    assert running == WalKey(name, None)
    assert running is not None
    assert running.partial
    assert layout.parse_history_key(layout.history_key(timeline)) == timeline


@pytest.mark.parametrize(
    "key",
    [
        "wal/00000001/000000010000000000000001.zst",
        "wal/00000002/000000010000000000000001.partial.zst",
        f"wal/00000001/000000010000000000000001-{MD5.upper()}.zst",
        f"wal/00000001/000000010000000000000001-{MD5}.zst.tmp",
        f"x/wal/00000001/000000010000000000000001-{MD5}.zst",
        f"wal/00000001/00000001000000000000000g-{MD5}.zst",
        "wal/00000001.history.zst",
        "",
    ],
)
def test_other_keys_are_no_segments(key: str) -> None:
    assert layout.parse_wal_key(key) is None


@pytest.mark.parametrize("key", ["wal/1.history.zst", "wal/00000001.history", "wal/0000000a.history.zst", ""])
def test_other_keys_are_no_history(key: str) -> None:
    assert layout.parse_history_key(key) is None


def test_keys_of_parts_sort_in_their_order() -> None:
    keys = [layout.part_key("b", number) for number in (0, 1, 9, 10, 99, 100, 99_999, 100_000)]
    assert keys == sorted(keys)
    assert all(key.startswith("backups/b/") for key in [*keys, layout.manifest_key("b")])
