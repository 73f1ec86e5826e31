"""What etcd says and is asked, as messages of its protocol: parsed by field number, from rpc.proto and kv.proto (3.5)."""

from __future__ import annotations

from dataclasses import dataclass

from ccobs_ops.core.etcd.access import Member
from ccobs_ops.core.etcd.wire import Value, fields, integer, signed


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One key as the store has it: revisions of its creation and last change, how often it was written, its lease."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """What a range gave: `revision` is the store's at that moment, `count` all keys in the range."""

    revision: int
    count: int
    kvs: tuple[KeyValue, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Watched:
    """The first word of a watch: `compact_revision` is set where its start was compacted away, else 0."""

    canceled: bool
    compact_revision: int
    reason: str


def block_of_revision(revision: int) -> bytes:
    """Compare.mod_revision, which is a member of a oneof and so written also when it is 0."""
    return integer(6, revision) or bytes((6 << 3, 0))


class Message:
    """A parsed message: the last value of a field, or all of them."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._fields: dict[int, list[Value]] = {}
        for number, value in fields(data):
            self._fields.setdefault(number, []).append(value)

    def int(self, field: int) -> int:
        """The last value as a signed number, 0 where there is none."""
        return signed(self.number(field))

    def number(self, field: int) -> int:
        """The last value as an unsigned number, 0 where there is none."""
        found = self._fields.get(field)
        return value if found and isinstance(value := found[-1], int) else 0

    def bytes(self, field: int) -> memoryview:
        """The last value as bytes, empty where there is none."""
        found = self._fields.get(field)
        return value if found and isinstance(value := found[-1], memoryview) else memoryview(b"")

    def text(self, field: int) -> str:
        """The last value as text."""
        return str(self.bytes(field), "utf-8", "replace")

    def all(self, field: int) -> list[memoryview]:
        """Every value of the field, in order."""
        return [value for value in self._fields.get(field, ()) if isinstance(value, memoryview)]


def member(message: Message) -> Member:
    """An etcdserverpb.Member."""
    return Member(
        message.number(1),
        message.text(2),
        tuple(str(each, "utf-8") for each in message.all(3)),
        tuple(str(each, "utf-8") for each in message.all(4)),
        bool(message.int(5)),
    )


def parse_key_value(data: bytes | memoryview) -> KeyValue:
    """An mvccpb.KeyValue: what a range gives, and what the file holds for each revision. Raises WireError."""
    message = Message(memoryview(data))
    return KeyValue(
        bytes(message.bytes(1)),
        bytes(message.bytes(5)),
        message.int(2),
        message.int(3),
        message.int(4),
        message.int(6),
    )


def everything_below(prefix: bytes) -> bytes:
    """The end of the range that holds every key that begins with `prefix`."""
    for position in range(len(prefix) - 1, -1, -1):
        if prefix[position] < 0xFF:
            return prefix[:position] + bytes([prefix[position] + 1])
    return b"\x00"
