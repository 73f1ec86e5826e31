"""The recovery window: what an archive can bring back, as the archive itself proves it.

A span is a run of time without a hole: it begins where the oldest backup of the run is consistent and ends with the last
commit before the first missing segment, or with the newest recoverable commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ccobs_ops.core.archive import critical
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.exercise import Finding, Severity, rfc3339
from ccobs_ops.core.postgres.archive import Archive, Segment, WalListing, chain
from ccobs_ops.core.postgres.layout import Entry
from ccobs_ops.core.postgres.server import Tools
from ccobs_ops.core.postgres.wal import History, only, ranges, segment_name, segment_timeline
from ccobs_ops.core.postgres.waldump import Commit, commits_of

_LOOK_BACK = 64
ToolsFor = Callable[[int], Tools]


@dataclass(frozen=True, slots=True)
class Span:
    """A run of time to any moment of which the cluster can be restored.

    `backups` are the ids that begin in it, oldest first; `first` and `last` the segment numbers that it rests on; `end`
    is the last commit in it (None if it holds none).
    """

    start: datetime
    end: Commit | None
    backups: tuple[str, ...]
    first: int
    last: int

    def holds(self, moment: datetime) -> bool:
        """Whether `moment` lies between the span's first consistent point and its last commit."""
        return self.end is not None and self.start <= moment <= self.end.at


@dataclass(frozen=True, slots=True)
class View:
    """An archive at one moment: what is usable, along one line of timelines, and what is wrong with the rest."""

    entries: tuple[Entry, ...]
    usable: tuple[Entry, ...]
    listing: WalListing
    history: History
    segment_size: int
    spans: tuple[Span, ...]
    newest: Commit | None
    findings: tuple[Finding, ...]

    def name(self, number: int) -> str:
        """The segment's name on the newest timeline that may hold it, for messages."""
        candidates = self.history.timelines_of(number, self.segment_size)
        return segment_name(candidates[0] if candidates else self.history.timeline, number, self.segment_size)

    def pick(self, number: int) -> Segment | None:
        """The file that PostgreSQL would take for segment `number`; None if there is none."""
        return _pick(self.listing, self.history, number, self.segment_size)

    def describe(self) -> str:
        """The window in words, for messages."""
        known = [
            f"{rfc3339(span.start)} to {rfc3339(span.end.at)}"
            for span in self.spans
            if span.end is not None and span.start <= span.end.at
        ]
        if not known and self.spans:
            return f"backup {self.spans[-1].backups[-1]} as it was taken, and no commit after it yet"
        return "; ".join(known) if known else "nothing"


def look(ctx: Context, archive: Archive, tools_for: ToolsFor, *, timeline: int | None = None) -> View:
    """Read the archive's catalogue and listing and work out its recovery window along `timeline` (default: the newest).

    Raises UnknownError when the store cannot be asked, OpsError when there is no backup at all.
    """
    view = _look(archive, tools_for, timeline)
    if any(finding.code == "wal_gap" for finding in view.findings):
        ctx.sleep(1.0)  # a segment may have been finished between two pages of the listing
        view = _look(archive, tools_for, timeline)
    return view


def look_settled(ctx: Context, archive: Archive, tools_for: ToolsFor, interval: timedelta) -> View:
    """`look`, once a commit after the newest backup has reached the archive.

    Right after a backup that takes a moment: `interval` is how often the running segment is shipped. What has not come by
    then is not waited for: the view says what is there.
    """
    until = ctx.timer() + 3 * interval.total_seconds() + 5.0
    while True:
        view = look(ctx, archive, tools_for)
        newest = view.usable[-1] if view.usable else None
        if newest is None or (ctx.clock() - newest.stopped_at).total_seconds() > 60 or ctx.timer() >= until:
            return view
        end = view.spans[-1].end if view.spans else None
        if newest.id not in (view.spans[-1].backups if view.spans else ()) or (
            end and end.at >= newest.stopped_at
        ):
            return view
        ctx.sleep(0.25)


def _look(archive: Archive, tools_for: ToolsFor, timeline: int | None) -> View:
    entries, findings = archive.catalogue()
    listing = archive.wal()
    findings = [*findings, *listing.findings]
    if not entries:
        damaged = next((f for f in findings if f.code == "catalogue_corrupt"), None)
        if damaged is not None:
            raise DamagedError(damaged.message, code=damaged.code, subject=damaged.subject, hint=damaged.hint)
        raise DamagedError(
            f"there is no backup below {archive.locate('')}",
            code="backup_missing",
            subject=archive.locate("catalogue/"),
            hint="take one: ccobs-ops postgres backup NAME",
        )
    size = entries[-1].segment_size
    chosen = timeline or max([*listing.timelines, entries[-1].timeline])
    try:
        history = archive.history(listing, chosen)
    except DamagedError as error:
        findings.append(critical(error))
        history = only(chosen)
    usable = restorable(archive, entries, history, findings)
    spans = _spans(archive, listing, history, usable, size, findings, tools_for)
    newest = next((span.end for span in reversed(spans) if span.end is not None), None)
    return View(tuple(entries), tuple(usable), listing, history, size, tuple(spans), newest, tuple(findings))


