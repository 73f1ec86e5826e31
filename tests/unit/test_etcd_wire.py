"""Protobuf's wire format: what is written is read back, and whatever is read never escapes as anything but WireError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccobs_ops.core.etcd.messages import block_of_revision, everything_below, parse_key_value
from ccobs_ops.core.etcd.wire import WireError, block, fields, integer, signed, varint


@given(st.integers(1, 500), st.integers(-(2**63), 2**63 - 1).filter(bool))
def test_an_integer_comes_back(field: int, number: int) -> None:
    ((found, value),) = fields(integer(field, number))
    assert found == field
    assert isinstance(value, int)
    assert signed(value) == number


@given(st.integers(1, 500), st.binary(min_size=1, max_size=300))
def test_bytes_come_back(field: int, data: bytes) -> None:
    ((found, value),) = fields(block(field, data))
    assert (found, bytes(value)) == (field, data)  # type: ignore[arg-type]


@given(st.binary(max_size=64))
def test_whatever_is_read_ends_in_fields_or_in_a_wire_error(data: bytes) -> None:
    try:
        total = sum(1 for _ in fields(data))
    except WireError:
        return
    assert total <= len(data)


@pytest.mark.parametrize(
    "data", [b"\x0a\x05abc", b"\x08", b"\x0b", b"\x00\x01", b"\x08" + b"\xff" * 10 + b"\x01", b"\x09\x00"]
)
def test_what_is_cut_off_or_impossible_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        list(fields(data))


def test_known_bytes() -> None:
    assert varint(300) == b"\xac\x02"
    assert varint(-1) == b"\xff" * 9 + b"\x01"
    assert integer(1, 150) == b"\x08\x96\x01"
    assert block(2, b"testing") == b"\x12\x07testing"
    assert integer(1, 0) == b""
    assert block_of_revision(0) == b"\x30\x00"
    assert block_of_revision(5) == b"\x30\x05"


def test_a_key_value_as_etcd_writes_it() -> None:
    data = block(1, b"/k") + integer(2, 3) + integer(3, 7) + integer(4, 2) + block(5, b"v") + integer(6, -4)
    kv = parse_key_value(data)
    assert (kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease) == (
        b"/k",
        b"v",
        3,
        7,
        2,
        -4,
    )


@given(st.binary(max_size=20), st.binary(max_size=5))
def test_the_range_below_a_prefix_holds_every_key_that_begins_with_it(prefix: bytes, rest: bytes) -> None:
    end = everything_below(prefix)
    assert end == b"\x00" or prefix + rest < end
