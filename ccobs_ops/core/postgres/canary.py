"""Canaries: small rows committed on a clock, their commit recorded outside the database.

Invariants that the proof rests on:
1. One writer, one transaction at a time: canaries commit in the order of `seq`, and the ranges (lsn_low, lsn_high] that
   hold their commit records do not overlap.
2. A canary is recorded only after its commit was confirmed. At most one canary in the life of an agent is committed and
   not yet recorded; the next start reads it back from the table and records it as reconciled.
3. A canary is removed from the table before it is removed from the ledger, and the table's floor says up to where.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.ledger import Canary, Event, Ledger
from ccobs_ops.core.postgres.wal import parse_lsn

if TYPE_CHECKING:
    import psycopg

_STATE = "select pg_current_wal_insert_lsn()::text, pg_walfile_name(pg_current_wal_insert_lsn())"


class CanaryWriter:
    """Commits canaries over one connection (autocommit off) and records them in the ledger."""

    def __init__(
        self,
        connection: psycopg.Connection[tuple[Any, ...]],
        ledger: Ledger,
        target: str,
        *,
        schema: str,
        keep: timedelta,
    ) -> None:
        from psycopg import sql  # noqa: PLC0415

        self._connection = connection
        self._ledger = ledger
        self._target = target
        self._keep = keep
        self._table = sql.Identifier(schema, "canary")
        self._floor = sql.Identifier(schema, "canary_floor")
        self._schema = sql.Identifier(schema)
        self._sql = sql.SQL
        self._next = 1
        self._last: Canary | None = None

    def prepare(self) -> int:
        """Make the tables if they are not there, and record what an earlier agent committed but could not record.

        Returns how many canaries were reconciled. Raises OpsError if the server keeps no commit timestamps.
        """
        row = self._connection.execute("show track_commit_timestamp").fetchone()
        if row is None or row[0] != "on":
            raise OpsError(
                f"{self._target} keeps no commit timestamps, so a canary's commit time cannot be known",
                hint="set track_commit_timestamp = on and restart the server",
            )
        for statement in (
            "create schema if not exists {schema}",
            "create table if not exists {table} (seq bigint primary key, written_at timestamptz not null "
            "default clock_timestamp())",
            "create table if not exists {floor} (one boolean primary key default true check (one), "
            "seq bigint not null)",
            "insert into {floor} (seq) values (0) on conflict do nothing",
        ):
            self._run(statement)
        self._connection.commit()
        return self._reconcile()

    def commit_one(self) -> Canary:
        """Commit one canary and record it; returns it with its commit time and the range its commit record is in."""
        low = self._position()[0]
        self._run("insert into {table} (seq) values (%s)", self._next)
        self._connection.commit()
        high, timeline = self._position()
        row = self._run(
            "select pg_xact_commit_timestamp(xmin) from {table} where seq = %s", self._next
        ).fetchone()
        self._connection.commit()
        assert row is not None
        canary = Canary(
            target=self._target,
            seq=self._next,
            timeline=timeline,
            committed_at=row[0].astimezone(UTC),
            lsn_low=low,
            lsn_high=high,
        )
        self._next += 1
        self._ledger.record_canary(canary)
        self._last = canary
        return canary

    def prune(self, now: datetime) -> int:
        """Remove canaries older than the window, from the table first; returns how many left the ledger."""
        before = now - self._keep
        row = self._run(
            "with gone as (delete from {table} where written_at < %s returning seq) select max(seq) from gone",
            before,
        ).fetchone()
        if row and row[0] is not None:
            self._run("update {floor} set seq = greatest(seq, %s)", row[0])
        self._connection.commit()
        return self._ledger.prune_canaries(self._target, before - timedelta(days=1))

    def _reconcile(self) -> int:
        self._last = self._ledger.last_canary(self._target)
        known = self._last.seq if self._last else 0
        rows = self._run(
            "select seq, coalesce(pg_xact_commit_timestamp(xmin), written_at) from {table} where seq > %s order by seq",
            known,
        ).fetchall()
        top = self._run("select coalesce(max(seq), 0) from {table}").fetchone()
        high, timeline = self._position()
        self._connection.commit()
        assert top is not None
        # after a promotion the last one on record may lie beyond where the new timeline began: then it is no lower bound
        low = self._last.lsn_high if self._last and self._last.timeline == timeline else 0
        if self._last is not None and top[0] < known:
            self._ledger.record_event(
                Event(
                    self._target,
                    "canaries_lost",
                    str(top[0] + 1),
                    datetime.now(UTC),
                    {"first_seq": top[0] + 1, "last_seq": known, "timeline": timeline},
                )
            )
        for seq, committed_at in rows:
            canary = Canary(
                self._target, seq, timeline, committed_at.astimezone(UTC), low, high, reconciled=True
            )
            self._ledger.record_canary(canary)
            self._last = replace(canary)
        self._next = max(known, top[0]) + 1
        return len(rows)

    def _position(self) -> tuple[int, int]:
        row = self._connection.execute(_STATE).fetchone()
        assert row is not None
        return parse_lsn(row[0]), int(row[1][:8], 16)

    def _run(self, statement: str, *values: object) -> psycopg.Cursor[tuple[Any, ...]]:
        query = self._sql(statement).format(table=self._table, floor=self._floor, schema=self._schema)  # pyright: ignore[reportArgumentType]
        return self._connection.execute(query, list(values) or None)
