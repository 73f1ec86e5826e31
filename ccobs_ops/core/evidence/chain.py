"""Verify the ledger's hash chain against its rows: what was changed, removed, moved or slipped in, and where.

| done to the ledger | what no longer holds | code |
|---|---|---|
| a row was changed | it has the digest of its link | `row_changed` |
| a row was removed | its link has a row | `row_removed` |
| a row was written past the chain | every row has a link | `row_unchained` |
| links were removed | positions count without a gap | `link_missing` |
| a link was changed | it follows from the one before it | `link_changed` |
| links were reordered | the same, and another link fits there | `link_moved` |
| links were renumbered | from there on none follows | `chain_broken` |
| the tail was cut off | a signed head lies within the chain | `chain_truncated` |
| the chain was computed anew | its link at a signed head is the signed one | `chain_rewritten` |

Whoever can write to the database can compute a whole new chain that follows: only a head that was signed and kept elsewhere
shows that (`heads`). It reads once, in order, a batch at a time; memory does not grow with the ledger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core.context import Progress, Silent
from ccobs_ops.core.evidence.follow import Break, Follower
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.ledger_chain import GENESIS, KINDS, Link

BATCH = 2_000
MOST_FAULTS = 100
_ENCODE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


class Head(NamedTuple):
    """A position of the chain and the link that stands there."""

    seq: int
    link: str


START = Head(0, GENESIS)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that does not hold. `seq` is its position in the chain; None for a row that has none."""

    code: str
    subject: str
    message: str
    seq: int | None


@dataclass(frozen=True, slots=True)
class Verified:
    """What was verified: positions after `after` up to `head`, so many `rows` with their links.

    `faults` are the first hundred of `faults_found`. `whole` is off where only the newest part was looked at: rows without a
    link are then not looked for. `heads` counts the signed heads that were compared.
    """

    after: Head
    head: Head
    rows: int
    heads: int
    whole: bool
    faults: tuple[Fault, ...]
    faults_found: int

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return self.faults_found == 0


def verify(
    ledger: Ledger,
    *,
    after: Head = START,
    heads: Iterable[Head] = (),
    progress: Progress | None = None,
) -> Verified:
    """Verify the chain of `ledger` after the position `after`, which is trusted, as it is at this moment.

    `heads` are positions that were signed before. Raises LedgerError when the ledger cannot be read.
    """
    told = progress or Silent()
    known = sorted(set(heads))
    faults = _Faults()
    with _snapshot(ledger) as connection:
        last = newest(connection)
        told.begin("verify", max(0, last.seq - after.seq), unit="rows")
        follower = Follower(after.seq, after.link)
        here: dict[str, int] = dict.fromkeys(KINDS, 0)
        rows = 0
        for links in _batches(connection, after.seq):
            digests = _digests(connection, links)
            for link in links:
                for each in follower.take(link):
                    faults.add(_broken(each))
                found = digests.get((link.kind, link.row))
                if found is None:
                    faults.add(_removed(link))
                    continue
                here[link.kind] = here.get(link.kind, 0) + 1
                if found != link.digest:
                    faults.add(_changed(connection, link))
            rows += len(links)
            told.advance(len(links))
        for each in follower.end():
            faults.add(_broken(each))
        if after == START:
            for kind, count in here.items():
                for fault in _unchained(connection, kind, count):
                    faults.add(fault)
        for fault in _against_heads(connection, known, last):
            faults.add(fault)
    return Verified(after, last, rows, len(known), after == START, tuple(faults.kept), faults.count)


def newest(connection: Connection) -> Head:
    """The newest link; START where there is none."""
    table = schema.chain.c
    row = connection.execute(sa.select(table.seq, table.link).order_by(table.seq.desc()).limit(1)).first()
    return START if row is None else Head(row.seq, row.link)


def link_of(connection: Connection, kind: str, row: str) -> Link | None:
    """The link of a row; None where it has none."""
    table = schema.chain
    query = sa.select(*table.c).where(table.c.kind == kind, table.c.row == row)
    found = connection.execute(query).first()
    return None if found is None else Link(*found)


def stored(connection: Connection, seq: int) -> str | None:
    """The link that stands at position `seq`; None where there is none."""
    return connection.execute(sa.select(schema.chain.c.link).where(schema.chain.c.seq == seq)).scalar()


