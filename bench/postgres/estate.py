"""The estate that is measured: a lab of its own, with pgbench data in a database of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

from bench.postgres.measure import cpu_of
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.process import environment, run
from ccobs_ops.lab import Lab
from ccobs_ops.lab.lab import take_down
from ccobs_ops.lab.plan import BUCKET, NAME
from ccobs_ops.lab.s3 import client
from ccobs_ops.lab.services import postgres as pg

SERVICES = ("postgres", "us", "agent")
DATABASE = "bench"
LOAD_SECONDS = 4 * 3600.0
SHIP_SECONDS = 1800.0
BEHIND_BYTES = 32 * 1024 * 1024
ROOT = Path(__file__).resolve().parents[2]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Estate:
    """A lab under measurement. `scratch` is a folder for logs and scripts, `restored` where restores go."""

    lab: Lab
    scale: int
    scratch: Path
    restored: Path

    @property
    def port(self) -> int:
        """PostgreSQL's port."""
        return self.lab.plan.ports["postgres"]

    @property
    def endpoint(self) -> str:
        """The S3 endpoint."""
        return f"http://127.0.0.1:{self.lab.plan.s3_port('us')}"

    @property
    def s3(self) -> Any:
        """A client of the store."""
        return client(self.lab.plan, "us")

    def tool(self, name: str) -> Path:
        """One of PostgreSQL's programs."""
        return self.lab.plan.bin_dir / name

    def libpq(self) -> dict[str, str]:
        """How libpq reaches the server, with the password of the role that backs up."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "ccobs",
            "PGPASSWORD": self.lab.plan.secret("postgres_password"),
            "PGSSLMODE": "disable",
        }

    def aws(self) -> dict[str, str]:
        """The store's credentials as AWS tools take them."""
        return {
            "AWS_ACCESS_KEY_ID": self.lab.plan.secret("us_access_key"),
            "AWS_SECRET_ACCESS_KEY": self.lab.plan.secret("us_secret_key"),
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def servers_cpu(self) -> float:
        """CPU seconds of PostgreSQL and the store so far; the agent is apart and idles."""
        return cpu_of([pid for name in ("postgres", "us") if (pid := self.lab.pid(name)) is not None])

    def query(self, statement: str) -> Any:
        """One value from the server, asked as its superuser."""
        with pg.connect(self.lab.plan, role="postgres", database="postgres") as connection:
            connection.execute("set statement_timeout = 0")
            cursor = connection.execute(statement)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def count(self, table: LiteralString, *, port: int | None = None) -> int:
        """Rows of a table of the measured database, here or on a server restored to `port`."""
        import psycopg

        with psycopg.connect(
            host="127.0.0.1",
            port=port or self.port,
            user="postgres",
            password=self.lab.plan.secret("superuser_password"),
            dbname=DATABASE,
            sslmode="disable",
        ) as connection:
            row = connection.execute(f"select count(*) from {table}").fetchone()
        return int(row[0]) if row else 0

    def data_bytes(self) -> int:
        """What a base backup of this cluster holds, about: all files but WAL."""
        return size_of(self.lab.plan.data)

    def stored_bytes(self, prefix: str) -> int:
        """Bytes of all objects below `prefix`."""
        return sum(size for _, size in self._objects(prefix))

    def forget(self, prefix: str) -> None:
        """Delete every object below `prefix`."""
        keys = [key for key, _ in self._objects(prefix)]
        for start in range(0, len(keys), 1000):
            batch = [{"Key": key} for key in keys[start : start + 1000]]
            self.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": batch, "Quiet": True})

    def _objects(self, prefix: str) -> Iterator[tuple[str, int]]:
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for row in page.get("Contents", ()):
                yield row["Key"], row["Size"]

    def settle(self) -> None:
        """Wait until the agent has archived the segments that are finished, and dirty pages are on disk."""
        self.query("checkpoint")
        before = "pg_current_wal_insert_lsn() - pg_size_bytes(current_setting('wal_segment_size'))"
        self._await_segment(self.query(f"select pg_walfile_name({before})"))
        os.sync()

    def await_archive(self) -> None:
        """Finish the running segment, and wait until the agent has streamed and shipped all WAL up to now."""
        wanted = self.query("select pg_walfile_name(pg_current_wal_insert_lsn())")
        self.query("select pg_logical_emit_message(true, 'bench', 'end of a segment')")
        self.query("select pg_switch_wal()")
        self._await_segment(wanted)

    def _await_segment(self, name: str) -> None:
        deadline = time.monotonic() + SHIP_SECONDS
        while not any(True for _ in self._objects(f"postgres/{NAME}/wal/{name[:8]}/{name}-")):
            if time.monotonic() > deadline:
                raise OpsError(f"segment {name} was not archived within {SHIP_SECONDS:.0f} s")
            time.sleep(0.5)

    def pgbench(self, *options: str) -> None:
        """Run pgbench on the database of the measurement."""
        run(
            [self.tool("pgbench"), *options, DATABASE],
            deadline=LOAD_SECONDS,
            env=environment(self.libpq()),
        )

    def ops(self, *words: str | Path) -> list[str | Path]:
        """The command line of ccobs-ops on this estate's inventory."""
        return [sys.executable, "-m", "ccobs_ops.cli.main", "--inventory", self.lab.inventory_path, *words]

    def emptied(self) -> Path:
        """The folder for the next restore, absent."""
        clear(self.restored)
        return self.restored


@contextlib.contextmanager
def estate(scale: int, *, say: Say, keep_in: Path | None = None) -> Iterator[Estate]:
    """A lab with pgbench data of `scale`, for the length of the block; nothing of it is left."""
    base = Path(tempfile.mkdtemp(prefix="ccobs-bench-", dir=keep_in or "/var/tmp"))
    base.chmod(0o755)  # PostgreSQL may run as another account
    (base / "scratch").mkdir(mode=0o700)
    try:
        lab = Lab.up(base / "lab", scale=0.1, services=SERVICES)
        made = Estate(lab, scale, base / "scratch", base / "restored")
        say(f"scale {scale}: PostgreSQL and S3 are up, loading")
        made.query("alter system set max_slot_wal_keep_size = -1")
        made.query("alter system set max_wal_size = '2GB'")
        made.query("select pg_reload_conf()")
        made.query(f"create database {DATABASE} owner ccobs")
        made.pgbench("--initialize", "--quiet", f"--scale={scale}")
        say(f"scale {scale}: loaded, waiting for its WAL to be archived")
        made.await_archive()
        yield made
    finally:
        with contextlib.suppress(OSError):
            clear(base / "restored")
        take_down(base / "lab")
        shutil.rmtree(base)


def size_of(data: Path) -> int:
    """Bytes of a data directory's files, without WAL."""
    total = 0
    for root, folders, names in os.walk(data):
        folders[:] = [name for name in folders if name not in ("pg_wal", "ccobs_recovery")]
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # a server at work removes files
                total += (Path(root) / name).stat().st_size
    return total


def clear(folder: Path) -> None:
    """Remove a folder if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
