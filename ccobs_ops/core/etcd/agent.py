"""The one long-running part: a canary key each `canary.interval`, through whichever member has a leader.

A member that fails is left for the next one; what cannot be done is said once, recorded as the sign of life, and tried again.
"""

from __future__ import annotations

import threading

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError, UsageError
from ccobs_ops.core.etcd.canary import CanaryWriter
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.etcd.direct import DirectAccess
from ccobs_ops.core.folders import only_one

COMPONENT = "canary"
_BACKOFF_SECONDS = (0.2, 1.0, 2.0, 5.0, 10.0)
_PRUNE_SECONDS = 600.0


def run_agent(ctx: Context, name: str, *, stop: threading.Event) -> None:
    """Write canary keys into cluster `name` until `stop` is set. Blocks.

    Raises OpsError when another agent of this cluster runs on this host, UsageError for an unknown cluster, or one that is
    reached through Kubernetes: a write a second is nothing to send through `exec`.
    """
    cluster = EtcdCluster(ctx.inventory, name)
    if cluster.config.access != "direct":
        raise UsageError(
            f"{cluster.target} is reached through Kubernetes: canaries need etcd's own port",
            hint="run the agent on a control-plane node with an inventory that says `access: direct`",
        )
    busy = f"an agent of {cluster.target} runs on this host already"
    with only_one(cluster.state / "agent.lock", busy, hint="one agent a cluster is enough"):
        _Agent(ctx, cluster, stop).run()


class _Agent:
    def __init__(self, ctx: Context, cluster: EtcdCluster, stop: threading.Event) -> None:
        self._ctx = ctx
        self._cluster = cluster
        self._stop = stop
        self._said = ""
        self._pruned = float("-inf")

    def run(self) -> None:
        """Go round the endpoints until stopped."""
        failures = turn = 0
        endpoints = self._cluster.config.endpoints
        with DirectAccess(self._cluster) as access:
            while not self._stop.is_set():
                began = self._ctx.timer()
                endpoint = endpoints[turn % len(endpoints)]
                turn += 1
                try:
                    self._write(access, endpoint)
                except OpsError as error:
                    if self._ctx.timer() - began > 10:
                        failures = 0
                    self._say(error.message)
                    self._beat({"error": error.message})
                    self._stop.wait(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
                    failures += 1

    def _write(self, access: DirectAccess, endpoint: str) -> None:
        config = self._cluster.config.canary
        client = access.client(endpoint)
        writer = CanaryWriter(
            client, self._ctx.ledger, self._cluster.target, prefix=config.prefix, keep=config.keep
        )
        reconciled = writer.prepare(self._ctx.clock())
        self._say(f"writing canaries into {self._cluster.target} through {endpoint}, {reconciled} reconciled")
        due = self._ctx.timer()
        while not self._stop.is_set():
            self._prune()
            if not (self._cluster.state / "canary.stop").exists():
                canary = writer.write_one(self._ctx.clock())
                self._beat({"seq": canary.seq, "revision": canary.lsn_high})
            due = max(due + config.interval.total_seconds(), self._ctx.timer() - 1.0)
            self._stop.wait(max(0.0, due - self._ctx.timer()))

    def _prune(self) -> None:
        if self._ctx.timer() - self._pruned >= _PRUNE_SECONDS:
            keep = self._cluster.config.retention.window * 2
            self._ctx.ledger.prune_canaries(self._cluster.target, self._ctx.clock() - keep)
            self._pruned = self._ctx.timer()

    def _beat(self, details: dict[str, object]) -> None:
        try:
            self._ctx.ledger.beat(self._cluster.target, COMPONENT, self._ctx.clock(), details)
        except OpsError as error:
            self._say(error.message)

    def _say(self, message: str) -> None:
        """Say a thing once until it changes."""
        if message != self._said:
            self._said = message
            self._ctx.progress.note(f"{COMPONENT}: {message}")
