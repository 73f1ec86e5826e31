"""Gather a report from the ledger: what stands in the inventory, what was found, and nothing that was not measured."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from ccobs_ops.core import incidents
from ccobs_ops.core.context import Context
from ccobs_ops.core.evidence import chain, verify
from ccobs_ops.core.evidence.chain import START, Head, Verified
from ccobs_ops.core.evidence.keys import PublicKey
from ccobs_ops.core.exercise import Exercise, Verdict, rfc3339
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.report import drills, incident_times, proofs, query
from ccobs_ops.core.report.forecasts import forecast
from ccobs_ops.core.report.model import Counts, Evidence, Known, Report, SelfTest
from ccobs_ops.core.status import look, proven_by, worst

MOST_INCIDENTS = 200
NEW_ROWS = 20_000
"""How many rows a report verifies by itself; more than that is for `evidence verify`."""


def gather(
    ctx: Context,
    *,
    since: timedelta,
    found: Verified | None = None,
    key: PublicKey | None = None,
    known: Callable[[Known], None] = lambda _: None,
) -> Report:
    """The report on the time from `since` ago until now; `found` is what a verification of the chain has just found.

    `known` is told what of it is known while the rest is gathered. All of it but the chain is of one moment.
    """
    evidence = evidence_of(ctx.ledger, found, key)
    with ctx.ledger.snapshot():
        return _gather(ctx, since, evidence, known)


def _gather(
    ctx: Context,
    since: timedelta,
    evidence: Evidence,
    known: Callable[[Known], None],
) -> Report:
    now = ctx.clock()
    start = now - since
    ledger = ctx.ledger
    wanted = proven_by(ctx.inventory)
    with ledger.reading() as connection:  # what takes longest to be drawn first
        recoverable = proofs.recoverable(connection, wanted, start, now)
    known(Known(start, now, calendars=recoverable))
    with ledger.reading() as connection:
        places = query.pairs(connection)
        oldest = query.oldest(connection)
        daily = {place: query.daily(connection, *place, start, now) for place in places}
        exercised = proofs.exercised(wanted, daily, start, now)
    known(Known(start, now, calendars=exercised))
    targets = look(ctx.inventory, ledger, now=now)
    ahead = {
        each.target: found_ahead
        for each in targets
        if (found_ahead := forecast(ledger, ctx.inventory, each.target, now))
    }
    listed = incidents.listed(ledger, since=start, limit=10_000)
    listed += [
        each for each in incidents.listed(ledger, open_only=True, limit=10_000) if each.detected_at < start
    ]
    with ledger.reading() as connection:
        series = proofs.series(connection, ctx.inventory, ahead, targets, places, start, now)
    known(Known(start, now, series=series))
    with ledger.reading() as connection:
        drilled, drills_left = drills.newest(connection, places, start, now)
        changes, changes_left = proofs.changes(connection, places, start, now)
        tested = query.of_targets(
            connection, [place for place in places if place[1] == "selftest"], limit=1, since=start, until=now
        )
    tallies = {place: query.tally(days) for place, days in daily.items()}
    events = [incident_times.event(each) for each in listed]
    return Report(
        environment=ctx.inventory.environment,
        generated_at=now,
        since=start,
        until=now,
        verdict=worst(each.verdict for each in targets),
        counts=Counts(
            sum(each.passed for each in tallies.values()),
            sum(each.failed for each in tallies.values()),
            sum(each.unknown for each in tallies.values()),
        ),
        targets=proofs.targets(ahead, targets, tallies, events),
        calendars=recoverable + exercised,
        series=series,
        drills=drilled,
        drills_left_out=drills_left,
        changes=changes,
        changes_left_out=changes_left,
        incidents=tuple(events[:MOST_INCIDENTS]),
        incidents_left_out=max(0, len(events) - MOST_INCIDENTS),
        times=incident_times.times(ledger, start),
        exposure=incident_times.exposures(
            ledger, ctx.inventory, [each.target for each in targets], max(start, oldest or now), now
        ),
        selftest=_selftest(tested[0]) if tested else None,
        evidence=evidence,
    )


def evidence_of(ledger: Ledger, found: Verified | None, key: PublicKey | None) -> Evidence:
    """How far the ledger can be trusted: what was just found, or what can be found out in a moment.

    Rows since the newest verification are verified now, if they are not too many; otherwise it is UNKNOWN, and says so.
    """
    earlier = ""
    with ledger.reading() as connection:
        head = chain.newest(connection)
    identifier = None if key is None else key.id
    if head == START and found is None:
        return Evidence(Verdict.UNKNOWN, "the ledger is empty", 0, head.link, 0, 0, "", identifier)
    if found is None:
        after = START
        if (known := verify.trusted(ledger)) is not None:
            after, proof = known
            earlier = f"positions 1 to {after.seq:,} by exercise {proof.id} at {rfc3339(proof.finished_at)}"
        if head.seq - after.seq > NEW_ROWS:
            return _unverified(head, after, earlier, identifier)
        found = chain.verify(ledger, after=after)
    verdict = Verdict.PASSED if found.holds else Verdict.FAILED
    reason = f"{found.rows:,} rows are as they were written, and follow from one another"
    if not found.holds:
        more = f", and {found.faults_found - 1:,} more" if found.faults_found > 1 else ""
        reason = found.faults[0].message + more
    return Evidence(
        verdict, reason, found.head.seq, found.head.link, found.rows, found.after.seq, earlier, identifier
    )


def _unverified(head: Head, after: Head, earlier: str, identifier: str | None) -> Evidence:
    reason = (
        f"{head.seq - after.seq:,} rows were not verified for this report: ccobs-ops evidence verify does it"
    )
    return Evidence(Verdict.UNKNOWN, reason, head.seq, head.link, 0, after.seq, earlier, identifier)


def _selftest(exercise: Exercise) -> SelfTest:
    return SelfTest(
        exercise.id, exercise.finished_at, exercise.verdict, exercise.reason, dict(exercise.measurements)
    )
