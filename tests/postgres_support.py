"""A lab seen through the core's own functions: what the PostgreSQL tests start from."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import psycopg

from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.postgres.archive import Archive
from ccobs_ops.core.postgres.backup import back_up
from ccobs_ops.core.postgres.restore import restore
from ccobs_ops.core.postgres.server import Cluster
from ccobs_ops.core.postgres.strategy import Strategy
from ccobs_ops.core.postgres.target import RecoveryTarget
from ccobs_ops.core.postgres.validate import validate
from ccobs_ops.core.postgres.window import examine
from ccobs_ops.inventory_load import load
from ccobs_ops.lab import Lab
from tests.lab_support import take_down_and_check

NAME = "observatory"


@dataclass(frozen=True)
class Estate:
    """One lab with its inventory and ledger open."""

    lab: Lab
    ctx: Context

    @classmethod
    @contextlib.contextmanager
    def of(cls, lab: Lab) -> Iterator[Estate]:
        """The estate of a running lab, for the length of the block."""
        inventory = load(lab.inventory_path)
        with Ledger.of(inventory) as ledger:
            yield cls(lab, Context(inventory, ledger))

    @property
    def cluster(self) -> Cluster:
        """Its PostgreSQL cluster."""
        return Cluster(self.ctx.inventory, NAME)

    @property
    def archive(self) -> Archive:
        """Its archive in the store `us`."""
        return Archive(self.cluster.store(), self.cluster.prefix)

    def backup(self, **options: Any) -> Exercise:
        """Take a backup."""
        return back_up(self.ctx, NAME, **options)

    def window(self, **options: Any) -> Exercise:
        """Look at the recovery window."""
        return examine(self.ctx, NAME, **options)

    def validate(
        self, *, at: datetime | None = None, strategy: str = "newest", seed: int = 1, day: date | None = None
    ) -> Exercise:
        """Restore and prove."""
        return validate(self.ctx, NAME, at=at, strategy=Strategy(strategy), seed=seed, day=day)

    def restore(
        self,
        directory: Path,
        *,
        start: bool = False,
        port: int | None = None,
        action: Literal["promote", "pause"] = "promote",
        **target: Any,
    ) -> Exercise:
        """Restore as an operator does."""
        return restore(
            self.ctx, NAME, RecoveryTarget(**target), directory, start=start, port=port, action=action
        )

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement on production, committed at once."""
        with self.cluster.connect() as connection:
            cursor = connection.execute(query, list(values) or None)  # pyright: ignore[reportArgumentType]
            return cursor.fetchall() if cursor.description else []

    def commit_marked(self, text: str) -> tuple[datetime, int]:
        """Commit one row in the table `marks`; returns its commit time and 64-bit transaction id."""
        with self.cluster.connect(autocommit=False) as connection:
            connection.execute("create table if not exists marks (id bigserial primary key, text text)")
            connection.commit()
            row = connection.execute(
                "insert into marks (text) values (%s) returning id, pg_current_xact_id()::text::bigint",
                [text],
            ).fetchone()
            connection.commit()
            assert row is not None
            at = connection.execute(
                "select pg_xact_commit_timestamp(xmin) from marks where id = %s", [row[0]]
            )
            found = at.fetchone()
        assert found is not None
        return found[0].astimezone(UTC), row[1]

    def await_archived(self, at: datetime, seconds: float = 30) -> None:
        """Wait until the archive's newest recoverable commit is later than `at`."""

        def reached() -> bool:
            newest = self.window().details.get("newest_commit")
            return newest is not None and datetime.fromisoformat(newest["at"]) > at

        wait_for(reached, seconds, f"a commit after {at} in the archive")

    def now(self) -> datetime:
        """Production's clock."""
        return self.sql("select clock_timestamp()")[0][0].astimezone(UTC)

    def switch_wal(self) -> None:
        """Finish the running segment, and wait until it is archived."""
        self.sql("select pg_logical_emit_message(true, 'test', 'a switch right after a switch does nothing')")
        name = self.sql("select pg_walfile_name(pg_switch_wal())")[0][0]
        wait_for(lambda: self.archive.has_segment(name), 90, f"segment {name} in the archive")

    def sandboxes(self) -> list[Path]:
        """Sandboxes that are left on this host."""
        folder = self.ctx.inventory.postgres[NAME].sandbox.dir
        root = self.ctx.inventory.resolve(folder) if folder else self.ctx.inventory.state / "sandbox"
        return sorted(root.iterdir()) if root.is_dir() else []


@contextlib.contextmanager
def estate_in(directory: Path, *services: str, scale: float = 0.1) -> Iterator[Estate]:
    """A lab of these services in `directory` with one backup taken; down again, and checked, when the block is left."""
    try:
        with Estate.of(Lab.up(directory, scale=scale, services=list(services))) as estate:
            backup = estate.backup()
            assert backup.verdict is Verdict.PASSED, why(backup)
            yield estate
    finally:
        take_down_and_check(directory)


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until `condition` holds; fails the test with `what` after `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.1)


@contextlib.contextmanager
def copy_of(exercise: Exercise, estate: Estate) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection to the server that `postgres restore --start` left running; it is stopped afterwards."""
    import os
    import signal

    directory = Path(exercise.details["directory"])
    try:
        settings = {"password": estate.cluster.password}
        with psycopg.connect(
            estate.cluster.config.dsn, port=exercise.details["port"], autocommit=True, **settings
        ) as connection:
            yield connection
    finally:
        pid = int((directory / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        wait_for(
            lambda: not (directory / "postmaster.pid").exists() or not _lives(pid), 30, "the copy to stop"
        )


def _lives(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def codes(exercise: Exercise) -> set[str]:
    """The codes of an exercise's findings."""
    return {finding.code for finding in exercise.findings}


def why(exercise: Exercise) -> str:
    """An exercise in short, for assertion messages."""
    claims = "; ".join(f"{c.name} {c.verdict.value}: {c.reason}" for c in exercise.claims)
    return f"{exercise.verdict.value}: {exercise.reason} [{claims}] {sorted(codes(exercise))}"
