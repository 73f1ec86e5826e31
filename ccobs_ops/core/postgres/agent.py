"""The one long-running part: streams WAL, ships it, commits canaries.

```
PostgreSQL --slot--> pg_receivewal --spool--> shipper --> store          one thread each:
PostgreSQL <--canary a second-- writer --commit confirmed--> ledger      receiver, shipper, canary
```
Invariants: the slot moves on only past WAL that is flushed to the spool; a spool file is removed only after the store
confirmed it; WAL that was lost all the same (the server removed it before it was streamed) is recorded as an event and
never papered over. Each part fails alone and is tried again: a store that is down stops neither streaming nor canaries.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError, UnknownError
from ccobs_ops.core.folders import only_one, private
from ccobs_ops.core.ledger import Event
from ccobs_ops.core.postgres.archive import Archive
from ccobs_ops.core.postgres.canary import CanaryWriter
from ccobs_ops.core.postgres.server import Cluster, explain
from ccobs_ops.core.postgres.shipper import Shipper
from ccobs_ops.core.process import Child, spawn
from ccobs_ops.core.units import format_bytes

if TYPE_CHECKING:
    import psycopg

_BACKOFF_SECONDS = (1.0, 2.0, 5.0, 10.0)
_POLL_SECONDS = 0.2
_SLOT_POLL_SECONDS = 10.0
_PRUNE_SECONDS = 600.0
_REMOVED = "has already been removed"


def run_agent(ctx: Context, name: str, *, stop: threading.Event) -> None:
    """Run the agent of cluster `name` until `stop` is set. Blocks.

    Raises OpsError when another agent of this cluster runs on this host, UsageError for an unknown cluster; everything
    else (server, store or ledger away) is reported, recorded where possible, and tried again.
    """
    cluster = Cluster(ctx.inventory, name)
    agent = _Agent(ctx, cluster, stop)
    busy = f"an agent of {cluster.target} runs on this host already"
    with only_one(cluster.state / "agent.lock", busy, hint="one agent a cluster is enough"):
        _end_orphan(cluster)
        threads = [
            threading.Thread(target=agent.keep, args=("ship", agent.ship), name="ship"),
            threading.Thread(target=agent.keep, args=("canary", agent.canaries), name="canary"),
        ]
        for thread in threads:
            thread.start()
        try:
            agent.keep("wal", agent.receive)  # here: the child dies with the thread that started it
        finally:
            stop.set()
            for thread in threads:
                thread.join(timeout=30)


class _Agent:
    def __init__(self, ctx: Context, cluster: Cluster, stop: threading.Event) -> None:
        self._ctx = ctx
        self._cluster = cluster
        self._stop = stop
        self._spool = private(cluster.spool)
        self._full = threading.Event()
        self._said: dict[str, str] = {}

    def keep(self, component: str, work: Callable[[], None]) -> None:
        """Do `work` until stopped; an error is said once, and `work` tried again after a growing pause."""
        failures = 0
        while not self._stop.is_set():
            began = self._ctx.timer()
            try:
                work()
                failures = 0
            except Exception as error:  # noqa: BLE001 - one part must not take the others down
                if self._ctx.timer() - began > 60:
                    failures = 0
                self._say(component, explain(error), error)
                self._beat(component, {"error": explain(error)})
                self._stop.wait(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
                failures += 1

    def receive(self) -> None:
        """Stream WAL into the spool until the connection ends or the spool is full."""
        self._make_slot()
        facts = self._cluster.facts()
        tools = self._cluster.tools(facts.major)
        argv: list[str | Path] = [
            tools["pg_receivewal"],
            f"--dbname={self._cluster.config.dsn}",
            f"--directory={self._spool}",
            f"--slot={self._cluster.slot}",
            "--status-interval=1",
            "--no-loop",
            "--no-password",
        ]
        with spawn(argv, env=self._cluster.client_environment()) as child, self._on_record(child):
            self._said.pop("wal", None)
            self._ctx.progress.note(f"streaming WAL of {self._cluster.target} into {self._spool}")
            self._watch(child)
            if self._stop.is_set() or self._full.is_set():
                child.stop()
            else:
                self._ended(child)

    def _watch(self, child: Child) -> None:
        looked = 0.0
        while child.poll() is None and not self._stop.wait(_POLL_SECONDS):
            if self._full.is_set():
                return
            if self._ctx.timer() - looked >= _SLOT_POLL_SECONDS or not looked:
                looked = self._ctx.timer()
                self._look_at_slot()

    def _ended(self, child: Child) -> None:
        if _REMOVED in child.tail:
            self._give_up_on_removed(child.tail)
        raise OpsError(f"pg_receivewal ended: {child.tail.splitlines()[-1] if child.tail else 'no word'}")

    def _give_up_on_removed(self, tail: str) -> None:
        """The server no longer has the WAL that comes next: record the gap, go on from where the slot can."""
        names = sorted(path.name for path in self._spool.iterdir() if len(path.name.partition(".")[0]) == 24)
        last = names[-1] if names else "unknown"
        self._event("wal_gap", last, {"said": tail.splitlines()[-1]})
        set_aside = private(self._spool / "gap")
        for path in list(self._spool.iterdir()):
            if path.is_file() and path.suffix == ".partial":
                path.rename(set_aside / path.name)
            elif path.is_file() and (self._spool / f"{path.name}.shipped").exists():
                path.unlink()
                (self._spool / f"{path.name}.shipped").unlink()

    def _make_slot(self) -> None:
        with self._cluster.connect() as connection:
            row = connection.execute(
                "select wal_status, active_pid from pg_replication_slots where slot_name = %s",
                [self._cluster.slot],
            ).fetchone()
            if row is not None and row[0] == "lost":
                self._event("wal_gap", self._cluster.slot, {"said": "the server invalidated the slot"})
                connection.execute("select pg_drop_replication_slot(%s)", [self._cluster.slot])
                row = None
            if row is None:
                connection.execute(
                    "select pg_create_physical_replication_slot(%s, true)", [self._cluster.slot]
                )
                self._ctx.progress.note(f"made the replication slot {self._cluster.slot}")
            elif row[1] is not None:
                self._free_slot(connection, row[1])

    def _free_slot(self, connection: psycopg.Connection[tuple[Any, ...]], pid: int) -> None:
        """A connection of ours that died still holds the slot: the one-agent lock is ours, so end it."""
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid = %s and application_name = 'ccobs-ops'",
            [pid],
        )
        self._ctx.sleep(0.2)

    def _look_at_slot(self) -> None:
        with self._cluster.connect() as connection:
            row = connection.execute(
                "select wal_status, safe_wal_size, active, restart_lsn::text, (case when pg_is_in_recovery() "
                "then pg_last_wal_receive_lsn() else pg_current_wal_flush_lsn() end)::text, "
                "(select setting::bigint * 1024 * 1024 from pg_settings where name = 'max_slot_wal_keep_size') "
                "from pg_replication_slots where slot_name = %s",
                [self._cluster.slot],
            ).fetchone()
        if row is None:
            return
        status, safe, active, restart, flushed, limit = row
        if status == "lost":
            raise UnknownError(f"the replication slot {self._cluster.slot} is lost")
        details = {"slot_status": status, "active": active, "restart_lsn": restart, "server_lsn": flushed}
        if limit is not None and limit < 0:
            details["warning"] = (
                "max_slot_wal_keep_size is unlimited: a stopped agent can fill the server's disk"
            )
            self._say("slot", details["warning"])
        elif safe is not None and limit and safe < limit * 0.2:
            details["warning"] = f"the server drops WAL that is not archived after {format_bytes(safe)} more"
            self._event("slot_at_risk", self._cluster.slot, {"safe_wal_bytes": int(safe)})
        self._beat("wal", details)

    def ship(self) -> None:
        """Bring the spool to the store until stopped."""
        config = self._cluster.config.archive
        archive = Archive(self._cluster.store(), self._cluster.prefix)
        shipper = Shipper(self._spool, archive, level=config.compression_level)
        last_partial = float("-inf")
        while not self._stop.is_set():
            due = self._ctx.timer() - last_partial >= config.partial_interval.total_seconds()
            backlog = shipper.backlog_bytes()
            if backlog > config.spool_limit and not self._full.is_set():
                self._event("spool_full", str(self._spool), {"bytes": backlog})
                self._full.set()
            shipment = shipper.ship(partial=due)
            if shipper.backlog_bytes() < config.spool_limit / 2:
                self._full.clear()
            self._said.pop("ship", None)
            if due or shipment.segments:
                last_partial = self._ctx.timer() if due else last_partial
                self._beat(
                    "ship",
                    {"segment": shipment.reached, "offset_bytes": shipment.offset, "backlog_bytes": backlog},
                )
            self._stop.wait(_POLL_SECONDS)
        with contextlib.suppress(OpsError):
            shipper.ship(partial=True)

    def canaries(self) -> None:
        """Commit canaries until stopped or the connection ends."""
        config = self._cluster.config.canary
        keep = self._cluster.config.retention.window + timedelta(days=2)
        options = {
            "statement_timeout": "30s",
            "synchronous_commit": "on",
            "idle_in_transaction_session_timeout": "60s",
        }
        with self._cluster.connect(database=config.database, autocommit=False, options=options) as connection:
            writer = CanaryWriter(
                connection, self._ctx.ledger, self._cluster.target, schema=config.table_schema, keep=keep
            )
            reconciled = writer.prepare()
            self._ctx.progress.note(
                f"committing canaries into {self._cluster.target}, {reconciled} reconciled"
            )
            self._said.pop("canary", None)
            due = self._ctx.timer()
            pruned = float("-inf")
            while not self._stop.is_set():
                if self._ctx.timer() - pruned >= _PRUNE_SECONDS:
                    writer.prune(self._ctx.clock())
                    pruned = self._ctx.timer()
                if not (self._cluster.state / "canary.stop").exists():
                    canary = writer.commit_one()
                    self._beat("canary", {"seq": canary.seq})
                due = max(due + config.interval.total_seconds(), self._ctx.timer() - 1.0)
                self._stop.wait(max(0.0, due - self._ctx.timer()))

    @contextlib.contextmanager
    def _on_record(self, child: Child) -> Iterator[None]:
        """Keep the child's pid on disk, so that the next agent ends it if this one is killed."""
        path = _pid_file(self._cluster)
        path.write_text(f"{child.pid} {psutil.Process(child.pid).create_time()}")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def _event(self, kind: str, subject: str, details: dict[str, Any]) -> None:
        self._say(kind, f"{kind}: {subject} {details}")
        self._ctx.ledger.record_event(Event(self._cluster.target, kind, subject, self._ctx.clock(), details))

    def _beat(self, component: str, details: dict[str, Any]) -> None:
        try:
            self._ctx.ledger.beat(self._cluster.target, component, self._ctx.clock(), details)
        except OpsError as error:
            self._say("ledger", explain(error))

    def _say(self, component: str, message: str, error: BaseException | None = None) -> None:
        """Say a thing once until it changes."""
        if self._said.get(component) != message:
            self._said[component] = message
            kind = "" if error is None or isinstance(error, OpsError) else f" ({type(error).__name__})"
            self._ctx.progress.note(f"{component}: {message}{kind}")


def _pid_file(cluster: Cluster) -> Path:
    return cluster.state / "receivewal.pid"


def _end_orphan(cluster: Cluster) -> None:
    """End a pg_receivewal that outlived an agent which was killed."""
    path = _pid_file(cluster)
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        pid, created = path.read_text().split()
        process = psutil.Process(int(pid))
        if abs(process.create_time() - float(created)) < 0.5:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)
    path.unlink(missing_ok=True)