@dataclass(slots=True)
class _Faults:
    kept: list[Fault] = field(default_factory=list)
    count: int = 0

    def add(self, fault: Fault) -> None:
        self.count += 1
        if len(self.kept) < MOST_FAULTS:
            self.kept.append(fault)


@contextmanager
def _snapshot(ledger: Ledger) -> Iterator[Connection]:
    """One view of the ledger, whatever is written meanwhile. SQLite's readers have that anyway."""
    with ledger.reading() as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


def _batches(connection: Connection, after: int) -> Iterator[list[Link]]:
    table = schema.chain
    while True:
        query = sa.select(*table.c).where(table.c.seq > after).order_by(table.c.seq).limit(BATCH)
        links = [Link(*row) for row in connection.execute(query)]
        if not links:
            return
        yield links
        after = links[-1].seq


def _digests(connection: Connection, links: Sequence[Link]) -> Mapping[tuple[str, str], str]:
    """The digest of each row that `links` stand for and that is there, as `ledger_chain.digest` computes it."""
    found: dict[tuple[str, str], str] = {}
    for kind, table in KINDS.items():
        names: list[Any] = [link.row for link in links if link.kind == kind]
        if isinstance(table.c.id.type, sa.BigInteger):
            names = [int(name) for name in names if name.isdigit()]
        if not names:
            continue
        at = list(table.c.keys()).index("id")
        for row in connection.execute(sa.select(table).where(table.c.id.in_(names))):
            found[kind, str(row[at])] = hashlib.sha256(_ENCODE(list(row)).encode()).hexdigest()
    return found


def _broken(found: Break) -> Fault:
    return Fault(found.code, f"position {found.seq}", found.message, found.seq)


def _removed(link: Link) -> Fault:
    return Fault(
        "row_removed",
        f"{link.kind} {link.row}",
        f"the {link.kind} {link.row} is gone: its link stands at position {link.seq}{_between(link.seq)}",
        link.seq,
    )


def _changed(connection: Connection, link: Link) -> Fault:
    about = ""
    if link.kind == "exercise":
        table = schema.exercises.c
        query = sa.select(table.target, table.capability, table.verdict).where(table.id == link.row)
        row = connection.execute(query).first()
        about = f" ({row.target} {row.capability}, now {row.verdict})" if row is not None else ""
    return Fault(
        "row_changed",
        f"{link.kind} {link.row}",
        f"the {link.kind} {link.row}{about} was changed after it was written, at position {link.seq}{_between(link.seq)}",
        link.seq,
    )


def _between(seq: int) -> str:
    return f", between {seq - 1} and {seq + 1}" if seq > 1 else ""


def _unchained(connection: Connection, kind: str, linked: int) -> Iterator[Fault]:
    """Rows that no link stands for; looked for only where there are more rows than links."""
    table, links = KINDS[kind], schema.chain
    count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    if count == linked:
        return
    joined = table.outerjoin(
        links, sa.and_(links.c.kind == kind, links.c.row == sa.cast(table.c.id, sa.String))
    )
    query = sa.select(table.c.id).select_from(joined).where(links.c.seq.is_(None)).order_by(table.c.id)
    for name in connection.scalars(query.limit(MOST_FAULTS)):
        told = (
            f"the {kind} {name} is in the ledger and no link stands for it: it was not written by ccobs-ops"
        )
        yield Fault("row_unchained", f"{kind} {name}", f"{told}, or its link was removed", None)


def _against_heads(connection: Connection, heads: Sequence[Head], last: Head) -> Iterator[Fault]:
    for head in heads:
        subject = f"position {head.seq}"
        if head.seq > last.seq:
            told = f"a head was signed at position {head.seq}, and the chain ends at {last.seq}"
            gone = "its newest rows were cut off" if last.seq else "all of it is gone"
            yield Fault("chain_truncated", subject, f"{told}: {gone}", head.seq)
            continue
        link = stored(connection, head.seq)
        if link is not None and link != head.link:
            told = f"the link at position {head.seq} is not the one that was signed"
            yield Fault(
                "chain_rewritten", subject, f"{told}: the chain up to there was computed anew", head.seq
            )
