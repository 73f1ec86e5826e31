"""The exercise `window`: what the archive can bring back right now, and every hole in it by name."""

from __future__ import annotations

from ccobs_ops.core.archive import critical
from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError, UnknownError
from ccobs_ops.core.exercise import Exercise, Recorder, Severity, failed, passed, rfc3339, unknown
from ccobs_ops.core.postgres.archive import Archive
from ccobs_ops.core.postgres.server import Cluster
from ccobs_ops.core.postgres.view import View, look_settled
from ccobs_ops.core.postgres.wal import format_lsn, segment_number
from ccobs_ops.core.storage import in_order
from ccobs_ops.core.units import format_seconds

_WAL_CODES = frozenset(
    {"wal_gap", "wal_corrupt", "wal_ambiguous", "timeline_history_missing", "timeline_history_corrupt"}
)


def examine(ctx: Context, name: str, *, deep: bool = False, store: str | None = None) -> Exercise:
    """Work out the recovery window of cluster `name` from its archive, or from the copy of it in `store`.

    Claims `no_wal_gap`, `backups_intact`, `fresh` (`objectives.backup_age`) and `rpo` (`objectives.rpo`, from the newest
    recoverable commit). Holes show in the listing already; `deep` also reads every object and checks it. Raises UsageError
    for an unknown cluster or store.
    """
    cluster = Cluster(ctx.inventory, name)
    archive = Archive(cluster.store(store), cluster.prefix)
    return attempt(
        ctx,
        cluster.target,
        "window",
        "no_wal_gap",
        lambda rec: _examine(ctx, rec, cluster, archive, deep=deep),
    )


def _examine(ctx: Context, rec: Recorder, cluster: Cluster, archive: Archive, *, deep: bool) -> str | None:
    with rec.phase("list"):
        view = look_settled(ctx, archive, cluster.tools, cluster.config.archive.partial_interval)
    rec.findings.extend(view.findings)
    if deep:
        with rec.phase("read") as meter:
            meter.add(_read_all(ctx, rec, archive, view))
    _whole(rec, view)
    _intact(rec, view)
    _fresh(ctx, rec, cluster, view)
    _rpo(ctx, rec, cluster, view)
    silent_canary(ctx, rec, cluster)
    _measure(rec, view)
    return f"can be restored: {view.describe()}"


def _whole(rec: Recorder, view: View) -> None:
    wrong = [f for f in rec.findings if f.code in _WAL_CODES]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        rec.claim(failed("no_wal_gap", wrong[0].message + more))
    elif not view.spans:
        rec.claim(unknown("no_wal_gap", "no usable backup, so there is no WAL that it would need"))
    else:
        span = view.spans[0]
        rec.claim(
            passed(
                "no_wal_gap",
                f"{span.last - span.first + 1} segments without a hole, {view.name(span.first)} to {view.name(span.last)}",
            )
        )


def _intact(rec: Recorder, view: View) -> None:
    codes = ("backup", "manifest", "catalogue")
    wrong = [f for f in rec.findings if f.code.startswith(codes)]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        rec.claim(failed("backups_intact", wrong[0].message + more))
    else:
        parts = sum(len(entry.parts) + 1 for entry in view.entries)
        rec.claim(
            passed("backups_intact", f"{len(view.entries)} backups, all {parts} objects as they were stored")
        )


def _fresh(ctx: Context, rec: Recorder, cluster: Cluster, view: View) -> None:
    limit = cluster.config.objectives.backup_age.total_seconds()
    if not view.usable:
        rec.claim(failed("fresh", "there is no usable backup"))
        return
    newest = max(view.usable, key=lambda e: e.stopped_at)
    age = (ctx.clock() - newest.stopped_at).total_seconds()
    rec.measurements["backup_age_seconds"] = age
    told = f"newest usable backup {newest.id} is {format_seconds(age)} old, promised at most {format_seconds(limit)}"
    rec.claim(passed("fresh", told) if age <= limit else failed("fresh", told))


