"""Does Dagster do its work? Facts are handed over by whoever can read its instance; nothing of Dagster is imported here.

| claim | PASSED says | FAILED |
|---|---|---|
| `daemon_alive` | every daemon that the instance needs gave a sign of life lately | one is silent |
| `schedules_fire` | every schedule that is on ticked when its cron last said so | one did not, for longer than the grace |
| `runs_succeed` | the newest run of every job ended well | it failed, or runs for longer than it may |

A run is counted once, however often it is tried again: the newest attempt tells. A run that failed because an
exercise did not pass is no trouble of Dagster's: that exercise has its own incident.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.errors import OpsError, UnknownError
from ccobs_ops.core.exercise import Claim, Exercise, Finding, Severity, failed, passed, rfc3339, unknown
from ccobs_ops.core.units import format_duration, format_seconds
from ccobs_ops.core.watch.record import DAGSTER, WATCH, Judged, keep

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.inventory import Watch

FAILED_STATUS = "FAILURE"
_RUNNING = ("STARTED", "STARTING")
_ENDED = (FAILED_STATUS, "SUCCESS")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule that is on: `cron` in UTC, since when it is on, and when it last ticked (None: never)."""

    name: str
    cron: str
    since: datetime
    last_tick_at: datetime | None


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt of a run. `root` is the first attempt's id; `explained` that an exercise says why it failed."""

    id: str
    root: str
    job: str
    status: str
    created_at: datetime
    started_at: datetime | None = None
    will_retry: bool = False
    explained: bool = False
    limit_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What an instance of Dagster knows: its daemons' last signs of life (None: never), schedules and recent runs."""

    daemons: dict[str, datetime | None] = field(default_factory=dict)
    schedules: tuple[Schedule, ...] = ()
    runs: tuple[Run, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a process that may import Dagster hands it to one that may not."""
        return {
            "daemons": {name: _told(at) for name, at in self.daemons.items()},
            "schedules": [_row(each) for each in self.schedules],
            "runs": [_row(each) for each in self.runs],
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Facts:
        """What `to_json` gave."""
        return cls(
            {name: _moment(at) for name, at in document["daemons"].items()},
            tuple(Schedule(**_read(row)) for row in document["schedules"]),
            tuple(Run(**_read(row)) for row in document["runs"]),
        )


class Source(Protocol):
    """Whoever can read an instance of Dagster."""

    def __call__(self) -> Facts:
        """The facts now. Raises UnknownError when the instance cannot be read."""
        ...


def watch_dagster(ctx: Context, source: Source, *, always: bool = False) -> Exercise | None:
    """Look at Dagster: `watch` of `ccobs/dagster`. None where nothing changed. What cannot be read is UNKNOWN."""
    try:
        judged = judge(source(), ctx.inventory.watch, ctx.clock())
    except OpsError as error:
        told = error

        def body(_rec: object) -> str | None:
            raise UnknownError(told.message, hint=told.hint) from told

        return attempt(ctx, DAGSTER, WATCH, "daemon_alive", body)
    return keep(ctx, DAGSTER, WATCH, judged, always=always)


def judge(facts: Facts, limits: Watch, now: datetime) -> Judged:
    """What `facts` say at the moment `now`."""
    findings: list[Finding] = []
    claims = (
        _daemons(facts, limits, now, findings),
        _schedules(facts.schedules, limits, now, findings),
        _runs(facts.runs, limits, now, findings),
    )
    return Judged(claims, tuple(findings), {"runs_looked_at": float(len(facts.runs))})


def _daemons(facts: Facts, limits: Watch, now: datetime, findings: list[Finding]) -> Claim:
    if not any(facts.daemons.values()):
        return unknown("daemon_alive", "no daemon has ever run on this instance")
    silent: list[str] = []
    for name, at in sorted(facts.daemons.items()):
        if at is not None and now - at <= limits.daemon_silence:
            continue
        told = (
            "has never run"
            if at is None
            else f"was last seen {format_seconds((now - at).total_seconds())} ago"
        )
        silent.append(f"{name} {told}")
        findings.append(
            Finding(
                "daemon_silent",
                Severity.CRITICAL,
                name,
                f"Dagster's daemon {name} {told}: nothing that depends on it happens",
                "see whether dagster-daemon runs and what it says; what it does not do now, cron can: ccobs-ops watch",
            )
        )
    if silent:
        return failed(
            "daemon_alive", f"silent: {silent[0]}" + (f" and {len(silent) - 1} more" if silent[1:] else "")
        )
    return passed(
        "daemon_alive", f"{len(facts.daemons)} daemons seen within {format_duration(limits.daemon_silence)}"
    )


def _schedules(schedules: Sequence[Schedule], limits: Watch, now: datetime, findings: list[Finding]) -> Claim:
    missed: list[str] = []
    for one in schedules:
        due = _due(one.cron, now - limits.schedule_grace)
        if due <= one.since or (one.last_tick_at is not None and one.last_tick_at >= due):
            continue
        last = "never" if one.last_tick_at is None else f"last at {rfc3339(one.last_tick_at)}"
        missed.append(one.name)
        findings.append(
            Finding(
                "schedule_missed",
                Severity.CRITICAL,
                one.name,
                f"schedule {one.name} ({one.cron}) was due at {rfc3339(due)} and did not fire; it ticked {last}",
                "see its ticks in Dagster; run what it missed by hand",
            )
        )
    if missed:
        more = f" and {len(missed) - 1} more" if missed[1:] else ""
        return failed("schedules_fire", f"schedule {missed[0]}{more} did not fire when it was due")
    return passed("schedules_fire", f"{len(schedules)} schedules, none is late")


def _runs(runs: Sequence[Run], limits: Watch, now: datetime, findings: list[Finding]) -> Claim:
    bad: list[str] = []
    recent = [run for run in _last_attempts(runs) if run.created_at >= now - limits.run_window]
    telling = {run.job: run for run in recent if run.status in _ENDED or _overdue(run, limits, now)}
    for run in telling.values():
        if run.status == FAILED_STATUS and not run.explained:
            code, told = "run_failed", f"run {run.id[:8]} of {run.job} failed"
        elif over := _overdue(run, limits, now):
            code, told = "run_overdue", f"run {run.id[:8]} of {run.job} {over}"
        else:
            continue
        bad.append(told)
        findings.append(
            Finding(
                code,
                Severity.CRITICAL,
                run.job,
                told,
                f"see the run {run.id} in Dagster, then launch the job again",
            )
        )
    if bad:
        return failed("runs_succeed", bad[0] + (f"; and {len(bad) - 1} more" if bad[1:] else ""))
    return passed("runs_succeed", "the newest run of every job ended well, and none runs for too long")


def _last_attempts(runs: Sequence[Run]) -> list[Run]:
    """The newest attempt of each run, oldest run first. One that will be tried again says nothing yet."""
    last: dict[str, Run] = {}
    for run in sorted(runs, key=lambda each: each.created_at):
        last[run.root] = run
    return sorted((run for run in last.values() if not run.will_retry), key=lambda each: each.created_at)


def _overdue(run: Run, limits: Watch, now: datetime) -> str:
    """Since when a run that has not ended should have, "" where it is within its limit."""
    if run.status not in _RUNNING or run.started_at is None:
        return ""
    limit = run.limit_seconds or limits.run_limit.total_seconds()
    took = (now - run.started_at).total_seconds()
    return "" if took <= limit else f"has taken {format_seconds(took)}, {format_seconds(limit)} are allowed"


def _due(cron: str, now: datetime) -> datetime:
    from croniter import croniter  # noqa: PLC0415

    return croniter(cron, now).get_prev(datetime).astimezone(UTC)


def _row(each: Any) -> dict[str, Any]:
    return {
        name: _told(value) if isinstance(value, datetime) else value for name, value in asdict(each).items()
    }


def _read(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _moment(value) if name in _MOMENTS else value for name, value in row.items()}


_MOMENTS = {each.name for kind in (Schedule, Run) for each in fields(kind) if each.name.endswith("_at")} | {
    "since"
}


def _told(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
