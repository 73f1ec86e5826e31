"""A restored server that stays: started with production's configuration, watched until recovery ends, left running."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.postgres.feed import Feeder
from ccobs_ops.core.postgres.instance import Recovered
from ccobs_ops.core.postgres.server import Cluster, Tools
from ccobs_ops.core.postgres.wal import parse_lsn
from ccobs_ops.core.process import ProcessError, User, environment, run

_START_SECONDS = 86400.0
_STATE = (
    "select pg_is_in_recovery(), pg_last_wal_replay_lsn()::text, pg_last_xact_replay_timestamp(), "
    "(select timeline_id from pg_control_checkpoint()), "
    "case when pg_is_in_recovery() then pg_get_wal_replay_pause_state() end"
)


class StartedServer:
    """The server in `directory`. `port` overrides the configured one."""

    def __init__(
        self,
        ctx: Context,
        cluster: Cluster,
        tools: Tools,
        directory: Path,
        user: User | None,
        port: int | None,
    ) -> None:
        self._ctx = ctx
        self._cluster = cluster
        self._tools = tools
        self._directory = directory
        self._user = user
        self._port = port
        self.log = directory / "server.log"
        self.port = port or 0

    def start_and_recover(self, feeder: Feeder, *, paused: bool) -> Recovered:
        """Start it and wait until it takes writes, or with `paused` until it waits at the target.

        On failure the server is stopped, the data stays, and OpsError says what the server said.
        """
        options = [f"-c port={self._port}"] if self._port else []
        argv = [
            self._tools["pg_ctl"],
            "-D",
            self._directory,
            "-l",
            self.log,
            "-W",
            *(["-o", " ".join(options)] if options else []),
            "start",
        ]
        try:
            run(argv, deadline=60, user=self._user, env=environment(user=self._user), cwd=self._directory)
            return self._watch(feeder, paused=paused)
        except BaseException:
            with contextlib.suppress(ProcessError):
                run(
                    [self._tools["pg_ctl"], "-D", self._directory, "-m", "immediate", "-W", "stop"],
                    deadline=60,
                    user=self._user,
                    env=environment(user=self._user),
                )
            raise

    def _watch(self, feeder: Feeder, *, paused: bool) -> Recovered:
        began = self._ctx.timer()
        while True:
            if feeder.error is not None:
                raise feeder.error
            self._alive(began)
            state = self._state()
            if state is not None:
                recovering, lsn, at, timeline, pause = state
                if lsn is not None and (not recovering or (paused and pause == "paused")):
                    return Recovered(parse_lsn(lsn), at.astimezone(UTC) if at else None, timeline)
            if self._ctx.timer() - began > _START_SECONDS:
                raise OpsError("recovery did not end within a day", hint=f"see {self.log}")
            self._ctx.sleep(0.1)

    def _alive(self, began: float) -> None:
        if self._ctx.timer() - began < 1.0:
            return
        try:
            pid = int((self._directory / "postmaster.pid").read_text().split()[0])
            os.kill(pid, 0)
        except (OSError, ValueError, IndexError):
            lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
            fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
            said = (fatal or lines or ["nothing"])[-1]
            raise OpsError(
                f"the restored server does not run; it said: {said}",
                hint=f"the data in {self._directory} is whole: correct what it complains about and start it with pg_ctl; "
                "another port: --port",
            ) from None

    def _state(self) -> tuple[bool, str | None, datetime | None, int, str | None] | None:
        """Ask the server over its own socket or address, as postmaster.pid names them; None while it does not answer."""
        import psycopg  # noqa: PLC0415

        try:
            lines = (self._directory / "postmaster.pid").read_text().splitlines()
            self.port = int(lines[3])
            sockets, address = lines[4].strip(), lines[5].strip()
        except (OSError, IndexError, ValueError):
            return None
        host = sockets or {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1"}.get(address, address)
        with contextlib.suppress(psycopg.Error):
            settings: dict[str, Any] = {"password": self._cluster.password} if self._cluster.password else {}
            with psycopg.connect(
                self._cluster.config.dsn,
                host=host,
                hostaddr="",
                port=self.port,
                connect_timeout=5,
                **settings,
            ) as connection:
                return connection.execute(_STATE).fetchone()  # pyright: ignore[reportReturnType]
        return None
