"""The claims of a validation, each made from what the restored copy itself shows."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psutil

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.exercise import Claim, Recorder, Severity, failed, passed, rfc3339, unknown
from ccobs_ops.core.postgres.exact import Bounds, Comparison, compare_all
from ccobs_ops.core.postgres.instance import Instance, Recovered
from ccobs_ops.core.postgres.plan import Plan
from ccobs_ops.core.postgres.server import Cluster, Tools, explain
from ccobs_ops.core.postgres.view import View
from ccobs_ops.core.postgres.wal import format_lsn
from ccobs_ops.core.process import ProcessError, User, environment, run
from ccobs_ops.core.units import format_seconds

if TYPE_CHECKING:
    import psycopg

    from ccobs_ops.inventory import DataCheck

_TICKS = 15
_MIN_TOLERANCE_SECONDS = 15.0
_DEEP_SECONDS = 12 * 3600.0
_SETTINGS = {
    "listen_addresses": "",
    "archive_mode": "off",
    "archive_command": "(disabled)",  # what PostgreSQL shows while archive_mode is off
    "primary_conninfo": "",
    "max_logical_replication_workers": "0",
}


def prove_exact(
    ctx: Context, rec: Recorder, cluster: Cluster, view: View, plan: Plan, copy: Instance, end: Recovered
) -> Comparison | None:
    """Claim `exact`: the visible canaries are those that were committed up to the recovery point, no more and no less.

    UNKNOWN when there is no canary near the recovery point to tell by.
    """
    known = ctx.ledger.canary_bounds(cluster.target)
    with copy.connect(_canary_database(cluster)) as connection:
        seen = _SeenCanaries.of(connection, cluster)
        if seen is None or known is None:
            why = (
                "the copy has no canary table" if seen is None else "the ledger has no canary of this target"
            )
            rec.claim(unknown("exact", f"{why}: what came back cannot be counted"))
            return None
        result = compare_all(
            lambda first, last: ctx.ledger.canaries(cluster.target, first_seq=first, last_seq=last),
            seen.between,
            Bounds(seen.floor, known[0], known[1], seen.newest),
            view.history,
            end.replay_lsn,
        )
    rec.measurements |= {
        "canaries_expected": float(result.expected),
        "canaries_present": float(result.present),
    }
    rec.claim(_exact(rec, cluster, view, plan, end, result))
    return result


def _exact(
    rec: Recorder, cluster: Cluster, view: View, plan: Plan, end: Recovered, result: Comparison
) -> Claim:
    where = f"replayed to {format_lsn(end.replay_lsn)}"
    for seqs, code, what in (
        (result.missing, "canary_missing", "missing, though committed before the recovery point"),
        (result.unexpected, "canary_unexpected", "present, though committed after the recovery point"),
    ):
        if seqs:
            shown = ", ".join(map(str, seqs[:5])) + (" …" if len(seqs) > 5 else "")
            rec.find(code, Severity.CRITICAL, shown, f"{len(seqs)} canaries {what}: {shown}")
    if not result.exact:
        return failed(
            "exact",
            f"{result.present} of {result.expected} canaries present, {len(result.unexpected)} too many, {where}",
        )
    reached = _reached(view, plan, end)
    if reached is not None:
        rec.find("target_not_reached", Severity.CRITICAL, cluster.target, reached)
        return failed("exact", reached)
    interval = cluster.config.canary.interval.total_seconds()
    tolerance = max(_TICKS * interval, _MIN_TOLERANCE_SECONDS)
    aim = end.last_commit_at if plan.target.at is None else plan.target.at
    if result.last is None or (
        aim is not None and (aim - result.last.committed_at).total_seconds() > tolerance
    ):
        last = "none" if result.last is None else rfc3339(result.last.committed_at)
        return unknown(
            "exact",
            f"no canary near the recovery point to tell by: the last one before it is {last}, one is due every "
            f"{format_seconds(interval)}",
        )
    after = result.next
    if plan.target.at is not None and after is not None:
        early = (plan.target.at - after.committed_at).total_seconds()
        if early > max(interval, 1.0):
            return failed(
                "exact",
                f"canary {after.seq} was committed {format_seconds(early)} before the target time and did not come back",
            )
    return passed("exact", f"{result.present} of {result.expected} canaries present, none later, {where}")


def _reached(view: View, plan: Plan, end: Recovered) -> str | None:
    """Why the recovery point is not the one asked for; None if it is."""
    newest = view.newest
    if plan.target.latest and newest is not None and end.replay_lsn <= newest.lsn:
        return f"replay ended at {format_lsn(end.replay_lsn)}, before the newest commit at {format_lsn(newest.lsn)}"
    if plan.target.lsn is not None and end.replay_lsn < plan.target.lsn:
        return f"replay ended at {format_lsn(end.replay_lsn)}, before {format_lsn(plan.target.lsn)}"
    if plan.target.at is not None and end.last_commit_at is not None and end.last_commit_at > plan.target.at:
        return f"a commit of {rfc3339(end.last_commit_at)} came back, later than the target {rfc3339(plan.target.at)}"
    return None


def prove_rpo(
    rec: Recorder,
    cluster: Cluster,
    plan: Plan,
    end: Recovered,
    result: Comparison | None,
    looked_at: datetime,
) -> None:
    """Claim `rpo`: what lies between the target (for the newest: now) and the last canary that came back."""
    limit = cluster.config.objectives.rpo.total_seconds()
    if result is None or result.last is None:
        rec.claim(unknown("rpo", "no canary came back, so the loss cannot be measured"))
        return
    aim = plan.target.at or (looked_at if plan.target.latest else end.last_commit_at) or looked_at
    lost = max(0.0, (aim - result.last.committed_at).total_seconds())
    rec.measurements["rpo_seconds"] = lost
    told = (
        f"the last canary that came back is {format_seconds(lost)} older than the target, "
        f"promised at most {format_seconds(limit)}"
    )
    if lost <= limit:
        rec.claim(passed("rpo", told))
    elif (
        plan.target.latest
        and result.next is None
        and (exact := _claim(rec, "exact"))
        and exact.verdict == "UNKNOWN"
    ):
        rec.claim(unknown("rpo", "canaries have stopped, so what would be lost now cannot be measured"))
    else:
        rec.claim(failed("rpo", told))


def prove_isolated(rec: Recorder, copy: Instance) -> None:
    """Claim `isolated`: the copy listens nowhere but on its socket, archives nothing and follows nobody."""
    with copy.connect() as connection:
        rows = dict(
            connection.execute(
                "select name, setting from pg_settings where name = any(%s)", [list(_SETTINGS)]
            ).fetchall()
        )
    wrong = [f"{name} = {rows.get(name)!r}" for name, value in _SETTINGS.items() if rows.get(name) != value]
    wrong += _listening(copy)
    if wrong:
        rec.find(
            "not_isolated",
            Severity.CRITICAL,
            str(copy.folder),
            f"the copy is not isolated: {'; '.join(wrong)}",
        )
        rec.claim(failed("isolated", f"the copy is not isolated: {'; '.join(wrong)}"))
    else:
        rec.claim(passed("isolated", "unix socket only, archiving off, no upstream, no replication workers"))


def _listening(copy: Instance) -> list[str]:
    pid = int((copy.data / "postmaster.pid").read_text().split()[0])
    found: list[str] = []
    with contextlib.suppress(psutil.Error):
        postmaster = psutil.Process(pid)
        for process in (postmaster, *postmaster.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                found += [f"a network connection {c.laddr}" for c in process.net_connections("inet")]
    return found


def prove_data(
    rec: Recorder, cluster: Cluster, copy: Instance, end: Recovered, *, production: bool = True
) -> None:
    """Claim `data_checks`: every SQL check of the inventory holds; no claim where there is none.

    Without `production` those that compare with it are left out: it counts as lost.
    """
    checks = [check for check in cluster.config.checks if production or not check.compare]
    if not checks:
        return
    claims = [_data_check(cluster, copy, check, end.last_commit_at) for check in checks]
    rec.details["data_checks"] = [
        {"name": claim.name, "verdict": claim.verdict.value, "reason": claim.reason} for claim in claims
    ]
    wrong = [c for c in claims if c.verdict == "FAILED"]
    open_ = [c for c in claims if c.verdict == "UNKNOWN"]
    for claim in wrong + open_:
        severity = Severity.CRITICAL if claim in wrong else Severity.WARNING
        rec.find("data_check", severity, claim.name, claim.reason)
    if wrong:
        rec.claim(failed("data_checks", f"{wrong[0].name}: {wrong[0].reason}"))
    elif open_:
        rec.claim(unknown("data_checks", f"{open_[0].name}: {open_[0].reason}"))
    else:
        rec.claim(
            passed("data_checks", f"{len(claims)} of {len(claims)} hold: {', '.join(c.name for c in claims)}")
        )


def _data_check(cluster: Cluster, copy: Instance, check: DataCheck, at: datetime | None) -> Claim:
    import psycopg  # noqa: PLC0415

    cutoff = at - check.settle if at is not None else None
    if ":cutoff" in check.sql and cutoff is None:
        return unknown(check.name, "the copy holds no commit time to compare up to")
    query = check.sql.replace("%", "%%").replace(":cutoff", "%(cutoff)s::timestamptz")
    values = {"cutoff": cutoff}
    try:
        with copy.connect(check.database or _canary_database(cluster), _role(cluster)) as connection:
            here = _one(connection, query, values)
    except psycopg.Error as error:
        return failed(check.name, f"the query fails on the copy: {explain(error)}")
    if not check.compare:
        same = here == check.expect or str(here) == str(check.expect)
        told = f"gives {here!r}, expected {check.expect!r}"
        return passed(check.name, told) if same else failed(check.name, told)
    try:
        with cluster.connect(database=check.database) as connection:
            there = _one(connection, query, values)
    except (OpsError, psycopg.Error) as error:
        return unknown(check.name, f"production cannot be asked: {explain(error)}")
    if here == there:
        return passed(check.name, f"both give {here!r}")
    return failed(check.name, f"the copy gives {here!r}, production {there!r}, rows up to {cutoff}")


def _one(connection: psycopg.Connection[tuple[Any, ...]], query: str, values: dict[str, Any]) -> Any:
    row = connection.execute(query, values).fetchone()  # pyright: ignore[reportArgumentType]
    return row[0] if row else None


def prove_structure(
    ctx: Context, rec: Recorder, cluster: Cluster, tools: Tools, copy: Instance, user: User | None
) -> list[Claim]:
    """Parts of `intact` that need the running copy: indexes against tables, and every row read."""
    options = cluster.config.validation
    role = cluster.config.sandbox.role
    where = [f"--host={copy.folder}", f"--username={role}", "--no-password"]
    claims: list[Claim] = []
    if options.amcheck:
        ctx.progress.begin("amcheck")
        with rec.phase("amcheck"):
            argv = [tools["pg_amcheck"], *where, "--all", "--heapallindexed", "--install-missing"]
            claims.append(_tool("amcheck", argv, rec, "every table and index is consistent"))
    if options.logical_read:
        ctx.progress.begin("read")
        with rec.phase("read"):
            argv = [tools["pg_dumpall"], *where, "--no-role-passwords", "--no-sync", "--file=/dev/null"]
            claims.append(_tool("logical_read", argv, rec, "every row was read"))
    return claims


def prove_checksums(rec: Recorder, tools: Tools, copy: Instance, user: User | None) -> Claim:
    """The part of `intact` that needs the copy at rest: every page's checksum. Call it after a clean stop."""
    with rec.phase("checksums"):
        argv = [tools["pg_checksums"], "--check", "-D", copy.data]
        try:
            run(argv, deadline=_DEEP_SECONDS, user=user, env=environment(user=user))
        except ProcessError as error:
            if "not enabled" in error.tail:
                return unknown("checksums", "the cluster has no data checksums")
            rec.find("page_corrupt", Severity.CRITICAL, "pages", error.tail)
            return failed("checksums", _last(error.tail))
    return passed("checksums", "every page's checksum holds")


