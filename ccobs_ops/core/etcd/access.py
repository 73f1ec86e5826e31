"""What is asked of an etcd cluster, whichever way it is reached: over its own protocol, or through Kubernetes.

A member is addressed by its endpoint, as the inventory or the way of access names it. Everything raises UnknownError, with
the endpoint and the reason in its message, when it could not be asked; DamagedError when the answer shows damage.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, Self

from ccobs_ops.core.errors import UnknownError

Block = bytes | memoryview


class EndpointError(UnknownError):
    """An endpoint could not be asked; the message names it and the reason."""

    def __init__(self, endpoint: str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{endpoint}: {reason}", hint=hint)
        self.endpoint = endpoint
        self.reason = reason


class RefusedByAuthError(EndpointError):
    """The server wants a user, or does not take the one it was given."""


class CompactedError(UnknownError):
    """The revision that was asked for is compacted away, so the question has no answer any more."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member as the cluster lists it. Ids are etcd's 64-bit numbers."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    learner: bool = False


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """What one member says of itself. `errors` are its own words; sizes in bytes; `quota_bytes` where it tells (3.6)."""

    endpoint: str
    cluster_id: int
    member_id: int
    version: str
    revision: int
    raft_term: int
    raft_index: int
    raft_applied_index: int
    leader: int
    learner: bool
    db_bytes: int
    db_in_use_bytes: int
    errors: tuple[str, ...] = ()
    quota_bytes: int | None = None

    @property
    def is_leader(self) -> bool:
        """Whether it leads."""
        return self.leader == self.member_id


@dataclass(frozen=True, slots=True)
class Unreachable:
    """An endpoint that did not answer, and why, in words that name it."""

    endpoint: str
    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm that is on: NOSPACE or CORRUPT."""

    member_id: int
    kind: str


@dataclass(frozen=True, slots=True)
class KvHash:
    """HashKV of one member: comparable between two only where `revision` and `compact_revision` are the same."""

    hash: int
    revision: int
    compact_revision: int


@dataclass(frozen=True, slots=True)
class View:
    """All endpoints at one look: those that answered, and those that did not."""

    answered: tuple[MemberStatus, ...] = ()
    silent: tuple[Unreachable, ...] = ()
    members: tuple[Member, ...] = field(default=())

    def name_of(self, member_id: int) -> str:
        """A member's name, or its id in hexadecimal as etcdctl shows it."""
        found = next((m.name for m in self.members if m.id == member_id and m.name), "")
        return found or f"{member_id:x}"


class Access(Protocol):
    """One way to an etcd cluster. Use it as a context manager."""

    def __enter__(self) -> Self:
        """Open what is needed."""
        ...

    def __exit__(self, *exception: object) -> None:
        """Close it, and remove what was put anywhere."""
        ...

    def look(self) -> View:
        """Status of every endpoint, and the member list from one that answers (empty if none does). Never raises."""
        ...

    def alarms(self, endpoint: str) -> tuple[Alarm, ...]:
        """The alarms that are on, as the member at `endpoint` knows them."""
        ...

    def hash_kv(self, endpoint: str, revision: int) -> KvHash:
        """HashKV at `revision`; raises CompactedError when the member has compacted past it."""
        ...

    def count(self, endpoint: str, prefix: str, revision: int) -> int:
        """Keys below `prefix` at `revision`, from that member's own data; raises CompactedError."""
        ...

    def snapshot(self, endpoint: str, deadline: float) -> AbstractContextManager[Iterator[Block]]:
        """The member's snapshot as a stream of blocks; the last 32 bytes are the SHA-256 of the rest."""
        ...

    def defragment(self, endpoint: str, deadline: float) -> None:
        """Have the member rewrite its file; it answers nothing meanwhile."""
        ...
