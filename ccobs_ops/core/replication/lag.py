"""How far the replica is behind, as an exercise: what the canaries of the last while say, against the promised RPO.

| claim | PASSED says | UNKNOWN when |
|---|---|---|
| `watched` | canaries were written on the clock and looked for until now | no agent ran, or the replica does not answer |
| `arriving` | no canary is missing in the replica for longer than the RPO | nobody could look |
| `lag` | 95 of 100 canaries arrived within the RPO, and none is known to have taken longer | too few are known |
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.errors import DamagedError, OpsError
from ccobs_ops.core.exercise import Exercise, Recorder, Severity, failed, passed, rfc3339, unknown
from ccobs_ops.core.folders import private, try_only_one
from ccobs_ops.core.replication.arrivals import Arrival, Arrivals, Lags, lags
from ccobs_ops.core.replication.canary import Canaries, target_of, watch_until
from ccobs_ops.core.units import format_duration, format_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from ccobs_ops.core.context import Context
    from ccobs_ops.inventory import Inventory
    from ccobs_ops.inventory_replication import ReplicationPair

SHOWN_POINTS = 120
_PATIENCE = 4
"""A canary is due every interval; so many intervals without one mean that nobody writes them."""
_PATIENCE_SECONDS = 15.0


def agent_lock(inventory: Inventory, name: str) -> Path:
    """The file that the one agent of pair `name` on this host holds."""
    return private(inventory.state / "replication" / name) / "agent.lock"


def measure(
    ctx: Context, name: str, *, window: timedelta | None = None, wait: timedelta | None = None
) -> Exercise:
    """What the canaries of the last `window` (default: the pair's) say about the pair `name`; capability `canary`.

    Where no agent runs on this host, one canary is sent and watched for here, for `wait` at most (default: RPO plus one
    interval, a minute at most). Raises LedgerError when the ledger fails; everything else becomes a verdict.
    """
    pair = ctx.inventory.replication[name]

    def body(rec: Recorder) -> str | None:
        since = rec.started_at - (window or pair.canary.window)
        with try_only_one(agent_lock(ctx.inventory, name)) as alone:
            if alone:
                limit = wait or min(pair.rpo + pair.canary.interval, timedelta(minutes=1))
                _send_one(ctx, rec, name, limit)
        return judge(ctx, rec, name, since=since, agent=not alone)

    return attempt(ctx, target_of(name), "canary", "arriving", body)


def look_back(ctx: Context, name: str) -> Exercise:
    """Like `measure`, but never sends anything: what the agent itself records when an RPO is broken or kept again."""
    window = ctx.inventory.replication[name].canary.window
    return attempt(
        ctx,
        target_of(name),
        "canary",
        "arriving",
        lambda rec: judge(ctx, rec, name, since=rec.started_at - window, agent=True),
    )


def _send_one(ctx: Context, rec: Recorder, name: str, limit: timedelta) -> None:
    """Send a canary and watch for it, where there is no agent to do so."""
    canaries = Canaries(ctx, name)
    canaries.reconcile()
    canaries.resume()
    ctx.progress.begin("canary")
    with rec.phase("send"):
        sent = canaries.send()
    canaries.watch(sent)
    told: list[str] = []

    def trouble(error: OpsError) -> None:
        if error.message not in told:
            told.append(error.message)
            ctx.progress.note(error.message)

    with rec.phase("watch"):
        became = watch_until(ctx, canaries, sent.seq, limit.total_seconds(), on_trouble=trouble)
    if became is None:
        what = told[0] if told else "the replica did not answer"
        rec.find("replica_unreachable", Severity.CRITICAL, name, what, "see whether its endpoint answers")
        ctx.ledger.beat(canaries.target, "watch", ctx.clock(), {"error": what})
    else:
        ctx.ledger.beat(canaries.target, "watch", ctx.clock(), {"seq": sent.seq})
    ctx.ledger.beat(canaries.target, "send", ctx.clock(), {"seq": sent.seq})


def judge(ctx: Context, rec: Recorder, name: str, *, since: datetime, agent: bool) -> str | None:
    """Fill `rec` with what the arrivals since then say; returns the reason, None where a claim has it."""
    pair = ctx.inventory.replication[name]
    target = target_of(name)
    book = Arrivals(ctx.ledger, target)
    waiting = book.waiting()
    series = book.since(since)
    series = [*(one for one in waiting if one.written_at < since), *series]
    now = ctx.clock()
    found = lags(series)
    _measure(rec, pair, series, found, now)
    _events(ctx, rec, target, since)
    watched = _watched(ctx, rec, pair, target, series, now, agent=agent)
    _arriving(rec, pair, series, now, watched=watched)
    _lag(rec, pair, found, watched=watched)
    if found.p50_seconds is None:
        return None
    return (
        f"{found.arrived} of {found.canaries} canaries arrived, half of them within "
        f"{format_seconds(found.p50_seconds)}, RPO {format_duration(pair.rpo)}"
    )


def _measure(
    rec: Recorder, pair: ReplicationPair, series: Sequence[Arrival], found: Lags, now: datetime
) -> None:
    rec.measurements |= {
        "canaries": float(found.canaries),
        "canaries_arrived": float(found.arrived),
        "canaries_waiting": float(found.waiting),
        "canaries_given_up": float(found.given_up),
        "canaries_blurred": float(found.blurred),
    }
    for name, value in (
        ("lag_p50_seconds", found.p50_seconds),
        ("lag_p95_seconds", found.p95_seconds),
        ("lag_max_seconds", found.max_seconds),
    ):
        if value is not None:
            rec.measurements[name] = value
    rec.details["rpo_seconds"] = pair.rpo.total_seconds()
    rec.details["series"] = [
        {
            "seq": one.seq,
            "written_at": rfc3339(one.written_at),
            "lag_seconds": one.lag_seconds,
            "at_least_seconds": None if one.lag_seconds is not None else one.least_seconds,
        }
        for one in series[-SHOWN_POINTS:]
    ]
    arrived = [one for one in series if one.seen_at is not None]
    if arrived:
        newest = max(one.written_at for one in arrived)
        rec.measurements["replica_age_seconds"] = max(0.0, (now - newest).total_seconds())


def _events(ctx: Context, rec: Recorder, target: str, since: datetime) -> None:
    """What happened to the replicator in that time is part of the finding: it explains a lag that is gone by now."""
    for event in ctx.ledger.events(target, "replicator_restarted", since, limit=5):
        rec.find(
            "replicator_restarted",
            Severity.WARNING,
            event.subject,
            f"the replicator was restarted at {rfc3339(event.at)}: {event.details.get('why', 'no reason given')}",
            "a restart hides a defect: see the replicator's log of that time",
        )
    for event in ctx.ledger.events(target, "canary_corrupt", since, limit=5):
        rec.find(
            "canary_corrupt",
            Severity.CRITICAL,
            event.subject,
            str(event.details.get("said", "the replica holds other bytes than were written")),
            "compare the pair with full hashes: --hash-sample 1",
        )


def _watched(
    ctx: Context,
    rec: Recorder,
    pair: ReplicationPair,
    target: str,
    series: Sequence[Arrival],
    now: datetime,
    *,
    agent: bool,
) -> bool:
    """Claim `watched`; returns whether the replica could be looked at just now."""
    patience = timedelta(seconds=max(_PATIENCE * pair.canary.interval.total_seconds(), _PATIENCE_SECONDS))
    problems: list[str] = []
    looked = True
    for component, what in (("send", "written"), ("watch", "looked for")):
        beat = ctx.ledger.heartbeat(target, component)
        if beat is None:
            problems.append(f"canaries were never {what}: no agent has run")
        elif now - beat.at > patience:
            problems.append(
                f"canaries were last {what} {format_seconds((now - beat.at).total_seconds())} ago"
            )
        elif told := beat.details.get("error"):
            problems.append(str(told))
        else:
            continue
        looked = looked and component != "watch"
    if not series:
        problems.append("no canary is on record for this time")
    if problems:
        rec.find(
            "canary_silent",
            Severity.CRITICAL,
            target,
            "; ".join(problems),
            f"see whether the agent runs: ccobs-ops replication agent {target.partition('/')[2]}",
        )
        rec.claim(unknown("watched", problems[0]))
    else:
        by = "the agent" if agent else "this exercise"
        rec.claim(passed("watched", f"{len(series)} canaries, written and looked for by {by} until now"))
    return looked


def _arriving(
    rec: Recorder, pair: ReplicationPair, series: Sequence[Arrival], now: datetime, *, watched: bool
) -> None:
    """Claim `arriving`: what is missing in the replica, and for how long that is proven."""
    rpo = pair.rpo.total_seconds()
    missing = [one for one in series if one.seen_at is None]
    arrived = [one.seq for one in series if one.seen_at is not None]
    late = [one for one in missing if one.least_seconds > rpo]
    corrupt = any(finding.code == "canary_corrupt" for finding in rec.findings)
    if late and (not arrived or max(arrived) < late[-1].seq or late[-1].waiting):
        told = (
            f"{len(late)} canaries are not in the replica, the oldest was written "
            f"{format_seconds((now - late[0].written_at).total_seconds())} ago; RPO {format_duration(pair.rpo)}"
        )
        rec.find(
            "rpo_breach",
            Severity.CRITICAL,
            late[0].key,
            told,
            "see whether the replicator runs; what is missing: ccobs-ops replication compare",
        )
        rec.claim(failed("arriving", told))
    elif corrupt:
        rec.claim(failed("arriving", "a canary arrived with other bytes than were written"))
    elif not arrived:
        rec.claim(unknown("arriving", "no canary of this time has arrived yet, and none is overdue"))
    elif not watched:
        rec.claim(unknown("arriving", "the replica could not be looked at"))
    else:
        newest = next(one for one in reversed(series) if one.seen_at is not None)
        age = format_seconds(max(0.0, (now - newest.written_at).total_seconds()))
        rec.claim(
            passed("arriving", f"the newest canary that arrived was written {age} ago, none is overdue")
        )


def _lag(rec: Recorder, pair: ReplicationPair, found: Lags, *, watched: bool) -> None:
    """Claim `lag`: 95 of 100 within the RPO."""
    rpo = pair.rpo.total_seconds()
    if found.p95_seconds is not None and found.p95_seconds <= rpo:
        longest = "" if found.max_seconds is None else f", {format_seconds(found.max_seconds)} at most"
        rec.claim(
            passed("lag", f"95 of 100 canaries arrive within {format_seconds(found.p95_seconds)}{longest}")
        )
    elif found.p95_seconds is not None:
        told = f"95 of 100 canaries arrive within {format_seconds(found.p95_seconds)}, RPO {format_duration(pair.rpo)}"
        rec.find("lag_over_rpo", Severity.CRITICAL, rec.target, told, "see the series in the details")
        rec.claim(failed("lag", told))
    elif found.max_seconds is not None and found.max_seconds > rpo:
        told = f"canaries were looked for in vain for up to {format_seconds(found.max_seconds)}"
        rec.find("lag_over_rpo", Severity.CRITICAL, rec.target, told, "see the series in the details")
        rec.claim(failed("lag", told))
    else:
        rec.claim(unknown("lag", f"{found.arrived} of {found.canaries} canaries arrived: too few to tell"))


__all__ = ["DamagedError", "agent_lock", "judge", "look_back", "measure"]