def _tool(name: str, argv: list[Any], rec: Recorder, good: str) -> Claim:
    try:
        run(argv, deadline=_DEEP_SECONDS, env=environment())
    except ProcessError as error:
        rec.find(f"{name}_failed", Severity.CRITICAL, name, error.message)
        return failed(name, _last(error.tail) or error.message)
    return passed(name, good)


def conclude_intact(rec: Recorder, parts: list[Claim]) -> None:
    """Claim `intact` from its parts."""
    if not parts:
        return
    rec.details["intact"] = {part.name: part.verdict.value for part in parts}
    for verdict, make in (("FAILED", failed), ("UNKNOWN", unknown)):
        wrong = [part for part in parts if part.verdict == verdict]
        if wrong:
            rec.claim(make("intact", f"{wrong[0].name}: {wrong[0].reason}"))
            return
    rec.claim(passed("intact", "; ".join(part.reason for part in parts)))


def prove_writable(rec: Recorder, copy: Instance) -> None:
    """Claim `writable`: the promoted copy takes a transaction and a checkpoint."""
    import psycopg  # noqa: PLC0415

    try:
        with rec.phase("write"), copy.connect() as connection:
            connection.execute("create table public.ccobs_write_proof (id int primary key)")
            connection.execute("insert into public.ccobs_write_proof select generate_series(1, 100)")
            row = connection.execute("select count(*) from public.ccobs_write_proof").fetchone()
            connection.execute("drop table public.ccobs_write_proof")
            connection.execute("checkpoint")
    except psycopg.Error as error:
        rec.claim(failed("writable", f"the promoted copy takes no write: {explain(error)}"))
        return
    good = row is not None and row[0] == 100
    rec.claim(
        passed("writable", "promoted; a table written, read and dropped")
        if good
        else failed("writable", "what was written was not there when read")
    )


