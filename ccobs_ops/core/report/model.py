"""What a report says, as frozen dataclasses; `to_json` is its contract (docs/json.md). Moments are aware, in UTC."""

from __future__ import annotations

from dataclasses import asdict, dataclass, is_dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any

from ccobs_ops.core.exercise import Verdict, rfc3339

VERSION = 1


@dataclass(frozen=True, slots=True)
class Counts:
    """How many exercises ended with each verdict in the report's time."""

    passed: int = 0
    failed: int = 0
    unknown: int = 0

    @property
    def all(self) -> int:
        """Their sum."""
        return self.passed + self.failed + self.unknown


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where the recovery time is heading, by the ledger's phases, and when the promise breaks if nothing changes."""

    rto_seconds: float
    low_seconds: float
    high_seconds: float
    breaches_at: datetime | None
    basis: str


@dataclass(frozen=True, slots=True)
class Capability:
    """One proof of a target: where it stands, and how often it was exercised in the report's time."""

    capability: str
    verdict: Verdict
    reason: str
    proof_age_seconds: float | None
    counts: Counts
    exercise: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """One target at a glance. A number that was never measured is None, and is shown as such."""

    target: str
    verdict: Verdict
    reason: str
    proof_age_seconds: float | None
    rto_seconds: float | None
    rto_objective_seconds: float | None
    rpo_seconds: float | None
    rpo_objective_seconds: float | None
    open_incidents: int
    forecast: Forecast | None
    capabilities: tuple[Capability, ...]


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a calendar: the best that was proven of it, or None where nobody tried."""

    day: date
    verdict: Verdict | None
    exercises: int
    exercise: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Calendar:
    """The days of a target. `kind` is `recoverable` (days that a restore went back to) or `exercised` (days of exercises)."""

    target: str
    capability: str
    kind: str
    days: tuple[Day, ...]

    def of(self, verdict: Verdict | None) -> int:
        """How many days have that verdict."""
        return sum(1 for each in self.days if each.verdict == verdict)


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement; `value` is None where the exercise ended without it."""

    at: datetime
    value: float | None
    verdict: Verdict
    exercise: str


@dataclass(frozen=True, slots=True)
class Series:
    """One measurement of a target over time, against what is promised. `of` is how many exercises the points stand for:
    where there were many, a point is the worst of a day.
    """

    target: str
    capability: str
    measurement: str
    objective_seconds: float | None
    points: tuple[Point, ...]
    of: int
    forecast: Forecast | None = None

    @property
    def values(self) -> tuple[float, ...]:
        """What was measured."""
        return tuple(point.value for point in self.points if point.value is not None)


@dataclass(frozen=True, slots=True)
class Known:
    """What of a report is known before the rest; it has these names there too."""

    since: datetime
    until: datetime
    calendars: tuple[Calendar, ...] = ()
    series: tuple[Series, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a drill; offsets are seconds since it was declared, None where it never started."""

    name: str
    target: str
    kind: str
    needs: tuple[str, ...]
    started_seconds: float | None
    finished_seconds: float | None
    verdict: Verdict
    reason: str
    exercise: str | None
    critical: bool


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill that was run."""

    target: str
    exercise: str
    verdict: Verdict
    reason: str
    scenario: str
    operator: str
    why: str
    declared_at: datetime
    rto_seconds: float | None
    rpo_seconds: float | None
    recovery_point: str | None
    steps: tuple[Step, ...]
    critical_path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One change that no configuration knows of, as the newest scan of its root found it."""

    target: str
    address: str
    severity: str
    message: str
    first_seen: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """One incident."""

    id: str
    target: str
    capability: str
    claim: str
    kind: Verdict
    severity: str
    state: str
    reason: str
    occurred_at: datetime
    occurred_from: str
    detected_at: datetime
    verified_at: datetime | None
    time_to_detect_seconds: float | None
    time_to_restore_seconds: float | None


@dataclass(frozen=True, slots=True)
class Times:
    """How long it took to detect and to restore, of the incidents of one capability of a target."""

    target: str
    capability: str
    count: int
    detect_p50_seconds: float | None
    detect_p95_seconds: float | None
    detect_max_seconds: float | None
    restore_p50_seconds: float | None
    restore_p95_seconds: float | None
    restore_max_seconds: float | None


@dataclass(frozen=True, slots=True)
class Exposure:
    """For how long a target could not have been recovered within its objectives."""

    target: str
    seconds: float
    ratio: float


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The newest game day: what was injected, and what was noticed."""

    exercise: str
    finished_at: datetime
    verdict: Verdict
    reason: str
    measurements: dict[str, float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """How far the ledger can be trusted. `verdict` is UNKNOWN where nobody verified the chain."""

    verdict: Verdict
    reason: str
    head_seq: int
    head_link: str
    rows_verified: int
    verified_since_seq: int
    earlier: str
    key_id: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """All of it. `verdict` is that of the worst target; UNKNOWN where nothing is protected."""

    environment: str
    generated_at: datetime
    since: datetime
    until: datetime
    verdict: Verdict
    counts: Counts
    targets: tuple[Target, ...]
    calendars: tuple[Calendar, ...]
    series: tuple[Series, ...]
    drills: tuple[Drill, ...]
    drills_left_out: int
    changes: tuple[Change, ...]
    changes_left_out: int
    incidents: tuple[Event, ...]
    incidents_left_out: int
    times: tuple[Times, ...]
    exposure: tuple[Exposure, ...]
    selftest: SelfTest | None
    evidence: Evidence

    @property
    def days(self) -> int:
        """How many days the report spans, both ends counted."""
        return (self.until.date() - self.since.date()).days + 1

    def to_json(self) -> dict[str, Any]:
        """The stable JSON form."""
        return {"version": VERSION} | _plain(asdict(self))


def days_between(first: date, last: date) -> list[date]:
    """Every day from `first` to `last`."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    return value
