"""`access: direct`: etcd's own protocol, from this host to every endpoint of the inventory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Self

from ccobs_ops.core.errors import OpsError, UsageError
from ccobs_ops.core.etcd.access import Alarm, Block, EndpointError, KvHash, MemberStatus, Unreachable, View
from ccobs_ops.core.etcd.client import EtcdClient
from ccobs_ops.core.etcd.messages import everything_below
from ccobs_ops.core.etcd.tls import Tls

if TYPE_CHECKING:
    from ccobs_ops.core.etcd.cluster import EtcdCluster

HASH_SECONDS = 300.0


class DirectAccess:
    """Every endpoint of `cluster`, each with a connection of its own. Raises UsageError when none is named."""

    def __init__(self, cluster: EtcdCluster) -> None:
        if not cluster.config.endpoints:
            raise UsageError(
                f"the inventory names no endpoint of {cluster.target}",
                hint=f"add etcd.{cluster.name}.endpoints",
            )
        self._cluster = cluster
        self._clients: dict[str, EtcdClient] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for client in self._clients.values():
            client.close()

    @cached_property
    def tls(self) -> Tls:
        """The certificates that the inventory names."""
        return Tls.load(self._cluster.config.tls, self._cluster.inventory.path.parent)

    def client(self, endpoint: str) -> EtcdClient:
        """The connection to one member."""
        if endpoint not in self._clients:
            config = self._cluster.config
            self._clients[endpoint] = EtcdClient(
                endpoint,
                self.tls,
                timeout=config.timeout.total_seconds(),
                user=config.user,
                password=self._cluster.password,
            )
        return self._clients[endpoint]

    def look(self) -> View:
        """Ask every endpoint at the same time."""
        endpoints = self._cluster.config.endpoints
        for endpoint in endpoints:
            self.client(endpoint)
        with ThreadPoolExecutor(len(endpoints), thread_name_prefix="etcd") as pool:
            looks = list(pool.map(self._status, endpoints))
        answered = tuple(each for each in looks if isinstance(each, MemberStatus))
        silent = tuple(each for each in looks if isinstance(each, Unreachable))
        for status in answered:
            try:
                return View(answered, silent, self.client(status.endpoint).members())
            except OpsError as error:
                silent = (*silent, Unreachable(status.endpoint, error.message, error.hint))
        return View(answered, silent)

    def _status(self, endpoint: str) -> MemberStatus | Unreachable:
        try:
            return self.client(endpoint).status()
        except EndpointError as error:
            return Unreachable(endpoint, error.reason, error.hint)
        except OpsError as error:
            return Unreachable(endpoint, error.message, error.hint)

    def alarms(self, endpoint: str) -> tuple[Alarm, ...]:
        """The alarms that are on."""
        return self.client(endpoint).alarms()

    def hash_kv(self, endpoint: str, revision: int) -> KvHash:
        """HashKV at `revision`."""
        return self.client(endpoint).hash_kv(revision, timeout=HASH_SECONDS)

    def count(self, endpoint: str, prefix: str, revision: int) -> int:
        """Keys below `prefix` at `revision`, of that member's own data; an empty prefix counts all."""
        key = prefix.encode() or b"\x00"
        end = everything_below(prefix.encode())
        return (
            self.client(endpoint)
            .range(key, end, revision=revision, count_only=True, local=True, timeout=HASH_SECONDS)
            .count
        )

    def snapshot(self, endpoint: str, deadline: float) -> AbstractContextManager[Iterator[Block]]:
        """The member's snapshot as a stream."""
        return self.client(endpoint).snapshot(deadline)

    def defragment(self, endpoint: str, deadline: float) -> None:
        """Have the member rewrite its file."""
        self.client(endpoint).defragment(deadline)
