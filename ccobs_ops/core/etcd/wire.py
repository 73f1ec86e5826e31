"""Protobuf's wire format, as far as etcd's API and Kubernetes' storage need it: varints, bytes, messages.

Source: protobuf.dev, "Encoding". A dozen messages of a stable API are declared by their field numbers in `client.py`;
generated code would cost half a second of start-up and pin the protobuf library against Dagster's.
"""

from __future__ import annotations

from collections.abc import Iterator

Value = int | memoryview
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MASK = (1 << 64) - 1


class WireError(ValueError):
    """The bytes are no protobuf message."""


def varint(number: int) -> bytes:
    """`number` as a base-128 integer; a negative one as its 64-bit two's complement, as int64 is written."""
    number &= _MASK
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def integer(field: int, number: int) -> bytes:
    """An int64, uint64, enum or bool field; nothing for 0, which is the default."""
    return varint(field << 3 | _VARINT) + varint(number) if number else b""


def block(field: int, data: bytes, *, always: bool = False) -> bytes:
    """A bytes, string or message field; nothing when it is empty, unless `always`."""
    return varint(field << 3 | _BYTES) + varint(len(data)) + data if data or always else b""


def fields(data: bytes | memoryview) -> Iterator[tuple[int, Value]]:
    """Every field of a message in order: its number, and an int or a view of its bytes. Raises WireError."""
    view = memoryview(data)
    position, size = 0, len(view)
    while position < size:
        tag, position = _varint(view, position)
        number, kind = tag >> 3, tag & 7
        if not number:
            raise WireError("field number 0")
        if kind == _VARINT:
            value, position = _varint(view, position)
            yield number, value
        elif kind == _BYTES:
            length, position = _varint(view, position)
            if position + length > size:
                raise WireError("a field is longer than its message")
            yield number, view[position : position + length]
            position += length
        elif kind in (_FIXED32, _FIXED64):
            width = 4 if kind == _FIXED32 else 8
            if position + width > size:
                raise WireError("a field is longer than its message")
            yield number, int.from_bytes(view[position : position + width], "little")
            position += width
        else:
            raise WireError(f"wire type {kind} is not supported")


def signed(number: int) -> int:
    """An int64 field's value as it was meant."""
    return number - (1 << 64) if number >> 63 else number


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    try:
        while True:
            byte = view[position]
            position += 1
            result |= (byte & 127) << shift
            if byte < 128:
                return result & _MASK, position
            shift += 7
            if shift > 63:
                raise WireError("a varint is longer than 64 bits")
    except IndexError:
        raise WireError("a varint is cut off") from None
