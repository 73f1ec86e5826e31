"""Compare exported listings of both sides, out of core: `mode: inventory`.

Most of both sides is equal, and need not be joined. Both are first condensed to 65,536 checksums each, by the hash of the
key: the count, the sum and the exclusive or of a 64-bit hash of (key, size, ETag) of all rows. Equal checksums hold equal
rows, but for a chance in 2^64 for each. Only rows of checksums that differ are read again and joined, so many at a time as
fit in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.exercise import Recorder, Severity
from ccobs_ops.core.replication import report
from ccobs_ops.core.replication.difference import Difference, Kind, Seen
from ccobs_ops.core.replication.explain import Explainer
from ccobs_ops.core.replication.exports_files import Export, export
from ccobs_ops.core.replication.exports_sql import Moments, classified
from ccobs_ops.core.replication.lister import Lister
from ccobs_ops.core.replication.merge import Suspect
from ccobs_ops.core.replication.tally import Tally
from ccobs_ops.core.scratch import scratch
from ccobs_ops.core.storage import in_order

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.inventory_replication import ReplicationPair

BITS = 16
ROWS_AT_ONCE = 4_000_000
"""Rows of one side that are joined at once; about 1 GB."""
LOOKED_AT = 1000
"""Differences up to which each is looked at again by HEAD; an export is hours old."""


class Engine:
    """DuckDB with a bound on its memory, which goes to `folder` when that is not enough."""

    def __init__(self, folder: Path, memory_bytes: int) -> None:
        import duckdb  # noqa: PLC0415 - 0.1 s that most commands do not need

        self._connection: Any = duckdb.connect(
            str(folder / "work.duckdb"),
            config={
                "memory_limit": f"{memory_bytes // 1_000_000}MB",
                "temp_directory": str(folder / "spill"),
                "preserve_insertion_order": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
        self._errors: type[Exception] = duckdb.Error

    def run(self, statement: str) -> Any:
        """Run one statement. Raises UnknownError with what DuckDB said."""
        try:
            return self._connection.execute(statement)
        except self._errors as error:
            raise UnknownError(
                f"the exports cannot be compared: {str(error).splitlines()[0]}",
                hint="see whether both are whole, and whether `exports.format` and `columns` are right",
            ) from error

    def close(self) -> None:
        """Let go of its files."""
        self._connection.close()


def join(engine: Engine, pair: ReplicationPair, source: Export, replica: Export) -> tuple[int, int, int]:
    """Fill the table `difference` with what differs; returns the rows of both sides and how many of them were joined."""
    digest = (
        f"SELECT CAST(hash(key) >> {64 - BITS} AS USMALLINT) AS part, count(*) AS n,"
        " sum(CAST(hash(key, size, etag) AS HUGEINT)) AS total, bit_xor(hash(key, size, etag)) AS mixed"
    )
    for name, side in (("source", source), ("replica", replica)):
        engine.run(f"CREATE OR REPLACE TABLE {name}_digest AS {digest} FROM ({side.relation}) GROUP BY part")
    engine.run(
        "CREATE OR REPLACE TABLE differing AS"
        " SELECT part, coalesce(s.n, 0) + coalesce(r.n, 0) AS n"
        " FROM source_digest s FULL OUTER JOIN replica_digest r USING (part)"
        " WHERE s.n IS DISTINCT FROM r.n OR s.total IS DISTINCT FROM r.total OR s.mixed IS DISTINCT FROM r.mixed"
    )
    rows = engine.run(
        "SELECT (SELECT coalesce(sum(n), 0) FROM source_digest), (SELECT coalesce(sum(n), 0) FROM replica_digest),"
        " (SELECT coalesce(sum(n), 0) FROM differing)"
    ).fetchone()
    total = int(rows[2])
    portions = max(1, -(-total // (2 * ROWS_AT_ONCE)))
    moments = Moments(source.made_at, replica.made_at)
    created = False
    for portion in range(portions):
        wanted = (
            f"CAST(hash(key) >> {64 - BITS} AS USMALLINT) IN"
            f" (SELECT part FROM differing WHERE part % {portions} = {portion})"
        )
        statement = classified(
            pair,
            moments,
            f"(SELECT * FROM ({source.relation}) WHERE {wanted})",
            f"(SELECT * FROM ({replica.relation}) WHERE {wanted})",
        )
        engine.run(
            f"INSERT INTO difference {statement}" if created else f"CREATE TABLE difference AS {statement}"
        )
        created = True
    return int(rows[0]), int(rows[1]), total


def compare_exports(ctx: Context, rec: Recorder, name: str, *, prefix: str) -> str:
    """Compare the pair's exports, fill `rec`, keep the differences; returns the reason for one that passed."""
    pair = ctx.inventory.replication[name]
    if pair.exports is None:
        raise UnknownError(
            f"replication/{name} has no `exports` to compare", hint="add them to the inventory"
        )
    with scratch("exports") as folder:
        ctx.progress.begin("fetch")
        with rec.phase("fetch") as meter:
            sides = [
                export(ctx, pair, location, store, pair.prefix + prefix, folder / role, meter.add)
                for role, location, store in (
                    ("source", pair.exports.source, pair.source),
                    ("replica", pair.exports.replica, pair.replica),
                )
            ]
        for role, side in zip(("source", "replica"), sides, strict=True):
            rec.details[f"{role}_exported_at"] = side.made_at.isoformat()
            rec.measurements[f"{role}_export_age_seconds"] = (ctx.clock() - side.made_at).total_seconds()
        engine = Engine(folder, pair.exports.memory)
        try:
            ctx.progress.begin("join")
            with rec.phase("join"):
                source_rows, replica_rows, joined = join(engine, pair, *sides)
            tally = Tally(source_rows, replica_rows, sides[0].where, sides[1].where)
            with rec.phase("look_again"):
                found = _differences(engine, ctx, rec, pair, prefix, tally)
                path = report.write(
                    ctx.inventory,
                    name,
                    rec.id,
                    finished_at=ctx.clock(),
                    prefix=pair.prefix + prefix,
                    counts=tally.counts,
                    differences=found,
                )
        finally:
            engine.close()
    seconds = sum(phase.seconds for phase in rec.phases if phase.name == "join")
    rec.details |= {"differences": str(path), "prefix": pair.prefix + prefix, "mode": "inventory"}
    rec.measurements |= {
        "rows_joined": float(joined),
        "objects_per_second": float(round((source_rows + replica_rows) / max(seconds, 1e-9))),
    }
    tally.account(rec, sample_rate=0.0)
    return tally.summary()


