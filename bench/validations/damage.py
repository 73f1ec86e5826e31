"""What the bench plants before a validation, and what must come of it. Every plant is undone afterwards."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench.validations.archive import SEGMENT_BYTES, Backup, Bucket, Contents
from bench.validations.witness import Row, Witness
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.lab import Lab
from ccobs_ops.lab.services import postgres as pg

WAIT_SECONDS = 60.0
APART_SECONDS = 2.5
"""Between a planted change of the canary table and the moments before and after it."""


@dataclass(frozen=True, slots=True)
class Plant:
    """What was done, the moment to validate, the verdict that is then right, and how to undo it."""

    what: str
    at: datetime
    right: Verdict
    undo: Callable[[], None] = lambda: None


class Saboteur:
    """Plants damage by seeded chance."""

    def __init__(self, lab: Lab, bucket: Bucket, witness: Witness, dice: random.Random) -> None:
        self._lab = lab
        self._bucket = bucket
        self._witness = witness
        self._dice = dice
        self.without_canary: list[tuple[datetime, datetime]] = []
        self.kinds: dict[str, Callable[[], Plant]] = {
            "WAL segment deleted": lambda: self._segment(self._delete, needed=True),
            "bit flipped in WAL": lambda: self._segment(self._flip, needed=True),
            "older WAL segment deleted": lambda: self._segment(self._delete, needed=False),
            "bit flipped in older WAL": lambda: self._segment(self._flip, needed=False),
            "bit flipped in newest backup": lambda: self._backup(
                lambda b: self._dice.choice(b.parts), self._flip
            ),
            "part of newest backup deleted": lambda: self._backup(
                lambda b: self._dice.choice(b.parts), self._delete
            ),
            "bit flipped in newest manifest": lambda: self._backup(lambda b: b.manifest, self._flip),
            "bit flipped in catalogue entry": lambda: self._backup(lambda b: b.catalogue, self._flip),
            "bit flipped in every backup": self._every_backup,
            "canary deleted, then validated": lambda: self._canary(after=True),
            "canary deleted, earlier moment": lambda: self._canary(after=False),
            "store down": self._store_down,
        }

    def lacks_canary(self, at: datetime) -> bool:
        """Whether a canary was missing from production at that moment, by an earlier plant."""
        return any(gone <= at < back for gone, back in self.without_canary)

    def plant(self, kind: str) -> Plant:
        """Do it, once the archive holds what it takes."""
        return self.kinds[kind]()

    # -- objects -----------------------------------------------------------------------------------------------------

    def _segment(self, harm: Callable[[str], Callable[[], None]], *, needed: bool) -> Plant:
        """Between the newest backup's end and the moment (needed), or before the newest backup's beginning (not)."""
        contents, row = self._await_segments()
        newest = contents.backups[-1]
        low, high = newest.stop_lsn // SEGMENT_BYTES, row.lsn // SEGMENT_BYTES
        oldest = contents.chain(contents.backups[0])[0].start_lsn // SEGMENT_BYTES
        chosen = [
            name
            for name in sorted(contents.finished)
            if (
                low < _number(name) < high
                if needed
                else oldest < _number(name) < newest.start_lsn // SEGMENT_BYTES
            )
        ]
        chosen = [
            name
            for name in chosen
            if sum(_number(other) == _number(name) for other in contents.finished) == 1
        ]
        if not chosen:
            return Plant("nothing (no such segment yet)", row.committed_at, Verdict.PASSED)
        name = self._dice.choice(chosen)
        undo = harm(contents.finished[name])
        return Plant(f"{name}", row.committed_at, Verdict.FAILED if needed else Verdict.PASSED, undo)

    def _backup(self, choose: Callable[[Backup], str], harm: Callable[[str], Callable[[], None]]) -> Plant:
        """One object of the newest backup: an older one must take its place."""
        contents, row = self._await_segments()
        newest = contents.backups[-1]
        key = choose(newest)
        undo = harm(key)
        broken = frozenset({newest.id})
        right = Verdict.PASSED if _usable(contents, broken, row.committed_at) else Verdict.FAILED
        return Plant(key, row.committed_at, right, undo)

    def _every_backup(self) -> Plant:
        contents, row = self._await_segments()
        undos = [self._flip(self._dice.choice(b.parts)) for b in contents.backups if b.parent is None]

        def undo() -> None:
            for one in undos:
                one()

        return Plant(f"{len(undos)} full backups", row.committed_at, Verdict.FAILED, undo)

    def _await_segments(self) -> tuple[Contents, Row]:
        """The archive and a moment in it, with at least three finished segments between newest backup and moment."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            contents = self._bucket.read()
            low = contents.backups[-1].stop_lsn // SEGMENT_BYTES
            high = max((_number(name) for name in contents.finished), default=0)
            rows = [row for row in self._witness.rows() if low + 3 <= row.lsn // SEGMENT_BYTES <= high]
            if rows:
                return contents, self._dice.choice(rows)
            if time.monotonic() > deadline:
                raise TimeoutError(f"the archive does not grow: segment {high} is its newest")
            switch_wal(self._lab)
            time.sleep(0.7)

    def _delete(self, key: str) -> Callable[[], None]:
        data = self._bucket.get(key)
        self._bucket.delete(key)
        return lambda: self._bucket.put(key, data)

    def _flip(self, key: str) -> Callable[[], None]:
        data = self._bucket.get(key)
        changed = bytearray(data)
        changed[self._dice.randrange(len(data))] ^= 1 << self._dice.randrange(8)
        self._bucket.put(key, bytes(changed))
        return lambda: self._bucket.put(key, data)

    # -- what is not an object ---------------------------------------------------------------------------------------

    def _canary(self, *, after: bool) -> Plant:
        """A committed row vanishes from production: a copy from later must be found wanting, one from before must not."""
        time.sleep(APART_SECONDS)
        before = self._witness.rows()[-1]
        time.sleep(APART_SECONDS)
        with pg.connect(self._lab.plan, role="postgres") as connection:
            rows = connection.execute(
                "select seq, written_at from ccobs.canary where written_at < %s order by seq desc limit 20",
                [before.committed_at],
            ).fetchall()
            seq, written_at = self._dice.choice(rows)
            gone = _committed(connection, "delete from ccobs.canary where seq = %s", [seq])
        time.sleep(APART_SECONDS)
        later = self._witness.rows()[-1]
        time.sleep(APART_SECONDS)

        def undo() -> None:
            with pg.connect(self._lab.plan, role="postgres") as connection:
                back = _committed(connection, "insert into ccobs.canary values (%s, %s)", [seq, written_at])
            self.without_canary.append((gone, back))

        at = later if after else before
        return Plant(f"canary {seq}", at.committed_at, Verdict.FAILED if after else Verdict.PASSED, undo)

    def _store_down(self) -> Plant:
        _, row = self._await_segments()
        self._lab.kill_service("us")
        return Plant("kill -9", row.committed_at, Verdict.UNKNOWN, lambda: self._lab.start_service("us"))


def switch_wal(lab: Lab) -> None:
    """Finish the running WAL segment."""
    with pg.connect(lab.plan, role="postgres", database="postgres") as connection:
        connection.execute("select pg_logical_emit_message(true, 'bench', 'switch')")
        connection.execute("select pg_switch_wal()")


def _committed(connection: Any, statement: str, values: Sequence[object]) -> datetime:
    """Run it in a transaction of its own; returns the commit time."""
    with connection.transaction():
        connection.execute(statement, values)
        (xid,) = connection.execute("select pg_current_xact_id()::text").fetchone()
    return connection.execute(
        "select pg_xact_commit_timestamp(%s::xid)", [str(int(xid) & 0xFFFFFFFF)]
    ).fetchone()[0]


def _usable(contents: Contents, broken: frozenset[str], at: datetime) -> Sequence[Backup]:
    return [
        backup
        for backup in contents.backups
        if backup.stopped_at <= at and not broken & {link.id for link in contents.chain(backup)}
    ]


def _number(name: str) -> int:
    return int(name[8:16], 16) * 256 + int(name[16:], 16)
