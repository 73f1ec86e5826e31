"""How Kubernetes lays an object out in etcd, as far as the lab needs it: protobuf fields and the storage envelope.

The envelope is the four bytes `k8s` NUL and a `runtime.Unknown`: 1 typeMeta {1 apiVersion, 2 kind}, 2 the object, 3 and 4
its encoding, which are empty (k8s.io/apimachinery/pkg/runtime/serializer/protobuf). Field numbers are those of the published
`generated.proto` files of k8s.io/api and k8s.io/apimachinery.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MAGIC = b"k8s\x00"
_SHORT = [bytes([number]) for number in range(128)]
_TAGS = [bytes([field << 3 | 2]) for field in range(16)]  # most fields: a million objects are made of these


def varint(number: int) -> bytes:
    """`number`, which is not negative, as protobuf's base-128 integer."""
    if number < 128:
        return _SHORT[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def integer(field: int, number: int) -> bytes:
    """An int32, int64 or bool field."""
    return varint(field << 3) + varint(number)


def block(field: int, data: bytes) -> bytes:
    """A bytes field, or a message inside a message."""
    size = len(data)
    if field < 16 and size < 128:
        return _TAGS[field] + _SHORT[size] + data
    return varint(field << 3 | 2) + varint(size) + data


def text(field: int, value: str) -> bytes:
    """A string field."""
    return block(field, value.encode())


def pairs(field: int, values: Mapping[str, str]) -> bytes:
    """A map<string, string>."""
    return b"".join(block(field, text(1, key) + text(2, value)) for key, value in values.items())


def moment(field: int, seconds: int, nanos: int = 0) -> bytes:
    """A meta/v1 Time or MicroTime: seconds since 1970 and nanoseconds."""
    return block(field, integer(1, seconds) + integer(2, nanos))


def metadata(
    *,
    name: str,
    uid: str,
    created: int,
    namespace: str = "",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owner: tuple[str, str, str, str] | None = None,
    managed: bytes = b"",
) -> bytes:
    """Field 1 of every object: its ObjectMeta. `owner` is apiVersion, kind, name and uid; `managed` JSON of managedFields."""
    inner = text(1, name) + text(2, "") + text(3, namespace) + text(4, "") + text(5, uid) + text(6, "")
    inner += integer(7, 0) + moment(8, created)
    if labels:
        inner += pairs(11, labels)
    if annotations:
        inner += pairs(12, annotations)
    if owner:
        version, kind, of, owner_uid = owner
        inner += block(
            13,
            text(1, kind)
            + text(3, of)
            + text(4, owner_uid)
            + text(5, version)
            + integer(6, 1)
            + integer(7, 1),
        )
    if managed:
        entry = text(1, "kube-controller-manager") + text(2, "Update") + text(3, "v1")
        inner += block(17, entry + moment(4, created) + text(6, "FieldsV1") + block(7, block(1, managed)))
    return block(1, inner)


def envelope(api_version: str, kind: str, parts: Iterable[bytes]) -> bytes:
    """An object, given as its encoded fields, as it is stored."""
    return (
        MAGIC
        + block(1, text(1, api_version) + text(2, kind))
        + block(2, b"".join(parts))
        + b"\x1a\x00\x22\x00"
    )
