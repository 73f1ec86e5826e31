"""What a comparison comes to: counts of each kind, the first of them named, claims, measurements."""

from __future__ import annotations

from dataclasses import dataclass, field

from ccobs_ops.core.exercise import Recorder, Severity, failed, passed, unknown
from ccobs_ops.core.replication.difference import HARMLESS, REPAIRABLE, Difference, Kind
from ccobs_ops.core.replication.sample import undetected_ratio
from ccobs_ops.core.units import format_bytes

NAMED = 10
"""Differences of each kind that are named one by one; all of them are in the file of differences."""
_LOST = (Kind.MISSING, Kind.STALE_VERSION, Kind.DELETE_MARKER_UNREPLICATED)
_WRONG = (Kind.SIZE_MISMATCH, Kind.CONTENT_MISMATCH)
_HINTS = {
    Kind.ONLY_IN_REPLICA: "see who writes to the replica; nothing here ever deletes there",
    Kind.DELETE_MARKER_UNREPLICATED: "see whether the replication rule carries delete markers",
    Kind.UNVERIFIABLE: "compare with --hash-sample 1, or upload with native checksums",
}


@dataclass(slots=True)
class Tally:
    """Counts while differences stream by. `read` objects were read in full; `resolved` suspects were none any more."""

    source_objects: int
    replica_objects: int
    source: str
    replica: str
    counts: dict[str, int] = field(default_factory=lambda: {kind.value: 0 for kind in Kind})
    bytes: dict[str, int] = field(default_factory=lambda: {kind.value: 0 for kind in Kind})
    first: list[Difference] = field(default_factory=list)
    read: int = 0
    resolved: int = 0

    def add(self, found: Difference) -> None:
        """Count one more difference."""
        kind = found.kind.value
        self.counts[kind] += 1
        self.bytes[kind] += found.bytes
        if found.kind not in HARMLESS and self.counts[kind] <= NAMED:
            self.first.append(found)

    def of(self, *kinds: Kind) -> int:
        """How many differences of `kinds` there are."""
        return sum(self.counts[kind] for kind in kinds)

    def told(self, *kinds: Kind) -> str:
        """`3 missing (1.2 MiB), 1 stale_version (812 B)`."""
        return ", ".join(
            f"{self.counts[kind]:,} {kind.value} ({format_bytes(self.bytes[kind])})"
            for kind in kinds
            if self.counts[kind]
        )

    def summary(self) -> str:
        """One sentence for an exercise that passed."""
        harmless = self.told(*HARMLESS_ORDER)
        return (
            f"{self.source_objects:,} objects are the same on both sides{f'; {harmless}' if harmless else ''}"
        )

    def account(self, rec: Recorder, *, sample_rate: float) -> None:
        """Claims, measurements and findings into `rec`."""
        bound = undetected_ratio(self.read)
        rec.measurements |= {
            "source_objects": float(self.source_objects),
            "replica_objects": float(self.replica_objects),
            **{kind: float(count) for kind, count in self.counts.items()},
            **{f"{kind}_bytes": float(size) for kind, size in self.bytes.items() if self.counts[kind]},
            "resolved": float(self.resolved),
            "read_in_full": float(self.read),
            **({"undetected_bound_ratio": bound} if self.read else {}),
        }
        self._claim(rec, bound, sample_rate)
        for each in self.first:
            hint = _HINTS.get(each.kind, "")
            if each.kind in REPAIRABLE:
                hint = f"ccobs-ops replication repair {rec.target.partition('/')[2]}"
            severity = Severity.WARNING if each.kind is Kind.UNVERIFIABLE else Severity.CRITICAL
            named = f" (version {each.version_id})" if each.version_id else ""
            rec.find(each.kind.value, severity, each.key + named, each.why, hint)
        for kind in Kind:
            if kind not in HARMLESS and self.counts[kind] > NAMED:
                more = self.counts[kind] - NAMED
                message = f"and {more:,} more, {format_bytes(self.bytes[kind])} in all"
                hint = f"all of them are in {rec.details.get('differences', 'the differences file')}"
                rec.find(kind.value, Severity.CRITICAL, f"{more:,} more", message, hint)

    def _claim(self, rec: Recorder, bound: float, sample_rate: float) -> None:
        if not self.source_objects and not self.of(*Kind):
            rec.claim(unknown("complete", f"there is no object in {self.source}: nothing was compared"))
            return
        lost = self.told(*_LOST)
        whole = f"every object of {self.source} is in {self.replica}"
        waiting = self.told(*HARMLESS_ORDER)
        rec.claim(
            failed("complete", f"{lost} of {self.source_objects:,} objects")
            if lost
            else passed("complete", f"{whole}{f', but for {waiting}' if waiting else ''}")
        )
        agree = "sizes and ETags agree"
        if self.read:
            agree += f"; {self.read:,} objects read in full: at most {bound:.2%} of all differ unseen (95 %)"
        elif sample_rate <= 0:
            agree += "; no object was read in full (the sample is 0)"
        else:
            agree += "; the sample drew no object to be read in full"
        if wrong := self.told(*_WRONG):
            rec.claim(failed("content", wrong))
        elif open_ := self.told(Kind.UNVERIFIABLE):
            rec.claim(unknown("content", open_))
        else:
            rec.claim(passed("content", agree))
        extra = self.told(Kind.ONLY_IN_REPLICA)
        rec.claim(
            failed("no_extra", extra)
            if extra
            else passed("no_extra", "the replica has no object that the source does not have")
        )


HARMLESS_ORDER = tuple(kind for kind in Kind if kind in HARMLESS)