def _rpo(ctx: Context, rec: Recorder, cluster: Cluster, view: View) -> None:
    limit = cluster.config.objectives.rpo.total_seconds()
    if view.newest is None or not view.spans or view.spans[-1].end is None:
        rec.claim(failed("rpo", "the archive holds no commit that can be recovered"))
        return
    newest = view.spans[-1].end
    age = max(0.0, (rec.started_at - newest.at).total_seconds())
    lost = 0.0 if age > limit and _nothing_since(cluster, newest.at) else age
    rec.measurements |= {"newest_commit_age_seconds": age, "rpo_seconds": lost}
    rec.details["newest_commit"] = {
        "at": rfc3339(newest.at),
        "lsn": format_lsn(newest.lsn),
        "timeline": newest.timeline,
    }
    told = f"newest recoverable commit {rfc3339(newest.at)}: {format_seconds(lost)} would be lost now"
    if lost <= limit:
        rec.claim(passed("rpo", f"{told}, promised at most {format_seconds(limit)}"))
        return
    rec.claim(failed("rpo", f"{told}, promised at most {format_seconds(limit)}"))
    last = view.name(view.spans[-1].last)
    rec.find(
        "archive_behind",
        Severity.CRITICAL,
        last,
        f"nothing newer than {rfc3339(newest.at)} has reached the archive; segment {last} is its last",
        f"see whether the agent runs and what it says: ccobs-ops postgres agent {cluster.name}",
    )


def _nothing_since(cluster: Cluster, at: object) -> bool:
    """Whether production itself has committed nothing after `at`: an idle database is not behind."""
    import psycopg  # noqa: PLC0415

    try:
        with cluster.connect() as connection:
            row = connection.execute("select timestamp from pg_last_committed_xact()").fetchone()
    except (UnknownError, psycopg.Error):
        return False
    return row is not None and row[0] is not None and row[0] <= at


def silent_canary(ctx: Context, rec: Recorder, cluster: Cluster) -> bool:
    """Add a finding when no canary was recorded lately; returns whether that is so."""
    interval = cluster.config.canary.interval.total_seconds()
    last = ctx.ledger.last_canary(cluster.target)
    age = (ctx.clock() - last.committed_at).total_seconds() if last is not None else None
    if age is not None and age <= max(15 * interval, 15.0):
        return False
    said = "no canary was ever recorded" if age is None else f"the last canary is {format_seconds(age)} old"
    rec.find(
        "canary_silent",
        Severity.CRITICAL,
        cluster.target,
        f"{said}, one is due every {format_seconds(interval)}: what a restore loses cannot be measured",
        f"see whether the agent runs and what it says: ccobs-ops postgres agent {cluster.name}",
    )
    return True


def _read_all(ctx: Context, rec: Recorder, archive: Archive, view: View) -> int:
    """Read and check every object of the archive; returns the bytes that were unpacked."""
    jobs: list[tuple[str, str | None, int, str, str]] = [
        (archive.key(part.key), part.md5, part.raw_bytes, "backup_part_corrupt", entry.id)
        for entry in view.entries
        for part in (entry.manifest, *entry.parts)
    ]
    jobs += [
        (s.key, s.md5, view.segment_size, "wal_corrupt", s.name)
        for s in sorted(
            view.listing.segments.values(), key=lambda s: segment_number(s.name, view.segment_size)
        )
    ]
    known = {f.subject for f in rec.findings}
    ctx.progress.begin("read")

    def check(job: tuple[str, str | None, int, str, str]) -> tuple[int, DamagedError | None]:
        key, md5, limit, code, subject = job
        try:
            return len(archive.read(key, md5=md5, limit=limit)), None
        except DamagedError as error:
            if md5 is None and error.code == "object_missing":
                return 0, None  # a running segment that was finished meanwhile
            return 0, DamagedError(error.message, code=code, subject=subject, hint=error.hint)

    total = 0
    workers = archive.store.concurrency
    for count, error in in_order(iter(jobs), check, workers=workers, ahead=workers):
        total += count
        ctx.progress.advance(count)
        if error is not None and error.subject not in known:
            rec.findings.append(critical(error))
    return total


def _measure(rec: Recorder, view: View) -> None:
    spans = [span for span in view.spans if span.end is not None]
    seconds = sum((span.end.at - span.start).total_seconds() for span in spans if span.end is not None)
    rec.measurements |= {
        "window_seconds": max(seconds, 0.0),
        "backups": float(len(view.usable)),
        "segments": float(len(view.listing.segments)),
        "stored_bytes": float(sum(entry.stored_bytes for entry in view.entries)),
    }
    rec.details |= {
        "timeline": view.history.timeline,
        "spans": [
            {
                "start": rfc3339(span.start),
                "end": rfc3339(span.end.at) if span.end else None,
                "backups": list(span.backups),
                "first_segment": view.name(span.first),
                "last_segment": view.name(span.last),
            }
            for span in view.spans
        ],
    }
