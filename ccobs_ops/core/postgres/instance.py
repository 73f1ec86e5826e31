"""A restored server: how it is configured, started, watched through recovery, and stopped."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError, OpsError
from ccobs_ops.core.postgres.feed import Feeder
from ccobs_ops.core.postgres.plan import Plan
from ccobs_ops.core.postgres.server import Cluster, Tools
from ccobs_ops.core.postgres.wal import parse_lsn
from ccobs_ops.core.process import Child, User, environment, run, spawn

if TYPE_CHECKING:
    import psycopg

_POLL_SECONDS = 0.05
_STOP_SECONDS = 120.0
_CONTROL = {
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
    "track_commit_timestamp setting": "track_commit_timestamp",
}


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where recovery ended: the end of the last record replayed, the last commit's time, the timeline it followed."""

    replay_lsn: int
    last_commit_at: datetime | None
    timeline: int


def quote(value: str) -> str:
    """A value as postgresql.conf takes it."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def conf(settings: Mapping[str, str]) -> str:
    """Settings as lines of postgresql.conf."""
    return "".join(f"{name} = {quote(value)}\n" for name, value in settings.items())


def recovery_settings(plan: Plan, folder: Path, action: str) -> dict[str, str]:
    """PostgreSQL's recovery settings for `plan`, with WAL taken from `folder` (absolute, or relative to the data)."""
    script = shlex.quote(os.fspath(folder / "fetch.sh")).replace("%", "%%")
    settings = {"restore_command": f"/bin/sh {script} %f %p"} | plan.settings
    if set(plan.settings) & {"recovery_target_time", "recovery_target_lsn", "recovery_target_xid"}:
        settings["recovery_target_action"] = action
    return settings


def isolated_settings(cluster: Cluster, folder: Path, control: Mapping[str, str]) -> dict[str, str]:
    """Settings under which a copy of production reaches nobody and does nothing by itself.

    Nothing of production's own configuration is read: this is the whole file. `control` are pg_controldata's lines, for
    what replay needs to be at least as large as it was.
    """
    memory = cluster.config.sandbox.memory
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "unix_socket_permissions": "0700",
        "hba_file": str(folder / "pg_hba.conf"),
        "ident_file": str(folder / "pg_ident.conf"),
        "archive_mode": "off",
        "archive_command": "",
        "archive_library": "",
        "primary_conninfo": "",
        "primary_slot_name": "",
        "hot_standby": "off",
        "max_logical_replication_workers": "0",
        "max_wal_senders": "0",
        "max_worker_processes": "4",
        "max_connections": "20",
        "superuser_reserved_connections": "3",
        "shared_preload_libraries": ",".join(cluster.config.sandbox.replay_libraries),
        "session_preload_libraries": "",
        "local_preload_libraries": "",
        "event_triggers": "off",
        "autovacuum": "off",
        "jit": "off",
        "ssl": "off",
        "shared_buffers": f"{max(memory // 4 // 8192, 2048)}",
        "work_mem": f"{max(memory // 32 // 1024, 4096)}kB",
        "maintenance_work_mem": f"{max(memory // 8 // 1024, 16384)}kB",
        "max_parallel_workers": "2",
        "max_parallel_workers_per_gather": "0",
        "max_wal_size": "1GB",
        "logging_collector": "off",
        "log_destination": "stderr",
        "log_line_prefix": "%m [%p] ",
        "log_startup_progress_interval": "1s",
        "lc_messages": "C",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    for line, name in _CONTROL.items():
        if line in control:
            settings[name] = control[line]
    settings["max_prepared_transactions"] = str(max(64, int(settings.get("max_prepared_transactions", "0"))))
    return settings


def control_data(tools: Tools, data: Path) -> dict[str, str]:
    """pg_controldata's lines by name."""
    text = run([tools["pg_controldata"], data], deadline=30).stdout
    rows = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in rows}


