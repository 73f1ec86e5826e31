"""One page of a listing: kept as the bytes that came, and taken apart only when somebody has to look inside.

Two pages whose rows are the same bytes list the same objects. Otherwise one regular expression takes keys, ETags and sizes
out of the usual layouts, two million rows a second; whatever it does not match completely goes through a real XML parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from html import unescape
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.replication.difference import Seen

_ROW = re.compile(
    rb"<Contents><Key>([^<]*)</Key>"
    rb"(?:<LastModified>[^<]*</LastModified>)?"
    rb"<ETag>(?:&quot;|&#34;|\")?([^<&\"]*)(?:&quot;|&#34;|\")?</ETag>"
    rb"(?:<Checksum[A-Za-z]*>[^<]*</Checksum[A-Za-z]*>)*"
    rb"<Size>(\d+)</Size>"
)
_FIRST, _END = b"<Contents>", b"</Contents>"
_MORE = b"<IsTruncated>true<"
_ENCODED = b"<EncodingType>url<"


Row = tuple[bytes, bytes, bytes]
"""What two sides are compared by: the key below the side's root, the ETag without quotes, the size in decimal digits."""


@dataclass(slots=True)
class Page:
    """A page of ListObjectsV2. `root` is the length of what stands before every key; `where` is for messages."""

    body: bytes
    root: int
    where: str
    begin: int
    end: int
    more: bool
    encoded: bool

    @classmethod
    def of(cls, body: bytes, root: int, where: str) -> Page:
        """The page in `body`. Raises UnknownError when it is no listing."""
        if b"<ListBucketResult" not in body[:400] or b"</ListBucketResult>" not in body[-60:]:
            raise UnknownError(f"the listing of {where} is not a whole page of a listing: {body[:80]!r}")
        begin = body.find(_FIRST)
        if begin < 0:
            begin = end = len(body)
        else:
            end = body.rindex(_END) + len(_END)
        more = _found(body, _MORE, begin, end)
        if more and begin == end:
            raise UnknownError(f"the listing of {where} stops at a page without keys")
        return cls(body, root, where, begin, end, more, _found(body, _ENCODED, begin, end))

    def same_rows(self, other: Page) -> bool:
        """Whether both pages hold the same bytes, row by row. False says nothing."""
        return (
            self.end - self.begin == other.end - other.begin
            and (self.root, self.encoded, self.more) == (other.root, other.encoded, other.more)
            and self.body.startswith(other.body[other.begin : other.end], self.begin)
        )

    def count(self) -> int:
        """How many rows it has."""
        return self.body.count(_FIRST, self.begin, self.end)

    def last(self) -> bytes:
        """The key of the last row, which there must be."""
        at = self.body.rindex(b"<Key>", self.begin, self.end) + 5
        return self._key(self.body[at : self.body.index(b"<", at)])

    def rows(self) -> list[Row]:
        """Every row, in the page's order."""
        found = _ROW.findall(self.body, self.begin, self.end)
        if len(found) != self.count():
            return [
                (self._key(key), etag.strip('"').encode(), size.encode())
                for key, (etag, size) in self._elements("ETag", "Size")
            ]
        if self.encoded and (b"%" in self.body or b"+" in self.body):
            return [(self._key(key), etag, size) for key, etag, size in found]
        if not self.encoded and b"&" in self.body[self.begin : self.end].replace(b"&quot;", b""):
            return [(self._key(key), etag, size) for key, etag, size in found]
        root = self.root
        return [(key[root:], etag, size) for key, etag, size in found] if root else found

    def seen(self, wanted: set[bytes]) -> dict[bytes, Seen]:
        """All that the page says about the keys in `wanted`; only their rows go through the XML parser."""
        found: dict[bytes, Seen] = {}
        rows = self.body[self.begin : self.end].split(_END)[:-1]
        keys = [row[0] for row in self.rows()]
        if len(rows) != len(keys):
            raise UnknownError(f"the listing of {self.where} cannot be read: rows within rows")
        for key, row in zip(keys, rows, strict=True):
            if key in wanted:
                element = self._parsed(row + _END)
                modified = element.findtext("LastModified")
                found[key] = Seen(
                    int(element.findtext("Size") or 0),
                    (element.findtext("ETag") or "").strip('"'),
                    datetime.fromisoformat(modified) if modified else None,
                    storage_class=element.findtext("StorageClass") or "",
                )
        return found

    def sampled(self, mark: bytes) -> list[Row]:
        """The rows whose ETag begins with `mark`, found without taking the page apart."""
        at, found = self.begin, list[Row]()
        for quote in (b"&quot;", b"&#34;", b'"'):
            needle = b"<ETag>" + quote + mark
            while (at := self.body.find(needle, at, self.end)) >= 0:
                begin = self.body.rindex(_FIRST, self.begin, at)
                row = _ROW.match(self.body, begin)
                if row is not None:
                    found.append((self._key(row[1]), row[2], row[3]))
                at += len(needle)
            at = self.begin
        return found

    def _key(self, raw: bytes) -> bytes:
        if self.encoded:
            key = unquote_to_bytes(raw.replace(b"+", b" ")) if b"%" in raw or b"+" in raw else raw
        else:
            key = unescape(raw.decode()).encode() if b"&" in raw else raw
        return key[self.root :]

    def _parsed(self, text: bytes) -> ElementTree.Element:
        try:
            return ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise UnknownError(f"the listing of {self.where} cannot be read: {error}") from error

    def _elements(self, *names: str) -> list[tuple[bytes, list[str]]]:
        """Each row's raw key as bytes and the text of its other elements, through the XML parser."""
        tree = self._parsed(self.body)
        space = tree.tag[: -len("ListBucketResult")]
        rows: list[tuple[bytes, list[str]]] = []
        for row in tree.iter(f"{space}Contents"):
            key = _quoted((row.findtext(f"{space}Key") or "").encode(), encoded=self.encoded)
            rows.append((key, [row.findtext(f"{space}{name}") or "" for name in names]))
        return rows


def _quoted(key: bytes, *, encoded: bool) -> bytes:
    """The parser has undone XML's escapes; put back the one that `_key` would undo again."""
    return key if encoded else key.replace(b"&", b"&amp;")


def _found(body: bytes, word: bytes, begin: int, end: int) -> bool:
    """Whether `word` stands before or after the rows."""
    return body.find(word, 0, begin) >= 0 or body.find(word, end) >= 0
