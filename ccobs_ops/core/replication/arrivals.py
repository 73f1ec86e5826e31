"""The ledger's table of canary objects: when each was written to the source, and when it was first seen in the replica.

A lag is never known better than the looks at the replica: it lies between the last look that did not find the object
(`absent_at`) and the first that did (`seen_at`). One that never came is right-censored: its lag is *at least* as long as
it was looked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.ledger_schema import from_microseconds, to_microseconds

SHARP_SECONDS = 2.0
SHARP_RATIO = 0.25
"""A lag is sharp when it is known to two seconds or to a quarter of itself; other ones count as censored."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One canary object. `reconciled`: it was found in the source without a row, after an agent was killed."""

    target: str
    seq: int
    key: str
    md5: str
    written_at: datetime
    absent_at: datetime | None = None
    seen_at: datetime | None = None
    given_up_at: datetime | None = None
    removed_at: datetime | None = None
    reconciled: bool = False

    @property
    def waiting(self) -> bool:
        """Whether it is still looked for."""
        return self.seen_at is None and self.given_up_at is None

    @property
    def least_seconds(self) -> float:
        """Its lag is at least this: it was looked for then and was not there."""
        if self.absent_at is None:
            return 0.0
        return max(0.0, (self.absent_at - self.written_at).total_seconds())

    @property
    def lag_seconds(self) -> float | None:
        """From written to first seen; None when it was not seen, or when nobody looked near enough to that moment."""
        if self.seen_at is None:
            return None
        lag = max(0.0, (self.seen_at - self.written_at).total_seconds())
        return lag if lag - self.least_seconds <= max(SHARP_SECONDS, SHARP_RATIO * lag) else None


class Arrivals:
    """The arrivals of one target. Every method raises LedgerError when the database fails."""

    def __init__(self, ledger: Ledger, target: str) -> None:
        self._ledger = ledger
        self._target = target

    def add(self, arrival: Arrival) -> None:
        """Keep a canary that was written."""
        row = {
            "target": arrival.target,
            "seq": arrival.seq,
            "key": arrival.key,
            "md5": arrival.md5,
            "written_at": to_microseconds(arrival.written_at),
            "absent_at": _number(arrival.absent_at),
            "seen_at": _number(arrival.seen_at),
            "given_up_at": _number(arrival.given_up_at),
            "removed_at": _number(arrival.removed_at),
            "reconciled": arrival.reconciled,
        }
        with self._ledger.writing() as connection:
            connection.execute(sa.insert(schema.arrivals), row)

    def update(self, changed: Iterable[Arrival]) -> None:
        """Keep what became of canaries that are on record."""
        table = schema.arrivals
        with self._ledger.writing() as connection:
            for arrival in changed:
                connection.execute(
                    sa.update(table)
                    .where(table.c.target == self._target, table.c.seq == arrival.seq)
                    .values(
                        absent_at=_number(arrival.absent_at),
                        seen_at=_number(arrival.seen_at),
                        given_up_at=_number(arrival.given_up_at),
                        removed_at=_number(arrival.removed_at),
                    )
                )

    def since(self, moment: datetime) -> list[Arrival]:
        """Those written at `moment` or later, by seq."""
        return self._rows(schema.arrivals.c.written_at >= to_microseconds(moment))

    def waiting(self) -> list[Arrival]:
        """Those that are still looked for, by seq."""
        table = schema.arrivals.c
        return self._rows(table.seen_at.is_(None), table.given_up_at.is_(None))

    def stored(self) -> list[Arrival]:
        """Those whose object was not removed yet, by seq."""
        return self._rows(schema.arrivals.c.removed_at.is_(None))

    def last_seq(self) -> int:
        """The highest sequence number on record, 0 if there is none."""
        table = schema.arrivals.c
        with self._ledger.reading() as connection:
            query = sa.select(sa.func.max(table.seq)).where(table.target == self._target)
            return connection.execute(query).scalar() or 0

    def prune(self, before: datetime) -> int:
        """Forget those written before `before` whose object is gone; returns how many that were."""
        table = schema.arrivals.c
        query = sa.delete(schema.arrivals).where(
            table.target == self._target,
            table.removed_at.is_not(None),
            table.written_at < to_microseconds(before),
        )
        with self._ledger.writing() as connection:
            return connection.execute(query).rowcount

    def _rows(self, *conditions: sa.ColumnElement[bool]) -> list[Arrival]:
        table = schema.arrivals.c
        query = sa.select(*table).where(table.target == self._target, *conditions).order_by(table.seq)
        with self._ledger.reading() as connection:
            return [_arrival(row) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Lags:
    """What a series of arrivals says. A quantile is None where too many did not come for it to be known."""

    canaries: int
    arrived: int
    waiting: int
    given_up: int
    blurred: int
    p50_seconds: float | None
    p95_seconds: float | None
    max_seconds: float | None
    """The longest lag that was measured, or the longest wait that is proven, whichever is longer."""


def lags(arrivals: Sequence[Arrival]) -> Lags:
    """p50, p95 and max of the lag, by the product-limit estimator (Kaplan and Meier, 1958).

    It is the textbook answer to right-censored series: a canary that was looked for in vain for an hour is neither left out
    (which would flatter the replicator) nor taken for one that arrived after an hour.
    """
    observed = [lag for arrival in arrivals if (lag := arrival.lag_seconds) is not None]
    censored = [arrival.least_seconds for arrival in arrivals if arrival.lag_seconds is None]
    longest = max([*observed, *censored], default=None)
    return Lags(
        canaries=len(arrivals),
        arrived=sum(arrival.seen_at is not None for arrival in arrivals),
        waiting=sum(arrival.waiting for arrival in arrivals),
        given_up=sum(arrival.seen_at is None and arrival.given_up_at is not None for arrival in arrivals),
        blurred=sum(arrival.seen_at is not None and arrival.lag_seconds is None for arrival in arrivals),
        p50_seconds=quantile(observed, censored, 0.5),
        p95_seconds=quantile(observed, censored, 0.95),
        max_seconds=longest,
    )


def quantile(observed: Sequence[float], censored: Sequence[float], share: float) -> float | None:
    """The smallest time by which `share` of the population has arrived; None when that was never reached."""
    events = sorted([(time, 0) for time in observed] + [(time, 1) for time in censored])
    at_risk, survival = len(events), 1.0
    for time, is_censored in events:
        if not is_censored:
            survival *= 1.0 - 1.0 / at_risk
            if survival <= 1.0 - share + 1e-9:
                return time
        at_risk -= 1
    return None


def _number(moment: datetime | None) -> int | None:
    return None if moment is None else to_microseconds(moment)


def _moment(count: int | None) -> datetime | None:
    return None if count is None else from_microseconds(count)


def _arrival(row: Any) -> Arrival:
    return Arrival(
        target=row.target,
        seq=row.seq,
        key=row.key,
        md5=row.md5,
        written_at=from_microseconds(row.written_at),
        absent_at=_moment(row.absent_at),
        seen_at=_moment(row.seen_at),
        given_up_at=_moment(row.given_up_at),
        removed_at=_moment(row.removed_at),
        reconciled=row.reconciled,
    )
