"""The forecast finds what made its data, says how sure it is and when it breaks, and makes no number out of nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ccobs_ops.core import incidents
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.exercise import Exercise, Phase, Severity, Verdict
from ccobs_ops.core.fit import cost, line, quantile
from ccobs_ops.core.forecast import Sample, forecast, foresee, measured, predict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.loop import catch_up
from ccobs_ops.inventory_load import loads

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
TARGET = "postgres/observatory"
INVENTORY = loads(
    "version: 1\nenvironment: lab\nstores: {us: {bucket: backups}, eu: {bucket: replica}}\n"
    "postgres: {observatory: {dsn: host=db, store: us}}\n"
    "replication: {r: {source: us, replica: eu}}\n"
)
MB, GB = 1e6, 1e9
RATE, REPLAY, FIXED, GROWTH, START = 150 * MB, 40 * MB, 12.0, 1.5 * GB, 100 * GB


def truth(day: float, wal: float) -> float:
    return FIXED + (START + GROWTH * day) / RATE + wal / REPLAY


def samples(days: int = 60, *, seed: int = 1, noise: float = 0.05, outliers: int = 0) -> list[Sample]:
    """A restore a night, the newest today; some hit a slow disk."""
    rng = random.Random(seed)
    found: list[Sample] = []
    for day in range(days):
        raw, wal = START + GROWTH * day, rng.uniform(0.5, 3) * GB
        slow = 4.0 if rng.random() * days < outliers else 1.0
        restoring = raw / RATE * rng.lognormvariate(0, noise) * slow
        replaying = wal / REPLAY * rng.lognormvariate(0, noise)
        made = NOW - timedelta(days=days - 1 - day)
        found.append(Sample(made, raw, wal, restoring, replaying, FIXED + restoring + replaying))
    return found


@pytest.mark.parametrize("outliers", [0, 8])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_finds_what_made_the_data_also_with_outliers(seed: int, outliers: int) -> None:
    objective = timedelta(seconds=truth(59 + 120, 1.75 * GB))  # broken in 120 days
    found = predict(TARGET, samples(seed=seed, outliers=outliers), objective, NOW)
    assert found.rto_seconds == pytest.approx(truth(59, 1.75 * GB), rel=0.1)
    assert found.growth_bytes_per_day == pytest.approx(GROWTH, rel=0.02)
    assert found.wal_bytes_per_second == pytest.approx(REPLAY, rel=0.15)
    assert found.low_seconds is not None
    assert found.high_seconds is not None
    assert found.low_seconds < truth(59, 1.75 * GB) < found.high_seconds
    assert found.breaches_at is not None
    assert abs((found.breaches_at - NOW).days - 120) < 40
    assert predict(TARGET, samples(seed=seed, outliers=outliers), objective, NOW) == found


def test_nine_of_ten_restores_of_tomorrow_lie_in_the_interval() -> None:
    inside = 0
    for seed in range(60):
        rng = random.Random(1000 + seed)
        found = predict(TARGET, samples(40, seed=seed), timedelta(hours=1), NOW)
        wal = rng.uniform(0.5, 3) * GB
        real = truth(39, 0) - FIXED
        real = FIXED + real * rng.lognormvariate(0, 0.05) + wal / REPLAY * rng.lognormvariate(0, 0.05)
        assert found.low_seconds is not None
        assert found.high_seconds is not None
        inside += found.low_seconds <= real <= found.high_seconds
    assert 45 <= inside <= 60


def test_too_few_restores_give_no_number() -> None:
    found = predict(TARGET, samples(7), timedelta(hours=1), NOW)
    assert (found.rto_seconds, found.low_seconds, found.breaches_at) == (None, None, None)
    assert found.reason == "7 restores were measured, and a forecast takes 8"


def test_a_short_history_tells_the_present_and_no_growth() -> None:
    made = samples(30)
    short = [
        Sample(NOW - timedelta(hours=len(made) - n), s.raw_bytes, s.wal_bytes, s.restoring_seconds,
               s.replaying_seconds, s.rto_seconds)
        for n, s in enumerate(made)
    ]  # fmt: skip
    found = predict(TARGET, short, timedelta(hours=1), NOW)
    assert found.rto_seconds is not None
    assert (found.growth_bytes_per_day, found.breaches_at) == (None, None)
    assert "7d" in found.reason


def test_what_is_broken_already_is_broken_now_and_what_shrinks_never() -> None:
    assert predict(TARGET, samples(), timedelta(minutes=1), NOW).breaches_at == NOW
    shrinking = [
        Sample(s.made_at, 2 * START - s.raw_bytes, s.wal_bytes, (2 * START - s.raw_bytes) / RATE,
               s.replaying_seconds, FIXED + (2 * START - s.raw_bytes) / RATE + s.replaying_seconds)
        for s in samples()
    ]  # fmt: skip
    found = predict(TARGET, shrinking, timedelta(hours=1), NOW)
    assert found.breaches_at is None
    assert found.growth_bytes_per_day is not None
    assert found.growth_bytes_per_day < 0


def test_lines() -> None:
    points = [(float(x), 3 + 2.0 * x) for x in range(10)]
    assert line([*points, (4.5, 1000.0), (5.5, -1000.0)]).slope == pytest.approx(2.0)
    assert line(points).at(100) == pytest.approx(203)
    with pytest.raises(ValueError, match="different x"):
        line([(1.0, 2.0), (1.0, 3.0)])
    assert (cost([(100.0, 10.0), (101.0, 10.0), (100.0, 10.0)]).base, cost([]).at(5)) == (0.0, 0.0)
    assert cost([(100.0, 10.0), (101.0, 10.0), (100.0, 10.0)]).slope == pytest.approx(0.1)
    assert cost([(100.0, 20.0), (200.0, 15.0), (300.0, 9.0)]).base == 0.0
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0, 0.25, 0.5, 1)] == [1.0, 1.5, 2.0, 3.0]


@pytest.fixture
def ctx(tmp_path: Path) -> Iterator[Context]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        yield Context(INVENTORY, ledger, clock=lambda: NOW)


def keep(ctx: Context, made: list[Sample]) -> None:
    for number, each in enumerate(made):
        at = NOW - timedelta(hours=len(made) - number)
        phases = (
            Phase("plan", 1.0),
            Phase("fetch", each.restoring_seconds / 2, 5),
            Phase("unpack", each.restoring_seconds / 4, 5),
            Phase("verify", each.restoring_seconds / 4, 5),
            Phase("start", FIXED - 1),
            Phase("replay", each.replaying_seconds, int(each.wal_bytes)),
            Phase("read", 100.0),
        )
        ctx.ledger.record(
            Exercise(
                f"E{number:04d}",
                TARGET,
                "validation",
                Verdict.PASSED,
                "well",
                at,
                at,
                (),
                phases,
                {"rto_seconds": each.rto_seconds, "bytes_restored": each.raw_bytes},
                (),
                {"backup_id": f"{each.made_at:%Y%m%dT%H%M%SZ}-full"},
            )
        )


def test_the_samples_are_what_the_restores_measured(ctx: Context) -> None:
    made = samples(10)
    keep(ctx, made)
    for found, expected in zip(measured(ctx.ledger, TARGET), made, strict=True):
        assert found.made_at == expected.made_at
        assert found.restoring_seconds == pytest.approx(expected.restoring_seconds)
        assert (found.rto_seconds, found.raw_bytes) == (expected.rto_seconds, expected.raw_bytes)


def test_a_warning_opens_an_incident_before_the_promise_breaks(ctx: Context) -> None:
    growing = [
        Sample(s.made_at, 0.5 * START + 3 * (s.raw_bytes - START), s.wal_bytes,
               (0.5 * START + 3 * (s.raw_bytes - START)) / RATE, 0.0,
               FIXED + (0.5 * START + 3 * (s.raw_bytes - START)) / RATE)
        for s in samples(10)
    ]  # fmt: skip
    keep(ctx, growing)
    found = foresee(ctx, TARGET)
    assert found.verdict is Verdict.PASSED, found.reason  # 30 min are broken in 39 days
    tight = INVENTORY.postgres["observatory"].objectives.model_copy(
        update={"rto": timedelta(seconds=growing[-1].rto_seconds + 100)}
    )
    cluster = INVENTORY.postgres["observatory"].model_copy(update={"objectives": tight})
    warned = Context(
        INVENTORY.model_copy(update={"postgres": {"observatory": cluster}}), ctx.ledger, clock=lambda: LATER
    )
    found = foresee(warned, TARGET)
    assert found.verdict is Verdict.FAILED
    assert "it will be broken on 2026-11-26" in found.reason
    assert [each.name for each in catch_up(warned)] == ["opened"]
    (incident,) = incidents.listed(ctx.ledger, open_only=True)
    assert (incident.claim, incident.severity) == ("rto_will_hold", Severity.WARNING)


def test_too_little_is_unknown_and_opens_nothing(ctx: Context) -> None:
    found = foresee(ctx, TARGET)
    assert found.verdict is Verdict.UNKNOWN
    assert found.measurements == {"restores": 0.0}
    assert catch_up(ctx) == []


def test_what_is_not_restored_has_no_forecast(ctx: Context) -> None:
    for target in ("replication/r", "postgres/nobody", "postgres", ""):
        with pytest.raises(UsageError, match="no recovery time to forecast"):
            forecast(ctx.ledger, ctx.inventory, target, NOW)
    with pytest.raises(UsageError):
        foresee(ctx, "replication/r")
    assert ctx.ledger.exercises() == []
