"""What the list server serves: rendered rows of a listing in key order, found by key.

`Packed` holds rows of one width in a file, as many as the disk takes; `Few` holds some of any kind in memory, for tests.
"""

from __future__ import annotations

import hashlib
import mmap
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote
from xml.sax.saxutils import escape

MODIFIED = "2026-01-02T03:04:05.000Z"


@dataclass(frozen=True, slots=True)
class Row:
    """One object. `body` is what GET answers, where that matters."""

    key: str
    bytes: int
    etag: str
    modified: str = MODIFIED
    body: bytes | None = None
    storage_class: str = "STANDARD"

    @classmethod
    def of(cls, key: str, body: bytes, modified: str = MODIFIED) -> Row:
        """An object as a plain PUT stores it."""
        return cls(key, len(body), hashlib.md5(body, usedforsecurity=False).hexdigest(), modified, body)

    def render(self, *, encoded: bool) -> bytes:
        """As a page of a listing shows it; `encoded` is for encoding-type=url."""
        key = quote(self.key, safe="/") if encoded else escape(self.key)
        return (
            f"<Contents><Key>{key}</Key><LastModified>{self.modified}</LastModified>"
            f"<ETag>&quot;{self.etag}&quot;</ETag><Size>{self.bytes}</Size>"
            f"<StorageClass>{self.storage_class}</StorageClass></Contents>"
        ).encode()


class Rows(Protocol):
    """A bucket's listing."""

    def __len__(self) -> int: ...

    def after(self, key: bytes) -> int:
        """The index of the first row whose key is larger than `key`."""
        ...

    def key(self, index: int) -> bytes:
        """The key of a row."""
        ...

    def page(self, begin: int, end: int, *, encoded: bool) -> bytes | memoryview:
        """The rendered rows from `begin` up to `end`."""
        ...

    def find(self, key: str) -> Row | None:
        """One object, for HEAD and GET."""
        ...


class Few:
    """Some rows of any kind, in memory. May be changed while it is served."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[bytes, Row] = {}
        self._keys: list[bytes] = []
        self._position: Callable[[bytes], bytes] = bytes
        self.put(*rows)

    def order_by(self, position: Callable[[bytes], bytes]) -> None:
        """List in another order than that of the keys' bytes, as some stores do."""
        self._position = position
        self._keys = sorted(self._rows, key=position)

    def put(self, *rows: Row) -> None:
        """Add or replace."""
        self._rows |= {row.key.encode(): row for row in rows}
        self._keys = sorted(self._rows, key=self._position)

    def drop(self, *keys: str) -> None:
        """Remove."""
        gone = {key.encode() for key in keys}
        self._rows = {key: row for key, row in self._rows.items() if key not in gone}
        self._keys = sorted(self._rows, key=self._position)

    def __len__(self) -> int:
        return len(self._keys)

    def after(self, key: bytes) -> int:
        """By bisection."""
        return bisect_right(self._keys, self._position(key), key=self._position)

    def key(self, index: int) -> bytes:
        """By position."""
        return self._keys[index]

    def page(self, begin: int, end: int, *, encoded: bool) -> bytes:
        """Rendered when asked for."""
        return b"".join(self._rows[key].render(encoded=encoded) for key in self._keys[begin:end])

    def find(self, key: str) -> Row | None:
        """By key."""
        return self._rows.get(key.encode())


KEY_DIGITS = 10
_SPREAD = ("conversations/", "media/img/", "media/vid/", "tool-calls/")
_KEY_WIDTH = 40
_MIX, _ETAGS = 0x9E3779B97F4A7C15F39CC0605CEDC835, 1 << 128


def packed_key(number: int, count: int) -> str:
    """Key `number` of `count`, in order: four folders, each with days, 40 characters in all."""
    share = -(-count // len(_SPREAD))
    folder = _SPREAD[number // share]
    inside = number % share
    name = f"{folder}2026/{inside // 50_000:05d}/"
    return name + f"{inside:0{_KEY_WIDTH - len(name)}d}"


def packed_row(number: int, count: int) -> Row:
    """Row `number`, always the same: size and ETag follow from the number."""
    etag = f"{number * _MIX % _ETAGS:032x}"
    return Row(packed_key(number, count), 10_000 + number * 7919 % 90_000, etag)


WIDTH = len(packed_row(0, 10).render(encoded=True))
_KEY_AT = len("<Contents><Key>")


def write_packed(
    path: Path,
    count: int,
    *,
    without: Iterable[int] = (),
    changed: dict[int, Row] | None = None,
    modified: str | None = None,
) -> None:
    """Render `count` rows into `path`, leaving some out and replacing some; as `packed_row` does, in a fifth of the time."""
    gone, other = set(without), changed or {}
    share = -(-count // len(_SPREAD))
    when = modified or MODIFIED
    with path.open("wb", buffering=1 << 20) as file:
        for begin in range(0, count, 10_000):
            rows = [
                f"<Contents><Key>{(name := f'{_SPREAD[number // share]}2026/{number % share // 50_000:05d}/')}"
                f"{number % share:0{_KEY_WIDTH - len(name)}d}</Key><LastModified>{when}</LastModified>"
                f"<ETag>&quot;{number * _MIX % _ETAGS:032x}&quot;</ETag><Size>{10_000 + number * 7919 % 90_000}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
                if number not in other
                else other[number].render(encoded=True).decode().replace(MODIFIED, when)
                for number in range(begin, min(begin + 10_000, count))
                if number not in gone
            ]
            file.write("".join(rows).encode())


class Packed:
    """Rows of one width in a file."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._view = memoryview(self._map)
        self._count = len(self._map) // WIDTH

    def __len__(self) -> int:
        return self._count

    def key(self, index: int) -> bytes:
        """Where it lies follows from the width."""
        begin = index * WIDTH + _KEY_AT
        return self._map[begin : begin + _KEY_WIDTH]

    def after(self, key: bytes) -> int:
        """By bisection over the file."""
        low, high = 0, self._count
        while low < high:
            middle = (low + high) // 2
            if self.key(middle) <= key:
                low = middle + 1
            else:
                high = middle
        return low

    def page(self, begin: int, end: int, *, encoded: bool) -> memoryview:
        """A slice of the file."""
        return self._view[begin * WIDTH : end * WIDTH]

    def find(self, key: str) -> Row | None:
        """Read back from the rendered row."""
        wanted = key.encode()
        index = self.after(wanted) - 1
        if index < 0 or self.key(index) != wanted:
            return None
        text = bytes(self.page(index, index + 1, encoded=True)).decode()
        size = int(text.partition("<Size>")[2].partition("<")[0])
        return Row(key, size, text.partition("&quot;")[2].partition("&")[0])
