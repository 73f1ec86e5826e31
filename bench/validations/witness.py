"""The ground truth: a program of the bench's own that commits rows and remembers when and where each was committed."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from ccobs_ops.lab import Lab
from ccobs_ops.lab.services import postgres as pg

PAUSE_SECONDS = 0.05
CROSSING_SECONDS = 0.02
"""Commit times of sessions side by side and their order in WAL may cross; a row this close to the target says nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One committed row; its commit record ends at `lsn` at the latest."""

    id: int
    committed_at: datetime
    lsn: int


def lsn_number(text: str) -> int:
    """A position in WAL as a number."""
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


class Witness:
    """Writes about twenty rows a second from a thread of its own, over restarts and promotions.

    A row counts when the server has confirmed it, or when it is found in the table after a connection broke.
    """

    def __init__(self, lab: Lab, seed: int) -> None:
        self._lab = lab
        self._dice = random.Random(seed)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._rows: dict[int, Row] = {}
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)

    def __enter__(self) -> Witness:
        with pg.connect(self._lab.plan, role="postgres") as connection:
            connection.execute("create table witness (id bigint primary key, note text not null)")
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def rows(self) -> list[Row]:
        """Rows committed so far, in order."""
        with self._lock:
            return list(self._rows.values())

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with pg.connect(self._lab.plan, role="postgres") as connection:
                    self._reconcile(connection)
                    while not self._stop.wait(PAUSE_SECONDS):
                        self._write(connection)
            except psycopg.Error:
                self._stop.wait(0.2)

    def _write(self, connection: Any) -> None:
        number = len(self._rows) + 1
        note = self._dice.randbytes(self._dice.randrange(20, 2000)).hex()
        connection.execute("insert into witness values (%s, %s)", [number, note])
        self._remember(connection, number)

    def _reconcile(self, connection: Any) -> None:
        for (number,) in connection.execute(
            "select id from witness where id > %s order by id", [len(self._rows)]
        ).fetchall():
            self._remember(connection, number)

    def _remember(self, connection: Any, number: int) -> None:
        at, lsn = connection.execute(
            "select pg_xact_commit_timestamp(xmin), pg_current_wal_insert_lsn()::text from witness where id = %s",
            [number],
        ).fetchone()
        with self._lock:
            self._rows[number] = Row(number, at, lsn_number(lsn))
