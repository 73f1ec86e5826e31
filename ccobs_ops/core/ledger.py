"""The ledger: what every exercise found, every canary that was committed, and what happened in between.

It is evidence, kept outside the systems under test. Writers in many processes and threads lose nothing: each write is
one transaction that is on disk when the method returns. SQLite by default, PostgreSQL by URL.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from ccobs_ops.core import ledger_chain as chain
from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.ledger_engine import LedgerError, connect, translated, writing
from ccobs_ops.core.ledger_schema import (
    Beat,
    Canary,
    Event,
    Tally,
    from_microseconds,
    to_microseconds,
)

if TYPE_CHECKING:
    from ccobs_ops.inventory import Inventory

__all__ = ["Beat", "Canary", "Event", "Ledger", "LedgerError", "Tally"]


class Ledger:
    """An open ledger. Usable from several threads; `close` it, or use it as a context manager.

    Every method raises LedgerError when the database fails.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = writing(engine)
        self._mine = threading.local()

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the ledger at SQLAlchemy URL `url`; the first one to open it creates and migrates it.

        Raises UsageError for a URL that is none, or a ledger that a newer version wrote.
        """
        return cls(connect(url))

    @classmethod
    def of(cls, inventory: Inventory) -> Self:
        """Open the ledger that `inventory` names.

        A secret reference is resolved; a relative SQLite path is relative to the inventory's folder.
        """
        url = inventory.ledger_url
        base = inventory.path.parent
        if url.partition(":")[0] in ("env", "file", "secretsmanager"):
            from ccobs_ops.core.secrets import resolve  # noqa: PLC0415

            url = resolve(url, base=base)
        if url.startswith("sqlite:///"):
            url = f"sqlite:///{(base / Path(url.removeprefix('sqlite:///'))).resolve()}"
        return cls.open(url)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # exercises

    def record(self, exercise: Exercise) -> None:
        """Keep `exercise`. The same id again changes nothing, so a writer that is unsure may repeat itself."""
        document = exercise.to_json()
        document["measurements"] = {
            name: value for name, value in exercise.measurements.items() if math.isfinite(value)
        }
        row = {
            "id": exercise.id,
            "target": exercise.target,
            "capability": exercise.capability,
            "verdict": exercise.verdict.value,
            "started_at": to_microseconds(exercise.started_at),
            "finished_at": to_microseconds(exercise.finished_at),
            "document": _dumps(document),
        }
        with self._write() as connection:
            if connection.execute(self._unless_there(schema.exercises), [row]).rowcount:
                chain.append(connection, "exercise", [row])

    def exercises(
        self,
        *,
        target: str | None = None,
        capability: str | None = None,
        verdict: Verdict | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[Exercise]:
        """Exercises that match, newest first, by the moment that they finished; `since` is the earliest one."""
        table = schema.exercises.c
        query = sa.select(table.document).order_by(table.finished_at.desc(), table.id.desc()).limit(limit)
        query = _where(query, (table.target, target), (table.capability, capability))
        if verdict is not None:
            query = query.where(table.verdict == verdict.value)
        if since is not None:
            query = query.where(table.finished_at >= to_microseconds(since))
        with self._read() as connection:
            return [Exercise.from_json(json.loads(text)) for text in connection.scalars(query)]

    def find(self, prefix: str, *, limit: int = 2) -> list[Exercise]:
        """Exercises whose id begins with `prefix`, by id; one that is called exactly so comes alone."""
        table = schema.exercises.c
        query = sa.select(table.id, table.document).order_by(table.id).limit(limit)
        query = query.where(table.id.startswith(prefix, autoescape=True))
        with self._read() as connection:
            rows = connection.execute(query).all()
        rows = [row for row in rows if row.id == prefix] or rows
        return [Exercise.from_json(json.loads(row.document)) for row in rows]

    def latest(self, target: str, capability: str) -> Exercise | None:
        """The newest exercise of `capability` on `target`, whatever its verdict."""
        return next(iter(self.exercises(target=target, capability=capability, limit=1)), None)

    def last_passed(self, target: str, capability: str) -> Exercise | None:
        """The newest exercise of `capability` on `target` that PASSED."""
        found = self.exercises(target=target, capability=capability, verdict=Verdict.PASSED, limit=1)
        return next(iter(found), None)

    def tally(self, target: str, capability: str) -> Tally:
        """How many exercises of `capability` on `target` ended with each verdict, ever."""
        table = schema.exercises.c
        query = (
            sa.select(table.verdict, sa.func.count())
            .where(table.target == target, table.capability == capability)
            .group_by(table.verdict)
        )
        with self._read() as connection:
            counts = {row[0]: row[1] for row in connection.execute(query)}
        return Tally(*(counts.get(name, 0) for name in ("PASSED", "FAILED", "UNKNOWN")))

    def streak(self, target: str, capability: str) -> int:
        """How many exercises PASSED since the last one that FAILED. UNKNOWN neither counts nor breaks it."""
        table = schema.exercises.c
        mine = sa.and_(table.target == target, table.capability == capability)
        last_failed = (
            sa.select(sa.func.max(table.finished_at))
            .where(mine, table.verdict == Verdict.FAILED.value)
            .scalar_subquery()
        )
        query = sa.select(sa.func.count()).where(
            mine,
            table.verdict == Verdict.PASSED.value,
            table.finished_at > sa.func.coalesce(last_failed, -(2**62)),
        )
        with self._read() as connection:
            return connection.execute(query).scalar_one()

    # canaries

    def record_canary(self, canary: Canary) -> bool:
        """Keep `canary`; False, and nothing is changed, if that target and seq are on record already."""
        return self.record_canaries([canary]) == 1

    def record_canaries(self, batch: Sequence[Canary]) -> int:
        """Keep all of `batch` in one transaction; returns how many were new."""
        return self._insert(
            schema.canaries,
            [
                {
                    "target": canary.target,
                    "seq": canary.seq,
                    "timeline": canary.timeline,
                    "committed_at": to_microseconds(canary.committed_at),
                    "lsn_low": canary.lsn_low,
                    "lsn_high": canary.lsn_high,
                    "reconciled": canary.reconciled,
                }
                for canary in batch
            ],
        )

    def canaries(
        self,
        target: str,
        *,
        first_seq: int | None = None,
        last_seq: int | None = None,
        after: datetime | None = None,
        before: datetime | None = None,
    ) -> list[Canary]:
        """Canaries of `target` by seq: first_seq <= seq <= last_seq, and after <= committed_at < before."""
        table = schema.canaries.c
        query = sa.select(*table).where(table.target == target).order_by(table.seq)
        if first_seq is not None:
            query = query.where(table.seq >= first_seq)
        if last_seq is not None:
            query = query.where(table.seq <= last_seq)
        if after is not None:
            query = query.where(table.committed_at >= to_microseconds(after))
        if before is not None:
            query = query.where(table.committed_at < to_microseconds(before))
        with self._read() as connection:
            return [_canary(row) for row in connection.execute(query)]

    def canary_bounds(self, target: str) -> tuple[int, int] | None:
        """The lowest and the highest seq of `target` on record; None if there is none."""
        table = schema.canaries.c
        query = sa.select(sa.func.min(table.seq), sa.func.max(table.seq)).where(table.target == target)
        with self._read() as connection:
            row = connection.execute(query).one()
        return None if row[0] is None else (row[0], row[1])

    def last_canary(self, target: str) -> Canary | None:
        """The canary of `target` with the highest seq."""
        table = schema.canaries.c
        query = sa.select(*table).where(table.target == target).order_by(table.seq.desc()).limit(1)
        with self._read() as connection:
            row = connection.execute(query).first()
        return None if row is None else _canary(row)

    def prune_canaries(self, target: str, before: datetime) -> int:
        """Forget the canaries of `target` committed before `before`; returns how many that were."""
        table = schema.canaries.c
        query = sa.delete(schema.canaries).where(
            table.target == target, table.committed_at < to_microseconds(before)
        )
        with self._write() as connection:
            return connection.execute(query).rowcount

    # events and heartbeats

    def record_event(self, event: Event) -> None:
        """Keep `event`."""
        row = {
            "target": event.target,
            "kind": event.kind,
            "subject": event.subject,
            "at": to_microseconds(event.at),
            "details": _dumps(event.details),
        }
        with self._write() as connection:
            insert = sa.insert(schema.events).returning(schema.events.c.id)
            chain.append(connection, "event", [row | {"id": connection.execute(insert, row).scalar_one()}])

    def events(
        self,
        target: str | None = None,
        kind: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[Event]:
        """Events that match, newest first."""
        table = schema.events.c
        query = sa.select(*table).order_by(table.at.desc(), table.id.desc()).limit(limit)
        query = _where(query, (table.target, target), (table.kind, kind))
        if since is not None:
            query = query.where(table.at >= to_microseconds(since))
        with self._read() as connection:
            return [
                Event(row.target, row.kind, row.subject, from_microseconds(row.at), json.loads(row.details))
                for row in connection.execute(query)
            ]

    def beat(self, target: str, component: str, at: datetime, details: dict[str, Any] | None = None) -> None:
        """Keep `at` as the last sign of life of `component` on `target`."""
        fresh = {"at": to_microseconds(at), "details": _dumps(details or {})}
        statement = (
            self._dialect()
            .insert(schema.heartbeats)
            .values(target=target, component=component, **fresh)
            .on_conflict_do_update(index_elements=["target", "component"], set_=fresh)
        )
        with self._write() as connection:
            connection.execute(statement)

    def heartbeat(self, target: str, component: str) -> Beat | None:
        """The last sign of life of `component` on `target`."""
        table = schema.heartbeats.c
        query = sa.select(*table).where(table.target == target, table.component == component)
        with self._read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return Beat(row.target, row.component, from_microseconds(row.at), json.loads(row.details))

    # for modules that keep a table of their own here (`replication/arrivals.py`, `incidents.py`)

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection to read with."""
        return self._read()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that this thread reads within the block is as the ledger was at its first read, over one connection."""
        if getattr(self._mine, "connection", None) is not None:
            yield
            return
        with self._read() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            self._mine.connection = connection
            try:
                yield
            finally:
                self._mine.connection = None

    def writing(self) -> AbstractContextManager[Connection]:
        """A connection to write with, in one transaction that is on disk when the block is left."""
        return self._write()

    # below: how it gets there

    def _dialect(self) -> Any:
        # importing a dialect that is not used takes a quarter of a second
        if self._engine.dialect.name == "sqlite":
            from sqlalchemy.dialects import sqlite  # noqa: PLC0415

            return sqlite
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415

        return postgresql

    def _insert(self, table: sa.Table, rows: list[dict[str, Any]]) -> int:
        """Insert what is not there yet, in one transaction; returns how many rows were new."""
        with self._write() as connection:
            return connection.execute(self._unless_there(table), rows).rowcount if rows else 0

    def _unless_there(self, table: sa.Table) -> Any:
        statement = self._dialect().insert(table).on_conflict_do_nothing()
        return statement.execution_options(preserve_rowcount=True)

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        known: Connection | None = getattr(self._mine, "connection", None)
        if known is not None:
            with translated(self._engine.url):
                yield known
            return
        with translated(self._engine.url), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated(self._engine.url), self._writer.begin() as connection:
            yield connection


def _where(query: sa.Select[Any], *wanted: tuple[sa.ColumnElement[Any], str | None]) -> sa.Select[Any]:
    for column, value in wanted:
        if value is not None:
            query = query.where(column == value)
    return query


def _dumps(document: dict[str, Any]) -> str:
    return json.dumps(document, default=str, separators=(",", ":"))


def _canary(row: Any) -> Canary:
    target, seq, timeline, committed_at, lsn_low, lsn_high, reconciled = row
    return Canary(target, seq, timeline, from_microseconds(committed_at), lsn_low, lsn_high, reconciled)
