"""Repair of the archiver's slot: the smallest thing that makes WAL flow again.

A slot that is there and held by a connection that does not move: the connection is ended, and the agent, which tries
for ever, connects anew. A slot that the server has invalidated, or that somebody dropped: it is made again, and the
WAL that is gone is put on record as a gap, so that a new backup is taken. Nothing of production's data is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.exercise import Exercise, Recorder, failed, passed
from ccobs_ops.core.ledger import Event
from ccobs_ops.core.postgres.server import Cluster, explain
from ccobs_ops.core.units import format_seconds

if TYPE_CHECKING:
    import psycopg

_STREAMING_SECONDS = 60.0
_POLL_SECONDS = 0.5


def renew(ctx: Context, name: str) -> Exercise:
    """Make WAL of cluster `name` stream through its slot again; capability `slot`, claim `streaming`.

    PASSED when PostgreSQL itself says that a new connection streams through the slot. Raises UsageError for an
    unknown cluster. The caller has asked the guard.
    """
    cluster = Cluster(ctx.inventory, name)

    def body(rec: Recorder) -> str | None:
        import psycopg  # noqa: PLC0415

        try:
            with cluster.connect() as connection:
                return _renew(ctx, rec, cluster, connection)
        except psycopg.Error as error:
            raise UnknownError(
                f"the slot of {cluster.target} cannot be looked at: {explain(error)}"
            ) from error

    return attempt(ctx, cluster.target, "slot", "streaming", body)


def _renew(
    ctx: Context, rec: Recorder, cluster: Cluster, connection: psycopg.Connection[tuple[Any, ...]]
) -> str:
    status, pid = _state(connection, cluster.slot)
    rec.details |= {"slot": cluster.slot, "slot_status": status or "missing"}
    if status in (None, "lost"):
        if status == "lost" and pid is None:
            connection.execute("select pg_drop_replication_slot(%s)", [cluster.slot])
        ctx.ledger.record_event(
            Event(
                cluster.target,
                "wal_gap",
                cluster.slot,
                ctx.clock(),
                {"said": f"the slot was {status or 'missing'}"},
            )
        )
        connection.execute("select pg_create_physical_replication_slot(%s, true)", [cluster.slot])
        done = "the slot was made anew"
    elif pid is not None:
        connection.execute("select pg_terminate_backend(%s)", [pid])
        done = f"the connection {pid} that held the slot was ended"
    else:
        done = "nobody held the slot"
    with rec.phase("streaming"):
        after = _await_streaming(ctx, connection, cluster.slot, pid)
    if after is None:
        told = f"{done}, and nothing streams through it after {format_seconds(_STREAMING_SECONDS)}: the agent does not run"
        rec.claim(failed("streaming", told))
        return told
    rec.claim(passed("streaming", f"{done}; connection {after} streams through it"))
    return done


def _state(connection: psycopg.Connection[tuple[Any, ...]], slot: str) -> tuple[str | None, int | None]:
    row = connection.execute(
        "select wal_status, active_pid from pg_replication_slots where slot_name = %s", [slot]
    ).fetchone()
    return (None, None) if row is None else (row[0], row[1])


def _await_streaming(
    ctx: Context, connection: psycopg.Connection[tuple[Any, ...]], slot: str, before: int | None
) -> int | None:
    until = ctx.timer() + _STREAMING_SECONDS
    while True:
        row = connection.execute(
            "select s.active_pid from pg_replication_slots s join pg_stat_replication r on r.pid = s.active_pid "
            "where s.slot_name = %s and r.state = 'streaming'",
            [slot],
        ).fetchone()
        if row is not None and row[0] != before:
            return int(row[0])
        if ctx.timer() > until:
            return None
        ctx.sleep(_POLL_SECONDS)
