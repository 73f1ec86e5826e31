"""From "where to" to "what to fetch": the backup, the WAL and PostgreSQL's recovery settings for a recovery target.

PostgreSQL stops at `recovery_target_time` on the first commit *after* it, so a time that no later commit follows would
never be reached ("recovery ended before configured recovery target was reached"). The newest commit's own time is
therefore asked for by its LSN, and a later time is refused with the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ccobs_ops.core.errors import DamagedError, OpsError, UsageError
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.postgres.archive import Archive, Segment, chain
from ccobs_ops.core.postgres.layout import Entry
from ccobs_ops.core.postgres.target import RecoveryTarget
from ccobs_ops.core.postgres.view import Span, View
from ccobs_ops.core.postgres.wal import format_lsn

if TYPE_CHECKING:
    from ccobs_ops.core.ledger import Ledger

_CANARY_HORIZON = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class WalFile:
    """One file that recovery will ask for: its name and where it lies in the store. `md5` None: a running segment."""

    name: str
    key: str
    md5: str | None
    history: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a restore needs, in order. `chain` is the full backup first; `settings` are PostgreSQL's own names."""

    target: RecoveryTarget
    chain: tuple[Entry, ...]
    files: tuple[WalFile, ...]
    settings: dict[str, str]
    timeline: int
    segment_size: int
    goal: str

    @property
    def entry(self) -> Entry:
        """The backup that recovery starts from."""
        return self.chain[-1]

    @property
    def raw_bytes(self) -> int:
        """Bytes that the backups take on disk once unpacked."""
        return sum(entry.raw_bytes for entry in self.chain)


def bound(ledger: Ledger, name: str, view: View, target: RecoveryTarget) -> int | None:
    """An LSN by which replay to `target` has certainly stopped; None if that is not known, and all WAL may be needed.

    For a time it is the end of the first canary of target `name` that was committed after it: PostgreSQL stops at the
    first commit later than the target time, which is this one or one before it.
    """
    if target.lsn is not None:
        return target.lsn
    if target.at is None:
        return None
    later = target.at + timedelta(microseconds=1)
    for canary in ledger.canaries(name, after=later, before=later + _CANARY_HORIZON):
        if not canary.reconciled and view.history.holds(canary.timeline, canary.lsn_high):
            return canary.lsn_high
    return None


def plan(archive: Archive, view: View, target: RecoveryTarget, *, stops_by: int | None = None) -> Plan:
    """How to reach `target` with what `view` shows. WAL beyond `stops_by` (see `bound`) is not fetched.

    Raises UsageError when the target is no single one, DamagedError when nothing intact is left to restore from, and
    OpsError with the window when the target lies outside it.
    """
    if (
        sum((target.at is not None, target.lsn is not None, target.before_xid is not None, target.latest))
        != 1
    ):
        raise UsageError("one recovery target is needed: a time, an LSN, a transaction id, or the latest")
    if not view.usable or not view.spans:
        first = view.findings[0] if view.findings else None
        raise DamagedError(
            f"no backup can be restored{f': {first.message}' if first else ''}",
            code=first.code if first else "backup_missing",
            subject=first.subject if first else archive.locate(""),
            hint=first.hint if first else "take a backup",
        )
    if target.at is not None:
        span, entry, settings, goal = _for_time(view, target.at)
    elif target.lsn is not None:
        span, entry, settings, goal = _for_lsn(view, target.lsn)
    elif target.before_xid is not None:
        span, entry, settings, goal = _for_xid(view, target.before_xid)
    else:
        span = view.spans[-1]
        entry, settings, goal = _newest_of(view, span), {}, "the end of the archive"
    settings |= {"recovery_target_timeline": str(view.history.timeline)}
    return Plan(
        target,
        tuple(chain(view.entries, entry)),
        tuple(_files(view, entry, span, stops_by)),
        settings,
        view.history.timeline,
        view.segment_size,
        goal,
    )


def _for_time(view: View, at: datetime) -> tuple[Span, Entry, dict[str, str], str]:
    span = next((s for s in reversed(view.spans) if s.holds(at)), None)
    if span is None or span.end is None:
        raise _outside(view, f"{rfc3339(at)} lies outside the recovery window")
    entry = max((e for e in _of(view, span) if e.stopped_at <= at), key=lambda e: (e.stopped_at, e.id))
    if at == span.end.at:
        settings = {"recovery_target_lsn": format_lsn(span.end.lsn), "recovery_target_inclusive": "on"}
    else:
        settings = {
            "recovery_target_time": at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00"),
            "recovery_target_inclusive": "on",
        }
    return span, entry, settings, rfc3339(at)


def _for_lsn(view: View, lsn: int) -> tuple[Span, Entry, dict[str, str], str]:
    size = view.segment_size
    for span in reversed(view.spans):
        fitting = [e for e in _of(view, span) if e.stop_lsn <= lsn]
        if fitting and lsn < (span.last + 1) * size:
            settings = {"recovery_target_lsn": format_lsn(lsn), "recovery_target_inclusive": "on"}
            return span, max(fitting, key=lambda e: (e.stopped_at, e.id)), settings, f"LSN {format_lsn(lsn)}"
    raise _outside(view, f"LSN {format_lsn(lsn)} lies outside what the archive holds")


def _for_xid(view: View, xid: int) -> tuple[Span, Entry, dict[str, str], str]:
    for span in reversed(view.spans):
        fitting = [e for e in _of(view, span) if _wide(xid, e.stop_xmax) >= e.stop_xmax]
        if fitting:
            settings = {"recovery_target_xid": str(xid & 0xFFFFFFFF), "recovery_target_inclusive": "off"}
            return (
                span,
                max(fitting, key=lambda e: (e.stopped_at, e.id)),
                settings,
                f"before transaction {xid}",
            )
    raise _outside(view, f"transaction {xid} committed before the oldest backup")


def _wide(xid: int, near: int) -> int:
    """A 32-bit transaction id as the 64-bit one nearest to `near`; a 64-bit one as it is."""
    if xid > 0xFFFFFFFF:
        return xid
    candidates = [(near & ~0xFFFFFFFF) + xid + shift for shift in (-(1 << 32), 0, 1 << 32)]
    return min((value for value in candidates if value >= 0), key=lambda value: abs(value - near))


def _of(view: View, span: Span) -> list[Entry]:
    return [entry for entry in view.usable if entry.id in span.backups]


def _newest_of(view: View, span: Span) -> Entry:
    return max(_of(view, span), key=lambda e: (e.stopped_at, e.id))


def _files(view: View, entry: Entry, span: Span, stops_by: int | None) -> list[WalFile]:
    """History file first, then every segment from the backup's start to where replay ends, as PostgreSQL names it."""
    files: list[WalFile] = []
    for stretch in view.history.stretches[1:]:
        key = view.listing.histories.get(stretch.timeline)
        if key is not None:
            files.append(WalFile(f"{stretch.timeline:08X}.history", key, None, history=True))
    last = span.last if stops_by is None else min(span.last, stops_by // view.segment_size + 1)
    for number in range(entry.start_lsn // view.segment_size, last + 1):
        segment: Segment | None = view.pick(number)
        if segment is not None:
            files.append(WalFile(segment.name, segment.key, segment.md5))
    return files


def _outside(view: View, message: str) -> OpsError:
    return OpsError(message, hint=f"what can be restored: {view.describe()}; --latest takes the newest")
