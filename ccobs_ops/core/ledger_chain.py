"""The hash chain: one link for each exercise, event and transition of an incident, in the order of their commits.

    digest = SHA-256 of the row's columns as compact JSON
    link   = SHA-256 of the link before (64 zeros for the first), the position, the kind, the row's name and its digest

A row that is changed no longer has its digest; a link that is changed, removed or moved no longer follows from the one before
it. Links are written in the transaction that writes the row, one writer at a time, so their order is that of the commits: a
reader that remembers a position (`cursor`) and reads on from it misses nothing. What is not chained: canaries, arrivals and
heartbeats (many a second, and pruned), and the state of incidents, which follows from their transitions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ccobs_ops.core import ledger_schema as schema

GENESIS = "0" * 64
KINDS = {
    "exercise": schema.exercises,
    "event": schema.events,
    "transition": schema.transitions,
}
"""What is chained, and the table that it is in. A row's name is its `id`."""
_LOCK = 0x63636861696E  # "cchain"
_BATCH = 5_000


class Link(NamedTuple):
    """One link. `seq` counts from 1 without a gap; `row` is the id of the row that it stands for."""

    seq: int
    kind: str
    row: str
    digest: str
    link: str


def digest(kind: str, row: dict[str, Any]) -> str:
    """SHA-256 in hex of `row`, the columns of a row of the table for `kind` by name."""
    columns = [row[column.name] for column in KINDS[kind].columns]
    return _sha256(json.dumps(columns, separators=(",", ":"), ensure_ascii=True))


def follow(before: str, seq: int, kind: str, row: str, row_digest: str) -> str:
    """The link at `seq`, given the link `before` it."""
    return _sha256(f"{before}\n{seq}\n{kind}\n{row}\n{row_digest}")


def append(connection: Connection, kind: str, rows: Sequence[dict[str, Any]]) -> None:
    """Chain `rows`, which the transaction of `connection` has just written to the table for `kind`, in that order."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":  # SQLite's writers wait for each other anyway
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    table = schema.chain.c
    last = connection.execute(sa.select(table.seq, table.link).order_by(table.seq.desc()).limit(1)).first()
    seq, before = (0, GENESIS) if last is None else (last.seq, last.link)
    links: list[dict[str, Any]] = []
    for row in rows:
        seq += 1
        name, row_digest = str(row["id"]), digest(kind, row)
        before = follow(before, seq, kind, name, row_digest)
        links.append({"seq": seq, "kind": kind, "row": name, "digest": row_digest, "link": before})
    connection.execute(sa.insert(schema.chain), links)


def read(connection: Connection, *, after: int = 0, limit: int = 1_000) -> list[Link]:
    """The `limit` links that follow position `after`, in their order."""
    table = schema.chain
    query = sa.select(*table.c).where(table.c.seq > after).order_by(table.c.seq).limit(limit)
    return [Link(*row) for row in connection.execute(query)]


def head(connection: Connection) -> int:
    """The newest position; 0 while there is none."""
    return connection.execute(sa.select(sa.func.max(schema.chain.c.seq))).scalar() or 0


def cursor(connection: Connection, reader: str) -> int:
    """The position up to which `reader` has dealt with the chain; 0 for a new one."""
    table = schema.cursors.c
    return connection.execute(sa.select(table.seq).where(table.reader == reader)).scalar() or 0


def move(connection: Connection, reader: str, seq: int) -> None:
    """Keep `seq` as the position of `reader`; to be done in the transaction that writes what came of the rows up to it."""
    table = schema.cursors
    moved = connection.execute(sa.update(table).where(table.c.reader == reader).values(seq=seq)).rowcount
    if not moved:
        connection.execute(sa.insert(table), {"reader": reader, "seq": seq})


def adopt(connection: Connection) -> None:
    """Chain the exercises and events of a ledger that had no chain, in the order in which they happened."""
    batch: list[tuple[str, dict[str, Any]]] = []
    for each in _in_order(connection):
        batch.append(each)
        if len(batch) == _BATCH:
            _append_mixed(connection, batch)
            batch = []
    _append_mixed(connection, batch)


def _in_order(connection: Connection) -> Iterator[tuple[str, dict[str, Any]]]:
    names = [
        *(
            ("exercise", row.id, row.finished_at)
            for row in connection.execute(_keys("exercise", "finished_at"))
        ),
        *(("event", row.id, row.at) for row in connection.execute(_keys("event", "at"))),
    ]
    names.sort(key=lambda each: (each[2], each[0], str(each[1])))
    for kind, name, _at in names:
        table = KINDS[kind]
        yield kind, dict(connection.execute(sa.select(table).where(table.c.id == name)).mappings().one())


def _keys(kind: str, moment: str) -> sa.Select[Any]:
    table = KINDS[kind]
    return sa.select(table.c.id, table.c[moment])


def _append_mixed(connection: Connection, batch: Sequence[tuple[str, dict[str, Any]]]) -> None:
    begin = 0
    for position in range(1, len(batch) + 1):
        if position == len(batch) or batch[position][0] != batch[begin][0]:
            append(connection, batch[begin][0], [row for _, row in batch[begin:position]])
            begin = position


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
