"""What a comparison can find, one difference at a time: the vocabulary, and its JSON form."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from ccobs_ops.core.exercise import rfc3339


class Kind(StrEnum):
    """Every kind of difference. What each one means is in docs/runbooks/replication.md."""

    MISSING = "missing"
    PENDING = "pending"
    SIZE_MISMATCH = "size_mismatch"
    CONTENT_MISMATCH = "content_mismatch"
    ONLY_IN_REPLICA = "only_in_replica"
    DELETE_MARKER_UNREPLICATED = "delete_marker_unreplicated"
    EXCLUDED_BY_RULE = "excluded_by_rule"
    STALE_VERSION = "stale_version"
    UNVERIFIABLE = "unverifiable"


HARMLESS = frozenset({Kind.PENDING, Kind.EXCLUDED_BY_RULE})
"""Explained by time or by a rule: counted, and no fault."""

REPAIRABLE = frozenset({Kind.MISSING, Kind.SIZE_MISMATCH, Kind.CONTENT_MISMATCH, Kind.STALE_VERSION})
"""What copying the source's object to the replica puts right."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One object as one side showed it. `etag` is without quotes; `modified` by that side's own clock, aware UTC."""

    bytes: int
    etag: str
    modified: datetime | None = None
    version_id: str = ""
    storage_class: str = ""
    delete_marker: bool = False

    def to_json(self) -> dict[str, Any]:
        """The fields that say something."""
        found: dict[str, Any] = {"bytes": self.bytes, "etag": self.etag}
        if self.modified is not None:
            found["modified"] = rfc3339(self.modified)
        if self.version_id:
            found["version_id"] = self.version_id
        if self.storage_class:
            found["storage_class"] = self.storage_class
        if self.delete_marker:
            found["delete_marker"] = True
        return found

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Seen:
        """What `to_json` wrote."""
        modified = document.get("modified")
        return cls(
            document["bytes"],
            document["etag"],
            datetime.fromisoformat(modified) if modified else None,
            document.get("version_id", ""),
            document.get("storage_class", ""),
            bool(document.get("delete_marker", False)),
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. `key` is relative to both stores' prefixes, as `ObjectStore` takes it.

    `source` and `replica` are what either side last showed, None where it has nothing; `why` says it in a sentence.
    `version_id` names the source's version that is meant, where versions are compared.
    """

    kind: Kind
    key: str
    source: Seen | None
    replica: Seen | None
    why: str = ""
    version_id: str = ""

    @property
    def bytes(self) -> int:
        """How much data this is about: the source's object, else the replica's."""
        seen = self.source or self.replica
        return seen.bytes if seen else 0

    def to_json(self) -> dict[str, Any]:
        """One line of `differences.jsonl`."""
        return {
            "kind": self.kind.value,
            "key": self.key,
            "source": self.source.to_json() if self.source else None,
            "replica": self.replica.to_json() if self.replica else None,
            "why": self.why,
        } | ({"version_id": self.version_id} if self.version_id else {})

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Difference:
        """What `to_json` wrote."""
        source, replica = document["source"], document["replica"]
        return cls(
            Kind(document["kind"]),
            document["key"],
            Seen.from_json(source) if source else None,
            Seen.from_json(replica) if replica else None,
            document.get("why", ""),
            document.get("version_id", ""),
        )
