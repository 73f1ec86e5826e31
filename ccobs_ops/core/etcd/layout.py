"""How an etcd archive lies in a store. The format is open: `cat part-* | zstd -d > snapshot.db` is what etcdctl would save.

```
<prefix>/catalogue/<snapshot id>.json              written last; what is not in here is no snapshot
<prefix>/snapshots/<snapshot id>/part-000000.zst … one after the other; the last 32 bytes are the SHA-256 of the rest
```
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ccobs_ops.core.archive import Part
from ccobs_ops.core.catalogue import seal, unseal
from ccobs_ops.core.etcd.access import Member
from ccobs_ops.core.exercise import rfc3339

FORMAT = 1
TRAILER_BYTES = 32


def catalogue_key(snapshot_id: str) -> str:
    """Key of a snapshot's catalogue entry, relative to the target's prefix."""
    return f"catalogue/{snapshot_id}.json"


def folder_key(snapshot_id: str) -> str:
    """What the keys of a snapshot's objects begin with."""
    return f"snapshots/{snapshot_id}/"


def part_key(snapshot_id: str, number: int) -> str:
    """Key of one part of a snapshot."""
    return f"{folder_key(snapshot_id)}part-{number:06d}.zst"


@dataclass(frozen=True, slots=True)
class Entry:
    """A catalogue entry: one complete snapshot. Times aware UTC, ids of etcd in hexadecimal.

    `revision`, `compact_revision`, `raft_term` and `raft_index` are what the snapshot's own file says. `hash` is HashKV at
    that revision, as the member that gave the snapshot computed it when it had compacted up to `hash_compact_revision`;
    None when it could not be had. `counts` are keys below each prefix at that revision, `""` all of them.
    """

    id: str
    cluster_id: str
    member: str
    etcd_version: str
    revision: int
    compact_revision: int
    raft_term: int
    raft_index: int
    members: tuple[Member, ...]
    db_bytes: int
    hash: int | None
    hash_compact_revision: int | None
    counts: dict[str, int]
    alarms: tuple[str, ...]
    sha256: str
    started_at: datetime
    stopped_at: datetime
    raw_bytes: int
    stored_bytes: int
    parts: tuple[Part, ...]

    def dump(self) -> bytes:
        """The entry as stored, with a SHA-256 of itself."""
        return seal(self._body(), "entry_sha256")

    def _body(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "id": self.id,
            "cluster_id": self.cluster_id,
            "member": self.member,
            "etcd_version": self.etcd_version,
            "revision": self.revision,
            "compact_revision": self.compact_revision,
            "raft_term": self.raft_term,
            "raft_index": self.raft_index,
            "members": [
                [f"{each.id:x}", each.name, list(each.peer_urls), list(each.client_urls), each.learner]
                for each in self.members
            ],
            "db_bytes": self.db_bytes,
            "hash": self.hash,
            "hash_compact_revision": self.hash_compact_revision,
            "counts": self.counts,
            "alarms": list(self.alarms),
            "sha256": self.sha256,
            "started_at": rfc3339(self.started_at),
            "stopped_at": rfc3339(self.stopped_at),
            "raw_bytes": self.raw_bytes,
            "stored_bytes": self.stored_bytes,
            "parts": [part.row() for part in self.parts],
        }


def load_entry(data: bytes, where: str) -> Entry:
    """The entry that `dump` wrote; raises DamagedError naming `where` if a single bit of it differs."""
    hint = "this snapshot is not used; take a new one, or bring the object back from its other region"
    return unseal(data, where, field="entry_sha256", newest=FORMAT, build=_entry, hint=hint)


def _entry(body: dict[str, Any]) -> Entry:
    return Entry(
        id=body["id"],
        cluster_id=body["cluster_id"],
        member=body["member"],
        etcd_version=body["etcd_version"],
        revision=body["revision"],
        compact_revision=body["compact_revision"],
        raft_term=body["raft_term"],
        raft_index=body["raft_index"],
        members=tuple(
            Member(int(number, 16), name, tuple(peers), tuple(clients), learner)
            for number, name, peers, clients, learner in body["members"]
        ),
        db_bytes=body["db_bytes"],
        hash=body["hash"],
        hash_compact_revision=body["hash_compact_revision"],
        counts=body["counts"],
        alarms=tuple(body["alarms"]),
        sha256=body["sha256"],
        started_at=datetime.fromisoformat(body["started_at"]),
        stopped_at=datetime.fromisoformat(body["stopped_at"]),
        raw_bytes=body["raw_bytes"],
        stored_bytes=body["stored_bytes"],
        parts=tuple(Part(*row) for row in body["parts"]),
    )
