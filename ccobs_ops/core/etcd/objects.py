"""What Kubernetes objects a store holds: counted by resource, and for a sample named and told how they are encoded.

Layout of keys: `/registry/RESOURCE/[NAMESPACE/]NAME`, with two parts for `services/` and `ranges/` and for every resource
of a group that has a dot in its name (k8s.io/apiserver; custom resources lie at `/registry/GROUP/PLURAL/…`).
Values are the protobuf envelope (`k8s` NUL and runtime.Unknown), JSON, or a transformer's output that begins with
`k8s:enc:PROVIDER:VERSION:KEY:` (k8s.io/apiserver, storage/value/encrypt).

A value is looked at and never kept: what leaves this module are names, counts and the *names* of encryption keys.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

ROOT = b"/registry/"
_MAGIC = b"k8s\x00"
_SEALED = re.compile(rb"k8s:enc:([a-z0-9]{1,32}):(v[0-9]{1,3}):(?:([A-Za-z0-9._-]{1,253}):)?")
_TWO_PARTS = frozenset({b"services", b"ranges"})
_CALLED = {
    "minions": "nodes",
    "controllers": "replicationcontrollers",
    "ingress": "ingresses",
    "services/specs": "services",
    "services/endpoints": "endpoints",
}
_MOST_MISPLACED = 20
CLEAR = "clear"
"""What the survey calls a value that no encryption prefix begins."""


class Ranger(Protocol):
    """The two questions that counting asks of a store. `end` is exclusive; revision 0 is the newest."""

    def count(self, start: bytes, end: bytes, revision: int = 0) -> int:
        """How many keys there are in [start, end) at `revision`."""
        ...

    def first_key(self, start: bytes, end: bytes, revision: int = 0) -> bytes | None:
        """The smallest key in [start, end) at `revision`; None if there is none."""
        ...


def after(prefix: bytes) -> bytes:
    """The first key that is larger than every key with `prefix`: etcd's own rule for a range end."""
    trimmed = prefix.rstrip(b"\xff")
    if not trimmed:
        return b"\x00"  # etcd: no upper bound
    return trimmed[:-1] + bytes([trimmed[-1] + 1])


def folder_of(key: bytes, root: bytes = ROOT) -> bytes:
    """The prefix, with its last slash, of every object of `key`'s resource; a key that stands alone is its own prefix."""
    parts = key[len(root) :].split(b"/")
    depth = 2 if b"." in parts[0] or parts[0] in _TWO_PARTS else 1
    return key if len(parts) <= depth else root + b"/".join(parts[:depth]) + b"/"


def resource_of(key: bytes, root: bytes = ROOT) -> str:
    """The resource that `key` belongs to, as `kubectl get` calls it: `pods`, `nodes`, `collectors.example.com`."""
    path = folder_of(key, root)[len(root) :].rstrip(b"/").decode("utf-8", "backslashreplace")
    if path in _CALLED:
        return _CALLED[path]
    group, slash, plural = path.partition("/")
    return f"{plural}.{group}" if slash and "." in group else path


def count_resources(ranger: Ranger, *, revision: int = 0, root: bytes = ROOT) -> dict[str, int]:
    """How many objects of each resource there are at `revision`, by name of the resource.

    Two requests a resource however many objects it has: the store counts, and from each resource the next is found.
    """
    counts: Counter[str] = Counter()
    start, end = root, after(root)
    while (key := ranger.first_key(start, end, revision)) is not None:
        folder = folder_of(key, root)
        start = after(folder) if folder != key else key + b"\x00"
        counts[resource_of(key, root)] += ranger.count(key, start, revision)
    return dict(sorted(counts.items()))


class Encoding(StrEnum):
    """How a value is written."""

    PROTOBUF = "protobuf"
    JSON = "json"
    ENCRYPTED = "encrypted"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """What a stored object says about itself; empty where it does not say, and where it is encrypted.

    `encryption` is `PROVIDER:VERSION:KEY`, for example `aescbc:v1:key1`.
    """

    encoding: Encoding
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    encryption: str = ""


def read_head(value: bytes) -> ObjectHead:
    """The head of a stored `value`. What cannot be decoded is `OTHER`; never raises, whatever the bytes."""
    if sealed := _SEALED.match(value):
        provider, version, key = (part.decode() if part else "" for part in sealed.groups())
        return ObjectHead(Encoding.ENCRYPTED, encryption=":".join(filter(None, (provider, version, key))))
    if value.startswith(_MAGIC):
        try:
            return _protobuf_head(value[len(_MAGIC) :])
        except (ValueError, UnicodeDecodeError):
            return ObjectHead(Encoding.OTHER)
    if value[:1] == b"{":
        return _json_head(value)
    return ObjectHead(Encoding.OTHER)


