"""Reads etcd's file format (bbolt), so that a snapshot tells its own revision: page by page, from wherever the pages are.

Layout, from bbolt's page.go and bucket.go: fixed pages with a header of 16 bytes (id, flags, count, overflow). Pages 0 and
1 are meta pages, of which the one with the higher transaction id and a right FNV-1a checksum counts. A bucket is a B+ tree
of branch and leaf pages; a small one lies inline in its parent's leaf. All numbers are little-endian here, as on every
machine that etcd supports.

Of etcd's buckets (server/mvcc, etcd 3.4 to 3.6): `key` has every revision that is kept, by 17 bytes (main, `_`, sub; an
18th, `t`, marks a deletion), each with a KeyValue; `meta` has the consistent index, term and compacted revisions;
`members` and `alarm` what their names say.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ccobs_ops.core.errors import DamagedError

Fetch = Callable[[int, int], bytes]
"""(offset, length) → exactly those bytes of the file."""

_MAGIC, _VERSION = 0xED0CDAED, 2
_HEADER = struct.Struct("<QHHI")
_META = struct.Struct("<IIIIQQQQQQ")
_LEAF = struct.Struct("<IIII")
_BRANCH = struct.Struct("<IIQ")
_BUCKET = struct.Struct("<QQ")
_IS_BRANCH, _IS_LEAF, _IS_BUCKET = 0x01, 0x02, 0x01
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a bucket; `bucket` when its value is a bucket of its own."""

    key: bytes
    value: bytes
    bucket: bool


@dataclass(frozen=True, slots=True)
class _Bucket:
    root: int
    inline: bytes | None


@dataclass(frozen=True, slots=True)
class StoredRevision:
    """One entry of the bucket `key`: a KeyValue in protobuf, or a deletion."""

    main: int
    sub: int
    deletion: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class Facts:
    """What a snapshot says of itself. `compact_revision` is 0 when nothing was ever compacted."""

    revision: int
    compact_revision: int
    consistent_index: int
    raft_term: int
    members: tuple[str, ...]
    alarms: tuple[str, ...]