def _differences(
    engine: Engine, ctx: Context, rec: Recorder, pair: ReplicationPair, prefix: str, tally: Tally
) -> Iterator[Difference]:
    """What the join left, in key order; looked at again where there are few and the stores answer."""
    found = _rows(engine)
    count = engine.run("SELECT count(*) FROM difference").fetchone()[0]
    if 0 < count <= LOOKED_AT:
        found = _looked_at(list(found), ctx, rec, pair, prefix, tally)
    for each in found:
        tally.add(each)
        yield each


def _looked_at(
    found: list[Difference], ctx: Context, rec: Recorder, pair: ReplicationPair, prefix: str, tally: Tally
) -> Iterator[Difference]:
    sides = [
        Lister(
            ctx.inventory,
            store,
            pair.prefix + prefix,
            pair.concurrency,
            clock=ctx.clock,
            timer=ctx.timer,
            sleep=ctx.sleep,
        )
        for store in (pair.source, pair.replica)
    ]
    explainer = Explainer(pair, *sides)

    def look(each: Difference) -> Difference | None:
        return explainer.look(Suspect(each.key, each.source, each.replica))

    try:
        for side in sides:
            side.page(None, limit=1)
        again = list(in_order(iter(found), look, workers=8, ahead=32))
    except UnknownError as error:
        rec.find(
            "not_looked_again",
            Severity.WARNING,
            rec.target,
            f"the differences are as old as the exports: {error.message}",
            "let this host reach both stores, so that what changed since is not reported",
        )
        yield from found
        return
    for each in again:
        tally.resolved += each is None
        if each is not None:
            yield each


_WHY = {
    Kind.MISSING: "the replica's export does not have it",
    Kind.ONLY_IN_REPLICA: "the source's export does not have it",
    Kind.SIZE_MISMATCH: "the exports have other sizes",
    Kind.CONTENT_MISMATCH: "the exports have the same size and other ETags",
    Kind.UNVERIFIABLE: "the ETags differ and are no digests of the content",
    Kind.PENDING: "written within the RPO before the exports",
    Kind.EXCLUDED_BY_RULE: "the rules leave it out",
}


def _rows(engine: Engine) -> Iterator[Difference]:
    cursor = engine.run("SELECT * FROM difference ORDER BY key")
    while batch := cursor.fetchmany(10_000):
        for key, kind, *facts in batch:
            yield Difference(Kind(kind), key, _seen(facts[:3]), _seen(facts[3:]), _WHY[Kind(kind)])


def _seen(facts: list[Any]) -> Seen | None:
    size, etag, modified = facts
    if etag is None and size is None:
        return None
    when: datetime | None = modified.replace(tzinfo=UTC) if modified is not None else None
    return Seen(size or 0, etag or "", when)