class Instance:
    """A restored server running in `folder`/data for the length of `running`, reached by a unix socket in `folder`."""

    def __init__(self, ctx: Context, cluster: Cluster, tools: Tools, folder: Path, user: User | None) -> None:
        self._ctx = ctx
        self._cluster = cluster
        self.tools = tools
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "server.log"
        self._user = user
        self._child: Child | None = None

    def configure(self, plan: Plan, wal: Path) -> None:
        """Write the sandbox's whole configuration; production's stays unread."""
        control = control_data(self.tools, self.data)
        settings = isolated_settings(self._cluster, self.folder, control)
        settings |= recovery_settings(plan, wal, "promote")
        if self.tools.major < 17:
            settings.pop("event_triggers")
        if self.tools.major < 15:
            settings.pop("archive_library")
            settings.pop("log_startup_progress_interval")
        self._write(self.folder / "postgresql.conf", conf(settings))
        self._write(self.folder / "pg_hba.conf", "local all all trust\n")
        self._write(self.folder / "pg_ident.conf", "")
        self._write(self.data / "postgresql.auto.conf", "")
        (self.data / "standby.signal").unlink(missing_ok=True)
        self._write(self.data / "recovery.signal", "")

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o600)
        if self._user is not None:
            os.chown(path, self._user.uid, self._user.gid)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The server's process, from its start to a stop; it dies with us."""
        argv = [
            self.tools["postgres"],
            f"--config-file={self.folder / 'postgresql.conf'}",
            "-D",
            self.data,
        ]
        with (
            self.log.open("wb") as log,
            spawn(
                argv, env=environment(user=self._user), user=self._user, cwd=self.data, stderr=log
            ) as child,
        ):
            self._child = child
            try:
                yield
            finally:
                self._child = None

    def stop(self) -> None:
        """Stop cleanly, with a checkpoint, so that checksums can be checked at rest."""
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGINT)
        self._child.wait(_STOP_SECONDS)

    @contextmanager
    def connect(
        self, database: str = "postgres", role: str | None = None
    ) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A connection to the copy, as `sandbox.role` or as `role`."""
        import psycopg  # noqa: PLC0415

        try:
            connection = psycopg.connect(
                host=str(self.folder),
                user=role or self._cluster.config.sandbox.role,
                dbname=database,
                autocommit=True,
                connect_timeout=10,
                options="-c timezone=UTC",
                client_encoding="utf8",
            )
        except psycopg.OperationalError as error:
            text = str(error)
            if "does not exist" in text and "role" in text:
                raise OpsError(
                    f"the copy has no role {self._cluster.config.sandbox.role!r}",
                    hint="name production's superuser as sandbox.role in the inventory",
                ) from error
            raise
        try:
            yield connection
        finally:
            connection.close()

    def await_recovery(self, feeder: Feeder, deadline: float) -> tuple[float, float]:
        """Wait until recovery has ended and the server takes writes; returns the timer's readings when redo began to
        run and when it was done.

        Raises DamagedError or OpsError saying why when recovery fails, OpsError after `deadline` seconds.
        """
        import psycopg  # noqa: PLC0415

        assert self._child is not None
        began = self._ctx.timer()
        while True:
            text = self.log_text()
            now = self._ctx.timer()
            if feeder.error is not None:
                raise feeder.error
            if self._child.poll() is not None:
                raise self._why(text)
            if "ready to accept connections" in text:
                with contextlib.suppress(psycopg.Error), self.connect() as connection:
                    row = connection.execute("select pg_is_in_recovery()").fetchone()
                    if row is not None and row[0] is False:
                        return self._moment("redo starts at", text), self._moment("redo done at", text)
            if now - began > deadline:
                raise OpsError(
                    f"recovery did not end within {deadline:.0f} s",
                    hint="raise sandbox.ttl if it only needs longer",
                )
            self._ctx.sleep(_POLL_SECONDS)

    def _moment(self, words: str, text: str) -> float:
        """When the server wrote a line with `words`, as a reading of our timer; the present if it did not."""
        now, wall = self._ctx.timer(), self._ctx.clock()
        line = next((line for line in text.splitlines() if words in line), "")
        match = re.match(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC", line)
        if match is None:
            return now
        return now - max(0.0, (wall - datetime.fromisoformat(match[1]).replace(tzinfo=UTC)).total_seconds())

    def recovered(self) -> Recovered:
        """Where recovery ended; call it when `await_recovery` has returned."""
        with self.connect() as connection:
            row = connection.execute(
                "select pg_last_wal_replay_lsn()::text, pg_last_xact_replay_timestamp(), "
                "(select timeline_id from pg_control_checkpoint())"
            ).fetchone()
        assert row is not None
        if row[0] is None:
            raise OpsError("the copy was not recovered from the archive: it replayed nothing")
        at = row[1].astimezone(UTC) if row[1] is not None else None
        return Recovered(parse_lsn(row[0]), at, row[2])

    def log_text(self) -> str:
        """What the server wrote so far."""
        try:
            return self.log.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def _why(self, text: str) -> OpsError:
        lines = [line for line in text.splitlines() if re.search(r"\b(FATAL|PANIC)\b", line)]
        last = re.sub(r"^.*?(?:FATAL|PANIC):\s*", "", lines[-1]) if lines else "it said nothing"
        if any("recovery ended before configured recovery target was reached" in line for line in lines):
            return DamagedError(
                "the archive's WAL ends before the recovery target",
                code="target_not_reached",
                subject=self._cluster.target,
                hint="`postgres window` shows what can be restored; --latest takes the newest",
            )
        if match := re.search(r"resource manager with ID (\d+) not registered", text):
            return OpsError(
                f"replay needs a library that registers resource manager {match[1]}",
                hint="name it in sandbox.replay_libraries",
            )
        return DamagedError(
            f"the restored server did not start: {last}",
            code="recovery_failed",
            subject=self._cluster.target,
            hint="; ".join(line.split("] ", 1)[-1] for line in text.splitlines()[-3:]),
        )