class BoltFile:
    """A bbolt file, read through `fetch`; `where` names it in errors. Raises DamagedError for what is no such file."""

    def __init__(self, fetch: Fetch, size: int, where: str) -> None:
        self._fetch = fetch
        self._size = size
        self._where = where
        self._page_size, self._root = self._meta()
        self._buckets = {
            item.key.decode("utf-8", "replace"): self._bucket(item.value)
            for item in self._walk(_Bucket(self._root, None))
            if item.bucket
        }

    def facts(self) -> Facts:
        """Revision, compaction, raft position and members."""
        meta = {item.key: item.value for item in self.items("meta")}
        compacted = max(_main(meta.get(b"scheduledCompactRev")), _main(meta.get(b"finishedCompactRev")))
        last = self._last("key")
        members = [json.loads(item.value) for item in self.items("members")]
        return Facts(
            revision=max(_main(last), compacted),
            compact_revision=compacted,  # one that was begun and not finished goes on when the copy starts
            consistent_index=_number(meta.get(b"consistent_index")),
            raft_term=_number(meta.get(b"term")),
            members=tuple(sorted(str(each.get("name") or each.get("id", "")) for each in members)),
            alarms=tuple(item.key.hex() for item in self.items("alarm")),
        )

    def items(self, name: str) -> Iterator[Item]:
        """Every entry of the bucket `name`, in order; none if there is no such bucket."""
        bucket = self._buckets.get(name)
        return self._walk(bucket) if bucket is not None else iter(())

    def sample(self, count: int, dice: random.Random) -> list[StoredRevision]:
        """`count` random entries of the bucket `key`, drawn by descending at random; some may be drawn twice."""
        bucket = self._buckets.get("key")
        if bucket is None:
            return []
        found: list[StoredRevision] = []
        for _ in range(count):
            items = self._descend(bucket, dice.randrange)
            if items:
                found.append(_revision(items[dice.randrange(len(items))]))
        return found

    def revisions(self) -> Iterator[StoredRevision]:
        """Every entry of the bucket `key`, oldest revision first."""
        return (_revision(item) for item in self.items("key"))

    def _meta(self) -> tuple[int, int]:
        best: tuple[int, int, int] | None = None
        for size in (4096, 8192, 16384, 65536):
            for offset in (0, size):
                if offset + 16 + _META.size > self._size:
                    continue
                raw = self._fetch(offset + _HEADER.size, _META.size)
                magic, version, page_size, _, root, _, _, _, txid, checksum = _META.unpack(raw)
                good = magic == _MAGIC and version == _VERSION and checksum == _fnv1a(raw[:-8])
                if good and (best is None or txid > best[0]):
                    best = (txid, page_size, root)
            if best is not None and best[1] == size:
                return best[1], best[2]
        raise self._damaged("it has no valid meta page")

    def _page(self, number: int) -> tuple[int, int, bytes]:
        """Flags, count and the bytes of page `number` with its overflow."""
        offset = number * self._page_size
        if offset + self._page_size > self._size:
            raise self._damaged(f"page {number} lies beyond its end")
        data = self._fetch(offset, self._page_size)
        identity, flags, count, overflow = _HEADER.unpack_from(data)
        if identity != number:
            raise self._damaged(f"page {number} calls itself {identity}")
        if overflow:
            length = (overflow + 1) * self._page_size
            if offset + length > self._size:
                raise self._damaged(f"page {number} lies beyond its end")
            data = self._fetch(offset, length)
        return flags, count, data

    def _walk(self, bucket: _Bucket) -> Iterator[Item]:
        if bucket.inline is not None:
            _, _, count, _ = _HEADER.unpack_from(bucket.inline)
            yield from self._leaf(bucket.inline, count)
            return
        pending = [bucket.root]
        while pending:
            flags, count, data = self._page(pending.pop())
            if flags & _IS_LEAF:
                yield from self._leaf(data, count)
            elif flags & _IS_BRANCH:
                pending += reversed(self._children(data, count))
            else:
                raise self._damaged(f"a page of a bucket has flags {flags:#x}")

    def _last(self, name: str) -> bytes | None:
        bucket = self._buckets.get(name)
        if bucket is None:
            return None
        items = self._descend(bucket, lambda count: count - 1)
        return items[-1].key if items else None

    def _descend(self, bucket: _Bucket, choose: Callable[[int], int]) -> list[Item]:
        """The leaf that is reached by `choose`, which picks a child by their number."""
        if bucket.inline is not None:
            return list(self._walk(bucket))
        number = bucket.root
        for _ in range(_DEEPEST):
            flags, count, data = self._page(number)
            if flags & _IS_LEAF:
                return list(self._leaf(data, count))
            if not flags & _IS_BRANCH or not count:
                break
            number = self._children(data, count)[choose(count)]
        raise self._damaged("a bucket has no leaf")

    def _children(self, data: bytes, count: int) -> list[int]:
        try:
            return [_BRANCH.unpack_from(data, _HEADER.size + n * _BRANCH.size)[2] for n in range(count)]
        except struct.error:
            raise self._damaged("a branch page is cut off") from None

    def _leaf(self, data: bytes, count: int) -> Iterator[Item]:
        for number in range(count):
            start = _HEADER.size + number * _LEAF.size
            try:
                flags, position, key_size, value_size = _LEAF.unpack_from(data, start)
            except struct.error:
                raise self._damaged("a leaf page is cut off") from None
            middle = start + position + key_size
            if middle + value_size > len(data):
                raise self._damaged("an entry is longer than its page")
            yield Item(
                data[start + position : middle], data[middle : middle + value_size], bool(flags & _IS_BUCKET)
            )

    def _bucket(self, value: bytes) -> _Bucket:
        root, _ = _BUCKET.unpack_from(value)
        return _Bucket(root, None if root else value[_BUCKET.size :])

    def _damaged(self, what: str) -> DamagedError:
        return DamagedError(
            f"{self._where} is no file of etcd's: {what}",
            code="snapshot_unreadable",
            subject=self._where,
            hint="use another snapshot, or its copy in the other region",
        )


def _revision(item: Item) -> StoredRevision:
    main, sub = struct.unpack_from(">Q", item.key)[0], struct.unpack_from(">Q", item.key, 9)[0]
    return StoredRevision(main, sub, len(item.key) > 17, item.value)


def _main(key: bytes | None) -> int:
    return int.from_bytes(key[:8], "big") if key else 0


def _number(value: bytes | None) -> int:
    return int.from_bytes(value, "big") if value else 0


def _fnv1a(data: bytes) -> int:
    result = 0xCBF29CE484222325
    for byte in data:
        result = (result ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return result