class _SeenCanaries:
    """The canaries that a copy holds, asked for in pieces."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], schema: str) -> None:
        from psycopg import sql  # noqa: PLC0415

        self._connection = connection
        self._between = sql.SQL("select seq from {} where seq between %s and %s").format(
            sql.Identifier(schema, "canary")
        )
        row = connection.execute(
            sql.SQL("select (select max(seq) from {}), (select max(seq) from {})").format(
                sql.Identifier(schema, "canary"), sql.Identifier(schema, "canary_floor")
            )
        ).fetchone()
        assert row is not None
        self.newest: int = row[0] or 0
        self.floor: int = row[1] or 0

    @classmethod
    def of(cls, connection: psycopg.Connection[tuple[Any, ...]], cluster: Cluster) -> _SeenCanaries | None:
        """Those of `cluster`'s copy; None if it was restored to before there was a canary table."""
        import psycopg  # noqa: PLC0415

        try:
            return cls(connection, cluster.config.canary.table_schema)
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return None

    def between(self, first: int, last: int) -> list[int]:
        """Sequence numbers from `first` to `last`, both inclusive."""
        return [row[0] for row in self._connection.execute(self._between, [first, last]).fetchall()]


def _canary_database(cluster: Cluster) -> str:
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    named = cluster.config.canary.database or conninfo_to_dict(cluster.config.dsn).get("dbname")
    return str(named or "postgres")


def _role(cluster: Cluster) -> str | None:
    """The role that production is asked as: the same search path and rights on both sides."""
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    named = conninfo_to_dict(cluster.config.dsn).get("user")
    return str(named) if named else None


def _claim(rec: Recorder, name: str) -> Claim | None:
    return next((claim for claim in rec.claims if claim.name == name), None)


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
