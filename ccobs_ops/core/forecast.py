"""How long a recovery of a target will take, and when growth will break what is promised.

    RTO(t) = fixed + restoring(bytes(t)) + replaying(WAL)

Each part is fitted on what the target's own restores measured (the phases of `validation` and `restore_drill`):
`restoring` and `replaying` are lines of seconds over bytes, `bytes(t)` is a line over the age of the data, all by the median
of slopes (core/fit.py), `fixed` is the median of the rest. The interval is of the middle 90 %: the points are drawn anew with
repetition, everything is fitted again and a drawn ratio of measured to fitted is applied, 100 times, from a fixed seed.

Too few restores, or too short a history, is said, and no number is made of it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.exercise import Exercise, Recorder, Severity, failed, passed, rfc3339, unknown
from ccobs_ops.core.fit import Line, cost, line, quantile
from ccobs_ops.core.status import MEASURED, objectives_of
from ccobs_ops.core.units import format_bytes, format_duration, format_seconds

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.ledger import Ledger
    from ccobs_ops.inventory import Inventory

CAPABILITY = "forecast"
CLAIM = "rto_will_hold"
LEAST = 8
"""Restores that a forecast rests on, at least."""
LEAST_SPAN = timedelta(days=7)
"""The span of time that they must cover for growth to be known."""
_MOST = 120
_DRAWN = 25
_ROUNDS = 100
_FAR = timedelta(days=3650)
FORECAST = {"postgres": ("fetch", "unpack", "verify", "combine"), "etcd": ("fetch", "restore")}
"""The nouns whose recovery time is forecast, and the phases that take time by the bytes restored."""
_REPLAYING = ("replay",)
_STAMP = re.compile(r"\d{8}T\d{6}Z")


@dataclass(frozen=True, slots=True)
class Sample:
    """What one restore measured. `made_at` is when the data was backed up, `wal_bytes` what was replayed on top of it."""

    made_at: datetime
    raw_bytes: float
    wal_bytes: float
    restoring_seconds: float
    replaying_seconds: float
    rto_seconds: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """The RTO to expect at `at`, in nine cases of ten between `low_seconds` and `high_seconds`; None where `reason` says why.

    `breaches_at` is when it will be longer than `objective_seconds`, None if it will not within ten years or growth is not
    known (`growth_bytes_per_day` is None then). `basis` says what it rests on.
    """

    target: str
    at: datetime
    objective_seconds: float
    samples: int
    rto_seconds: float | None = None
    low_seconds: float | None = None
    high_seconds: float | None = None
    fixed_seconds: float | None = None
    bytes_per_second: float | None = None
    wal_bytes_per_second: float | None = None
    growth_bytes_per_day: float | None = None
    breaches_at: datetime | None = None
    reason: str = ""
    basis: str = ""


@dataclass(frozen=True, slots=True)
class _Model:
    restoring: Line
    replaying: Line
    fixed: float

    def rto(self, raw: float, wal: float) -> float:
        return self.fixed + self.restoring.at(raw) + self.replaying.at(wal)


def forecast(ledger: Ledger, inventory: Inventory, target: str, now: datetime) -> Forecast:
    """The forecast of `target` (noun/name) at `now`. Raises UsageError for a target that is not restored or not there."""
    noun = target.partition("/")[0]
    objectives = objectives_of(inventory, target)
    if objectives is None or noun not in FORECAST:
        known = ", ".join(f"{each}/{name}" for each in FORECAST for name in getattr(inventory, each))
        raise UsageError(
            f"there is no recovery time to forecast for {target}", hint=f"there is for: {known or 'none'}"
        )
    samples = measured(ledger, target)
    return predict(target, samples, objectives.rto, now)


def measured(ledger: Ledger, target: str) -> list[Sample]:
    """What the newest restores of `target` measured, oldest data first."""
    noun = target.partition("/")[0]
    capability, telling, _ = MEASURED[noun]
    found: list[Sample] = []
    for exercise in ledger.exercises(target=target, capability=capability, limit=_MOST):
        raw = exercise.measurements.get("bytes_restored")
        if raw and telling in exercise.measurements:
            found.append(_sample(noun, exercise, raw, exercise.measurements[telling]))
    return sorted(found, key=lambda sample: sample.made_at)


def _sample(noun: str, exercise: Exercise, raw: float, rto: float) -> Sample:
    seconds = dict.fromkeys((*FORECAST[noun], *_REPLAYING), 0.0)
    wal = 0.0
    for phase in exercise.phases:
        if phase.name in seconds and (noun == "etcd" or seconds[phase.name] == 0.0):
            seconds[phase.name] += phase.seconds
        if phase.name in _REPLAYING:
            wal += phase.bytes or 0
    backup = exercise.details.get("backup_id") or exercise.details.get("snapshot_id") or ""
    stamp = _STAMP.search(str(backup))
    made_at = exercise.started_at
    if stamp is not None:
        made_at = datetime.strptime(stamp[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    replaying = sum(seconds[name] for name in _REPLAYING)
    restoring = sum(seconds[name] for name in FORECAST[noun])
    return Sample(made_at, raw, wal, restoring, replaying, rto)


def predict(target: str, samples: Sequence[Sample], objective: timedelta, now: datetime) -> Forecast:
    """The forecast that `samples` give; the same ones give the same."""
    limit = objective.total_seconds()
    if len(samples) < LEAST:
        told = f"{len(samples)} restores were measured, and a forecast takes {LEAST}"
        return Forecast(target, now, limit, len(samples), reason=told)
    span = samples[-1].made_at - samples[0].made_at
    model, growth = _fit(samples), _growth(samples, now) if span >= LEAST_SPAN else None
    raw = growth.at(0.0) if growth else median(each.raw_bytes for each in samples[-LEAST:])
    wal = median(each.wal_bytes for each in samples)
    low, high = _interval(samples, now, model, growing=growth is not None)
    rate = 1 / model.restoring.slope if model.restoring.slope > 0 else None
    replay = 1 / model.replaying.slope if model.replaying.slope > 0 else None
    return Forecast(
        target=target,
        at=now,
        objective_seconds=limit,
        samples=len(samples),
        rto_seconds=model.rto(raw, wal),
        low_seconds=low,
        high_seconds=high,
        fixed_seconds=model.fixed + model.restoring.base + model.replaying.base,
        bytes_per_second=rate,
        wal_bytes_per_second=replay,
        growth_bytes_per_day=growth.slope if growth else None,
        breaches_at=_breach(model, growth, raw, wal, limit, now),
        reason=""
        if growth
        else f"its growth shows after {format_duration(LEAST_SPAN)}, here are {_days(span)}",
        basis=f"{len(samples)} restores over {_days(span)}; medians of slopes, interval of 90 % by bootstrap",
    )


def foresee(ctx: Context, target: str) -> Exercise:
    """The exercise `forecast` of `target`: claim `rto_will_hold` for the inventory's `incidents.forecast_horizon`.

    UNKNOWN where too little was measured. Raises UsageError for a target that is not restored or not there.
    """
    forecast(ctx.ledger, ctx.inventory, target, ctx.clock())  # wrong usage is no exercise
    return attempt(ctx, target, CAPABILITY, CLAIM, lambda rec: _foresee(ctx, rec, target))


def after_restore(ctx: Context, target: str) -> Exercise | None:
    """The forecast anew, now that one more restore of `target` was measured; None while too few were for any."""
    if len(measured(ctx.ledger, target)) < LEAST:
        return None
    return foresee(ctx, target)


def _foresee(ctx: Context, rec: Recorder, target: str) -> str:
    now, horizon = ctx.clock(), ctx.inventory.incidents.forecast_horizon
    found = forecast(ctx.ledger, ctx.inventory, target, now)
    rec.measurements |= {
        name: float(value)
        for name, value in (
            ("rto_forecast_seconds", found.rto_seconds),
            ("rto_forecast_low_seconds", found.low_seconds),
            ("rto_forecast_high_seconds", found.high_seconds),
            ("fixed_seconds", found.fixed_seconds),
            ("bytes_per_second", found.bytes_per_second),
            ("wal_bytes_per_second", found.wal_bytes_per_second),
            ("daily_growth_bytes", found.growth_bytes_per_day),
            ("restores", found.samples),
        )
        if value is not None
    }
    rec.details |= {
        "basis": found.basis,
        "breaches_at": rfc3339(found.breaches_at) if found.breaches_at else None,
        "objective_seconds": found.objective_seconds,
    }
    if found.rto_seconds is None or found.growth_bytes_per_day is None:
        told = f"it cannot be told yet: {found.reason}"
        rec.claim(unknown(CLAIM, told))
        rec.find(
            "too_little_history", Severity.INFO, target, told, "it comes by itself: each restore is measured"
        )
        return told
    promised = f"promised within {format_seconds(found.objective_seconds)}"
    growth = f"growing by {format_bytes(found.growth_bytes_per_day)} a day"
    now_takes = f"a recovery takes {format_seconds(found.rto_seconds)} now, {promised}"
    if found.breaches_at is None or found.breaches_at > now + horizon:
        when = "" if found.breaches_at is None else f", until {found.breaches_at:%Y-%m-%d}"
        rec.claim(passed(CLAIM, f"{now_takes}; {growth}{when or ', for ten years'}"))
        return rec.claims[-1].reason
    broken = (
        "it is broken already"
        if found.breaches_at <= now
        else f"it will be broken on {found.breaches_at:%Y-%m-%d}"
    )
    told = f"{now_takes}; {growth}, {broken}"
    rec.claim(failed(CLAIM, told))
    rec.find(
        "rto_will_break",
        Severity.WARNING,
        target,
        told,
        "restore faster (disk, network, cores), back up more often so that less WAL is replayed, or promise less",
    )
    return told


def _fit(samples: Sequence[Sample]) -> _Model:
    restoring = cost([(each.raw_bytes, each.restoring_seconds) for each in samples])
    replaying = cost([(each.wal_bytes, each.replaying_seconds) for each in samples])
    rest = [each.rto_seconds - each.restoring_seconds - each.replaying_seconds for each in samples]
    return _Model(restoring, replaying, max(0.0, median(rest)))


def _growth(samples: Sequence[Sample], now: datetime) -> Line:
    """Bytes over days from `now`."""
    return line([((each.made_at - now).total_seconds() / 86400, each.raw_bytes) for each in samples])


def _interval(
    samples: Sequence[Sample], now: datetime, model: _Model, *, growing: bool
) -> tuple[float, float]:
    rng = random.Random(len(samples))
    ratios = [each.rto_seconds / max(model.rto(each.raw_bytes, each.wal_bytes), 1e-9) for each in samples]
    outcomes: list[float] = []
    for _ in range(_ROUNDS):
        drawn = rng.choices(samples, k=min(len(samples), _DRAWN))
        again = _fit(drawn)
        try:
            raw = _growth(drawn, now).at(0.0) if growing else median(each.raw_bytes for each in drawn)
        except ValueError:  # one point, drawn again and again
            raw = median(each.raw_bytes for each in drawn)
        outcomes.append(again.rto(raw, rng.choice(samples).wal_bytes) * rng.choice(ratios))
    return quantile(outcomes, 0.05), quantile(outcomes, 0.95)


def _breach(
    model: _Model, growth: Line | None, raw: float, wal: float, limit: float, now: datetime
) -> datetime | None:
    over = limit - model.rto(raw, wal)
    if over < 0:
        return now
    if growth is None or growth.slope <= 0 or model.restoring.slope <= 0:
        return None
    days = over / (growth.slope * model.restoring.slope)
    return now + timedelta(days=days) if days < _FAR.days else None


def _days(span: timedelta) -> str:
    return f"{span.total_seconds() / 86400:.1f} days"
