"""etcd's own protocol (gRPC), one member at a time, with the little of it that recovery needs.

Messages are declared by field number, from etcd's api/etcdserverpb/rpc.proto and api/mvccpb/kv.proto (3.5). gRPC is imported
when the first connection is made. Every call has a deadline; every error names the endpoint and the reason.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.etcd.access import (
    Alarm,
    Block,
    CompactedError,
    EndpointError,
    KvHash,
    Member,
    MemberStatus,
    RefusedByAuthError,
)
from ccobs_ops.core.etcd.messages import Message, Read, Watched, block_of_revision, member, parse_key_value
from ccobs_ops.core.etcd.tls import Tls, diagnose
from ccobs_ops.core.etcd.wire import block, fields, integer

ALARMS = {1: "NOSPACE", 2: "CORRUPT"}
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # another certificate is another connection
    ("grpc.enable_retries", 0),
    ("SingleThreadedUnaryStream", 1),  # a snapshot is read by the thread that asks for it
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class EtcdClient:
    """One member at `endpoint` (`https://host:port`, `http://…`, or `unix:PATH`). Use it as a context manager."""

    def __init__(
        self, endpoint: str, tls: Tls, *, timeout: float, user: str | None = None, password: str | None = None
    ) -> None:
        self.endpoint = endpoint
        self._tls = tls
        self._timeout = timeout
        self._user = user
        self._password = password
        self._channel: Any = None
        self._token: str | None = None

    def __enter__(self) -> EtcdClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        if self._channel is not None:
            self._channel.close()
            self._channel = self._token = None

    # what a member says of itself

    def status(self) -> MemberStatus:
        """The member's status."""
        answer = Message(self._call("Maintenance/Status", b""))
        header = Message(answer.bytes(1))
        return MemberStatus(
            endpoint=self.endpoint,
            cluster_id=header.number(1),
            member_id=header.number(2),
            version=answer.text(2),
            revision=header.int(3),
            raft_term=answer.int(6),
            raft_index=answer.int(5),
            raft_applied_index=answer.int(7),
            leader=answer.number(4),
            learner=bool(answer.int(10)),
            db_bytes=answer.int(3),
            db_in_use_bytes=answer.int(9),
            errors=tuple(str(each, "utf-8", "replace") for each in answer.all(8)),
            quota_bytes=answer.int(12) or None,
        )

    def members(self) -> tuple[Member, ...]:
        """The cluster's members as this one knows them, also without a quorum."""
        answer = Message(self._call("Cluster/MemberList", b""))
        return tuple(member(Message(each)) for each in answer.all(2))

    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms that are on."""
        answer = Message(self._call("Maintenance/Alarm", b""))
        found = [Message(each) for each in answer.all(2)]
        return tuple(Alarm(each.number(1), ALARMS.get(each.int(2), str(each.int(2)))) for each in found)

    def set_alarm(self, member_id: int, kind: int, *, on: bool) -> None:
        """Raise or clear an alarm (1 NOSPACE, 2 CORRUPT), as the members do themselves."""
        self._call("Maintenance/Alarm", integer(1, 1 if on else 2) + integer(2, member_id) + integer(3, kind))

    def hash_kv(self, revision: int, *, timeout: float | None = None) -> KvHash:
        """HashKV at `revision`: of all keys, values and revisions up to it. Raises CompactedError."""
        answer = Message(self._call("Maintenance/HashKV", integer(1, revision), timeout=timeout))
        return KvHash(answer.int(2), revision, answer.int(3))

    def defragment(self, timeout: float) -> None:
        """Have the member rewrite its file."""
        self._call("Maintenance/Defragment", b"", timeout=timeout)

    def move_leader(self, to: int) -> None:
        """Have the leader, which this member must be, hand over to the member `to`."""
        self._call("Maintenance/MoveLeader", integer(1, to))

    @contextmanager
    def snapshot(self, deadline: float) -> Iterator[Iterator[Block]]:
        """The member's snapshot as a stream, for the length of the block. `deadline` in seconds, for all of it."""
        call = self._method("unary_stream", "Maintenance/Snapshot")(
            b"", timeout=deadline, metadata=self._metadata()
        )
        try:
            yield self._blobs(call)
        finally:
            call.cancel()

    def _blobs(self, call: Any) -> Iterator[Block]:
        with self._translated():
            for message in call:
                for number, value in fields(message):
                    if number == 3 and not isinstance(value, int):
                        yield value

    # keys

    def range(
        self,
        key: bytes,
        end: bytes = b"",
        *,
        revision: int = 0,
        limit: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        local: bool = False,
        timeout: float | None = None,
    ) -> Read:
        """Keys from `key` up to, not with, `end` (`b""`: that key alone; NUL: to the last). Raises CompactedError.

        `local` asks this member's own data; otherwise it is what a quorum has agreed on.
        """
        request = (
            block(1, key)
            + block(2, end)
            + integer(3, limit)
            + integer(4, revision)
            + integer(7, local)
            + integer(8, keys_only)
            + integer(9, count_only)
        )
        answer = Message(self._call("KV/Range", request, timeout=timeout))
        kvs = tuple(parse_key_value(each) for each in answer.all(2))
        return Read(Message(answer.bytes(1)).int(3), answer.int(4), kvs, bool(answer.int(3)))

    def put(self, key: bytes, value: bytes, *, lease: int = 0, timeout: float | None = None) -> int:
        """Write one key; returns the revision that it was written at."""
        answer = self._call("KV/Put", block(1, key) + block(2, value) + integer(3, lease), timeout=timeout)
        return Message(Message(answer).bytes(1)).int(3)

    def put_if(self, key: bytes, value: bytes, *, mod_revision: int) -> int | None:
        """Write `key` if its last change is still `mod_revision` (0: it is not there); its new revision, or None."""
        # Compare: 1 result (EQUAL 0), 2 target (MOD 2), 3 key, 6 mod_revision
        unchanged = integer(2, 2) + block(3, key) + block_of_revision(mod_revision)
        write = block(2, block(1, key) + block(2, value))
        answer = Message(self._call("KV/Txn", block(1, unchanged) + block(2, write)))
        return Message(answer.bytes(1)).int(3) if answer.int(2) else None

    def put_many(self, pairs: list[tuple[bytes, bytes | None]]) -> int:
        """Write keys (None deletes) in one transaction; returns its revision. At most 128 keys, each once."""
        operations = [
            block(2, block(2, block(1, key) + block(2, value), always=True))
            if value is not None
            else block(2, block(3, block(1, key)))
            for key, value in pairs
        ]
        answer = self._call("KV/Txn", b"".join(operations))
        return Message(Message(answer).bytes(1)).int(3)

    def delete(self, key: bytes, end: bytes = b"") -> int:
        """Delete a key or a range; returns how many there were."""
        return Message(self._call("KV/DeleteRange", block(1, key) + block(2, end))).int(2)

    def compact(self, revision: int, *, physical: bool = True) -> None:
        """Forget what was overwritten before `revision`; with `physical` return when it is out of the file."""
        self._call("KV/Compact", integer(1, revision) + integer(2, physical), timeout=300)

    def watch_from(self, key: bytes, revision: int) -> Watched:
        """Ask for all changes of `key` since `revision`, and return the server's first word on it."""
        request = block(1, block(1, key) + integer(3, revision))
        call = self._method("stream_stream", "Watch/Watch")(
            iter([request]), timeout=self._timeout, metadata=self._metadata()
        )
        canceled, compact, reason = False, 0, ""
        with self._translated():
            for number, message in enumerate(call):
                answer = Message(message)
                canceled, compact = bool(answer.int(4)), answer.int(5)
                reason = str(answer.bytes(6), "utf-8", "replace")
                if canceled or number == 1 or answer.all(11):
                    break
        call.cancel()
        return Watched(canceled, compact, reason)

    # below: how it gets there

    def _call(self, method: str, request: bytes, *, timeout: float | None = None) -> bytes:
        with self._translated():
            return self._method("unary_unary", method)(
                request, timeout=timeout or self._timeout, metadata=self._metadata()
            )

    def _metadata(self) -> list[tuple[str, str]]:
        if self._user is None:
            return []
        if self._token is None:
            request = block(1, self._user.encode()) + block(2, (self._password or "").encode())
            with self._translated():
                answer = self._method("unary_unary", "Auth/Authenticate")(request, timeout=self._timeout)
            self._token = Message(answer).text(2)
        return [("token", self._token)]

    def _method(self, kind: str, name: str) -> Any:
        if self._channel is None:
            self._channel = self._open()
        return getattr(self._channel, kind)(f"/etcdserverpb.{name}")

    def _open(self) -> Any:
        grpc = _grpc()
        scheme, _, address = self.endpoint.partition("://")
        options: list[tuple[str, str | int]] = list(_OPTIONS)
        if self.endpoint.startswith("unix:"):
            return grpc.insecure_channel(self.endpoint, options=options)
        if scheme == "http":
            return grpc.insecure_channel(address, options=options)
        if self._tls.server_name:
            options.append(("grpc.ssl_target_name_override", self._tls.server_name))
        return grpc.secure_channel(
            address,
            grpc.ssl_channel_credentials(self._tls.ca, self._tls.key, self._tls.cert),
            options=options,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        grpc = _grpc()
        try:
            yield
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""  # pyright: ignore[reportAttributeAccessIssue]
            if code is grpc.StatusCode.UNAUTHENTICATED:
                self._token = None  # it has expired; the next call asks for a new one
            raise self._explain(code.name, details) from None

    def _explain(self, code: str, details: str) -> OpsError:
        where = self.endpoint
        told = details.removeprefix("etcdserver: ").removeprefix("mvcc: ")
        if "has been compacted" in details:
            return CompactedError(f"{where}: {told}")
        if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED") and not details.startswith("etcdserver: "):
            reason = None
            if not where.startswith("unix:"):
                with contextlib.suppress(OSError, ValueError):
                    reason = diagnose(where, self._tls)
            if reason is not None:
                return EndpointError(where, reason.message, hint=reason.hint)
            if code == "DEADLINE_EXCEEDED":
                return EndpointError(
                    where,
                    f"it did not answer within {self._timeout:g} s",
                    hint="see whether that member is overloaded, stopped, or without a leader",
                )
            return EndpointError(where, _short(details), hint="see whether etcd runs there, and its log")
        if any(
            word in details for word in ("authentication failed", "user name", "invalid auth token")
        ) or code in (
            "UNAUTHENTICATED",
            "PERMISSION_DENIED",
        ):
            return self._auth(told)
        if code == "UNIMPLEMENTED":
            return EndpointError(
                where, "it is no etcd server, or too old a one", hint="correct the endpoint in the inventory"
            )
        return EndpointError(where, _short(told), hint=_HINTS.get(told, ""))

    def _auth(self, told: str) -> OpsError:
        if self._user is None:
            what = f"it wants a user and a password ({told})"
            hint = "name them as `user` and `password` in the inventory"
        elif "permission" in told:
            what = f"the user {self._user!r} may not do that ({told})"
            hint = "snapshots, hashes and defragmentation need the role root"
        else:
            what = f"it refuses the user {self._user!r} with this password"
            hint = "see `user` and `password` in the inventory, and etcdctl user list"
        return RefusedByAuthError(self.endpoint, what, hint=hint)


_HINTS = {
    "no leader": "the cluster has lost its quorum: see docs/runbooks/etcd.md",
    "request timed out": "see whether a quorum of the members is up, and how busy their disks are",
    "database space exceeded": "compact, defragment, then disarm the alarm: see docs/runbooks/etcd.md",
}


def _short(text: str) -> str:
    told = " ".join(text.split())
    return told[:200] or "no reason given"


def _grpc() -> Any:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read once, at import; errors are ours to tell
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # whoever forks here starts a program at once
    import grpc  # noqa: PLC0415 - 0.2 s and 20 MB that most commands do not need

    return grpc