def restorable(
    archive: Archive, entries: list[Entry], history: History, findings: list[Finding]
) -> list[Entry]:
    """The backups whose every object is there as it was stored, whose chain is whole, and which lie on `history`.

    Adds a finding for each object and chain that is not.
    """
    broken: set[str] = set()
    for entry in entries:
        wrong = archive.check_parts(entry)
        findings.extend(wrong)
        if wrong:
            broken.add(entry.id)
    usable: list[Entry] = []
    for entry in entries:
        try:
            links = chain(entries, entry)
        except DamagedError as error:
            findings.append(critical(error))
            continue
        if any(link.id in broken for link in links):
            if entry.id not in broken:
                first = next(link.id for link in links if link.id in broken)
                findings.append(
                    Finding(
                        "backup_chain_broken",
                        Severity.CRITICAL,
                        entry.id,
                        f"incremental backup {entry.id} rests on {first}, which is damaged",
                        "take a new full backup",
                    )
                )
            continue
        if history.holds(entry.timeline, entry.stop_lsn):
            usable.append(entry)
    return usable


def _pick(listing: WalListing, history: History, number: int, size: int) -> Segment | None:
    for timeline in history.timelines_of(number, size):
        segment = listing.segments.get(segment_name(timeline, number, size))
        if segment is not None:
            return segment
    return None


def _spans(
    archive: Archive,
    listing: WalListing,
    history: History,
    usable: list[Entry],
    size: int,
    findings: list[Finding],
    tools_for: ToolsFor,
) -> list[Span]:
    if not usable:
        return []
    first = min(entry.start_lsn // size for entry in usable)
    last = _last_number(listing, history, size)
    there = [n for n in range(first, last + 1) if _whole(listing, history, n, size, last)]
    _name_gaps(listing, history, size, first, last, there, findings)
    spans: list[Span] = []
    for low, high in ranges(there):
        members = [e for e in usable if low <= e.start_lsn // size and (e.stop_lsn - 1) // size <= high]
        if members:
            tools = tools_for(members[-1].major)
            end = _last_commit(archive, listing, history, size, low, high, tools)
            if end is not None and end.lsn < members[0].stop_lsn:
                end = None
            spans.append(Span(members[0].stopped_at, end, tuple(e.id for e in members), low, high))
    return spans


def _last_number(listing: WalListing, history: History, size: int) -> int:
    numbers = [
        number
        for stretch in history.stretches
        if (number := listing.last_number(stretch.timeline, size)) is not None
        and (number * size < stretch.end)
    ]
    return max(numbers, default=-1)


def _name_gaps(
    listing: WalListing,
    history: History,
    size: int,
    first: int,
    last: int,
    there: list[int],
    findings: list[Finding],
) -> None:
    present = set(there)
    damaged = {finding.subject for finding in findings if finding.code in ("wal_corrupt", "wal_ambiguous")}
    for low, high in ranges([n for n in range(first, last + 1) if n not in present]):
        names = [_expected(history, n, size) for n in (low, high)]
        if low == high and names[0] in damaged:
            continue
        run = names[0] if low == high else f"{names[0]} to {names[1]} ({high - low + 1} segments)"
        begun = _pick(listing, history, low, size)
        what = "missing from the archive"
        if begun is not None and low == high:
            what = "in the archive only as far as it was once written"
        elif begun is not None:
            what += " (the first is there as far as it was once written)"
        findings.append(
            Finding(
                "wal_gap",
                Severity.CRITICAL,
                names[0],
                f"segment{'' if low == high else 's'} {run} {'is' if low == high else 'are'} {what}",
                "bring the object back from its other region or an older version, or the file from the server's pg_wal "
                "or the agent's spool; else take a new backup now",
            )
        )


def _whole(listing: WalListing, history: History, number: int, size: int, last: int) -> bool:
    """Whether replay gets past segment `number`, or, for the last one, into it."""
    segment = _pick(listing, history, number, size)
    if segment is None:
        return False
    return not segment.partial or number == last or not _must_be_whole(history, segment, number, size)


def _must_be_whole(history: History, segment: Segment, number: int, size: int) -> bool:
    """Whether WAL goes on past this segment on its own timeline (else it ends inside, at a promotion)."""
    end = history.end_of(segment_timeline(segment.name))
    return end is None or end >= (number + 1) * size


def _expected(history: History, number: int, size: int) -> str:
    candidates = history.timelines_of(number, size)
    return segment_name(candidates[-1] if candidates else history.timeline, number, size)


def _last_commit(
    archive: Archive, listing: WalListing, history: History, size: int, low: int, high: int, tools: Tools
) -> Commit | None:
    for number in range(high, max(low, high - _LOOK_BACK) - 1, -1):
        segment = _pick(listing, history, number, size)
        if segment is None:
            return None
        if (commits := _readable_commits(archive, tools, segment, size)) and (
            within := [c for c in commits if history.holds(c.timeline, c.lsn)]
        ):
            return within[-1]
    return None


def _readable_commits(archive: Archive, tools: Tools, segment: Segment, size: int) -> list[Commit]:
    for attempt in (1, 2):
        try:
            return commits_of(archive, tools, segment, size)
        except DamagedError as error:
            if attempt == 1 and segment.partial and error.code == "object_missing":
                finished = [
                    s for s in archive.wal().segments.values() if s.name == segment.name and not s.partial
                ]
                if finished:  # it was finished since we listed
                    segment = finished[0]
                    continue
            raise
    return []


def usable_for(view: View, entries: Iterable[Entry], number: int) -> list[Entry]:
    """Backups from which replay reaches segment `number` without a hole."""
    span = next((s for s in view.spans if s.first <= number <= s.last), None)
    if span is None:
        return []
    return [e for e in entries if e.id in span.backups and e.start_lsn // view.segment_size <= number]
