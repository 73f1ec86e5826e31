"""In which order a store lists: by the bytes of its keys, as S3 promises, or folder by folder, as SeaweedFS does.

Everything that compares positions does it on the mapped key, so that two sides of the same order can be merged.
"""

from __future__ import annotations

from enum import StrEnum


class Order(StrEnum):
    """`bytes`: plain comparison of UTF-8. `tree`: the same, with `/` before every other byte."""

    BYTES = "bytes"
    TREE = "tree"

    def of(self, key: bytes) -> bytes:
        """What to compare instead of `key`."""
        return key if self is Order.BYTES else key.replace(b"/", b"\x00")

    @classmethod
    def served_by(cls, server: str) -> Order:
        """The order of a store whose `Server` header is `server`."""
        return cls.TREE if server.startswith("SeaweedFS") else cls.BYTES