def _protobuf_head(data: bytes) -> ObjectHead:
    outer = dict(_fields(data))
    types = dict(_fields(outer.get(1, b"")))
    inner = dict(_fields(outer.get(2, b"")))
    metadata = dict(_fields(inner.get(1, b"")))
    return ObjectHead(
        Encoding.PROTOBUF,
        types.get(1, b"").decode(),
        types.get(2, b"").decode(),
        metadata.get(3, b"").decode(),
        metadata.get(1, b"").decode(),
    )


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of one protobuf message; raises ValueError where it is none."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError("a field is longer than its message")
            yield tag >> 3, data[at : at + size]
            at += size
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise ValueError("an integer has no end")


def _json_head(value: bytes) -> ObjectHead:
    try:
        document: Any = json.loads(value)
        metadata = document.get("metadata") or {}
        said = (
            document.get("apiVersion"),
            document.get("kind"),
            metadata.get("namespace"),
            metadata.get("name"),
        )
    except (ValueError, AttributeError, RecursionError):
        return ObjectHead(Encoding.OTHER)
    return ObjectHead(Encoding.JSON, *(part if isinstance(part, str) else "" for part in said))


@dataclass(frozen=True, slots=True)
class SurveyReport:
    """What a sample of stored objects showed.

    `decoded` counts those that said their name; `encodings` all by encoding; `encryption` by resource and then by encryption
    (`clear` for none), for the resources that have at least one encrypted object, and for secrets. `misplaced` are keys
    whose object bears another name or namespace than its key, at most twenty; `misplaced_count` all of them.
    """

    looked_at: int
    decoded: int
    encodings: Mapping[str, int]
    encryption: Mapping[str, Mapping[str, int]]
    misplaced: tuple[str, ...]
    misplaced_count: int
    undecodable: int

    def to_json(self) -> dict[str, Any]:
        """As it stands in an exercise's details."""
        return {
            "looked_at": self.looked_at,
            "decoded": self.decoded,
            "encodings": dict(self.encodings),
            "encryption": {resource: dict(found) for resource, found in self.encryption.items()},
            "misplaced": list(self.misplaced),
            "misplaced_count": self.misplaced_count,
            "undecodable": self.undecodable,
        }

    @property
    def encryption_keys(self) -> tuple[str, ...]:
        """Every encryption that was met: without these keys a restored API server cannot read its objects."""
        return tuple(sorted({way for found in self.encryption.values() for way in found} - {CLEAR}))

    @property
    def secrets_in_clear(self) -> int:
        """How many of the secrets looked at have no encryption."""
        return self.encryption.get("secrets", {}).get(CLEAR, 0)


class Survey:
    """Looks at objects one after the other and keeps counts only."""

    def __init__(self, root: bytes = ROOT) -> None:
        self._root = root
        self._encodings: Counter[str] = Counter()
        self._encryption: dict[str, Counter[str]] = {}
        self._decoded = 0
        self._misplaced: list[str] = []
        self._misplaced_count = 0

    def add(self, key: bytes, value: bytes) -> ObjectHead:
        """Look at one object; returns its head."""
        head = read_head(value)
        self._encodings[head.encoding.value] += 1
        ways = self._encryption.setdefault(resource_of(key, self._root), Counter())
        ways[head.encryption or CLEAR] += 1
        if head.name:
            self._decoded += 1
            if not self._belongs(key, head):
                self._misplaced_count += 1
                if len(self._misplaced) < _MOST_MISPLACED:
                    self._misplaced.append(key.decode("utf-8", "backslashreplace"))
        return head

    def report(self) -> SurveyReport:
        """What was seen so far."""
        encryption = {
            resource: dict(ways)
            for resource, ways in sorted(self._encryption.items())
            if resource == "secrets" or set(ways) != {CLEAR}
        }
        return SurveyReport(
            looked_at=sum(self._encodings.values()),
            decoded=self._decoded,
            encodings=dict(sorted(self._encodings.items())),
            encryption=encryption,
            misplaced=tuple(self._misplaced),
            misplaced_count=self._misplaced_count,
            undecodable=self._encodings[Encoding.OTHER.value],
        )

    def _belongs(self, key: bytes, head: ObjectHead) -> bool:
        folder = folder_of(key, self._root)
        where = key[len(folder) :].decode("utf-8", "backslashreplace")
        return where in (head.name, f"{head.namespace}/{head.name}") or folder == key
