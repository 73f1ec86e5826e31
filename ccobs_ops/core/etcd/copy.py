"""A restored cluster that runs in a sandbox: on unix sockets in a private folder, reachable by nobody else."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError, OpsError
from ccobs_ops.core.etcd.client import EtcdClient
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.etcd.etcdutl import RestoredMember, initial_cluster
from ccobs_ops.core.etcd.tls import Tls
from ccobs_ops.core.process import Child, environment, spawn

READY_SECONDS = 600.0
FAILOVER_SECONDS = 60.0
_POLL_SECONDS = 0.02
_CALL_SECONDS = 120.0
_ROOM_BYTES = 256 * 1024 * 1024
_NO_TLS = Tls(None, None, None, "", "", None)


def sandbox_members(count: int) -> list[RestoredMember]:
    """Members of a copy: their URLs name sockets in the folder that they are started in."""
    return [
        RestoredMember(f"copy-{number}", f"unix://peer-{number}:1", f"unix://client-{number}:1")
        for number in range(1, count + 1)
    ]


@dataclass(frozen=True, slots=True)
class _Running:
    member: RestoredMember
    child: Child
    client: EtcdClient
    socket: Path


class Copy:
    """The members that were restored into `folder`, running. Get one by `running`."""

    def __init__(self, ctx: Context, members: list[_Running]) -> None:
        self._ctx = ctx
        self._members = members

    @property
    def clients(self) -> list[EtcdClient]:
        """A connection to each member that still runs."""
        return [each.client for each in self._members if each.child.poll() is None]

    @property
    def sockets(self) -> list[Path]:
        """The client socket of each member that still runs; their paths are this process' own."""
        return [each.socket for each in self._members if each.child.poll() is None]

    @property
    def client(self) -> EtcdClient:
        """A connection to one of them."""
        return self.clients[0]

    def await_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until all that run follow a leader and one of them answers for a quorum. Raises DamagedError."""
        began = self._ctx.timer()
        waiting = [each for each in self._members if each.child.poll() is None]
        while True:
            self._all_alive()
            waiting = [each for each in waiting if not self._follows(each)]
            if not waiting and self._answers():
                return
            if self._ctx.timer() - began > seconds:
                raise DamagedError(
                    f"the restored cluster did not answer within {seconds:.0f} s",
                    code="copy_not_ready",
                    subject=self._members[0].member.name,
                    hint="see whether this host has room and time enough for it",
                )
            self._ctx.sleep(_POLL_SECONDS)

    def lose_one(self) -> str:
        """Kill -9 the leader; returns its name."""
        leader = next(each for each in self._members if self._leads(each))
        leader.child.signal(signal.SIGKILL)
        leader.child.wait(10)
        leader.client.close()
        return leader.member.name

    def listening(self) -> list[str]:
        """Every internet socket that a member has open: there must be none."""
        found: list[str] = []
        for each in self._members:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(each.child.pid)
                found += [
                    f"{each.member.name}: {connection.laddr}"
                    for connection in process.net_connections("inet")
                ]
        return found

    def _leads(self, each: _Running) -> bool:
        with contextlib.suppress(OpsError):
            return each.client.status().is_leader
        return False

    def _follows(self, each: _Running) -> bool:
        """Whether it has a leader. Until its socket is there nobody is asked: gRPC would wait before it asks again."""
        if each.socket.exists():
            with contextlib.suppress(OpsError):
                return each.client.status().leader != 0
        return False

    def _answers(self) -> bool:
        """A read that a quorum has to confirm."""
        with contextlib.suppress(OpsError):
            self.client.range(b"\x01", count_only=True)
            return True
        return False

    def _all_alive(self) -> None:
        for each in self._members:
            status = each.child.poll()
            if status is not None:
                lines = [
                    line for line in each.child.tail.splitlines() if '"fatal"' in line or "panic" in line
                ]
                said = (lines or each.child.tail.splitlines() or ["nothing"])[-1]
                raise DamagedError(
                    f"the restored member {each.member.name} ended with status {status}; it said: {said[:300]}",
                    code="copy_did_not_start",
                    subject=each.member.name,
                    hint="this snapshot does not start; use another one, and keep this one to look at",
                )


@contextmanager
def running(
    ctx: Context, cluster: EtcdCluster, folder: Path, members: list[RestoredMember], *, token: str, room: int
) -> Iterator[Copy]:
    """Start the members whose data is in `folder`/NAME; all of them are gone when the block is left.

    `room` in bytes is what the data has; the quota is above it, so that a copy of a full cluster takes a write.
    """
    quota = max(2 * 1024**3, room * 2 + _ROOM_BYTES)
    with contextlib.ExitStack() as stack:
        started: list[_Running] = []
        here = os.open(
            folder, os.O_RDONLY | os.O_DIRECTORY
        )  # a path through it is short, however long the folder's is
        stack.callback(os.close, here)
        for member in members:
            argv = [
                cluster.program("etcd"),
                f"--name={member.name}",
                f"--data-dir={folder / member.name}",
                f"--listen-peer-urls={member.peer_url}",
                f"--listen-client-urls={member.client_url}",
                f"--advertise-client-urls={member.client_url}",
                f"--initial-advertise-peer-urls={member.peer_url}",
                f"--initial-cluster={initial_cluster(members)}",
                f"--initial-cluster-token={token}",
                f"--quota-backend-bytes={quota}",
                "--log-level=warn",
            ]
            child = stack.enter_context(spawn(argv, cwd=folder, env=environment()))
            stack.callback(child.signal, signal.SIGKILL)  # nothing of a copy is worth a graceful end
            socket = Path(f"/proc/self/fd/{here}") / member.client_url.removeprefix("unix://")
            client = stack.enter_context(
                EtcdClient(
                    f"unix:{socket}",
                    _NO_TLS,
                    timeout=_CALL_SECONDS,
                    user=cluster.config.user,
                    password=cluster.password if cluster.config.user else None,
                )
            )
            started.append(_Running(member, child, client, socket))
        yield Copy(ctx, started)
