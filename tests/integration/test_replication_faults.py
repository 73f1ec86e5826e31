"""Every fault between the regions is found and named, with exactly the keys concerned, while others write."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.replication.lag import measure
from ccobs_ops.lab.faults.actions import CrashWhileSyncing
from ccobs_ops.lab.plan import ARTIFACTS
from tests.postgres_support import codes, wait_for, why
from tests.replication_lab import RPO, Regions, regions_in

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regions]:
    with regions_in(tmp_path_factory.mktemp("regions") / "lab", "replication-agent") as made:
        time.sleep(6)  # objects younger than five seconds are left alone by the faults
        yield made


@pytest.fixture(autouse=True)
def healed(regions: Regions) -> Iterator[None]:
    """What a test that fails leaves broken is not the next one's trouble."""
    yield
    regions.lab.heal()


def healthy(regions: Regions) -> None:
    """Both pairs pass, however much is written meanwhile."""
    regions.settle()
    for pair in ("backups", "artifacts"):
        exercise, found = regions.compare(pair)
        assert exercise.verdict is Verdict.PASSED, why(exercise)
        assert found == {}


def recovers(regions: Regions) -> None:
    """Both pairs pass again after a crash. Until then only what is written all the time may differ.

    A replicator that goes back to its checkpoint plays old changes again, so that for a while a replaced object is stale.
    """
    regions.settle()

    def passes(pair: str) -> bool:
        exercise, found = regions.compare(pair)
        assert all(key.startswith("busy/") for keys in found.values() for key in keys), why(exercise)
        return exercise.verdict is Verdict.PASSED

    for pair in ("backups", "artifacts"):
        wait_for(lambda pair=pair: passes(pair), 90, f"{pair} to pass again")


def test_a_healthy_pair_passes_under_writes_and_tells_its_lag(regions: Regions) -> None:
    before = regions.written
    healthy(regions)
    with regions.context() as ctx:
        wait_for(lambda: measure(ctx, "backups").verdict is Verdict.PASSED, 30, "a canary that has arrived")
        exercise = measure(ctx, "backups")
    assert exercise.measurements["canaries_arrived"] > 0
    assert 0 <= exercise.measurements["lag_p50_seconds"] <= exercise.measurements["lag_max_seconds"]
    wait_for(lambda: regions.written > before, 30, "something written meanwhile")


@pytest.mark.parametrize(
    ("fault", "pair", "kinds", "claim"),
    [
        ("replica-delete", "backups", {"missing"}, "complete"),
        ("replica-delete", "artifacts", {"missing"}, "complete"),
        ("replica-corrupt", "backups", {"content_mismatch"}, "content"),
        ("replica-extra", "backups", {"only_in_replica"}, "no_extra"),
        ("replica-stale-version", "artifacts", {"stale_version"}, "complete"),
    ],
)
def test_a_damaged_replica_is_named_key_by_key(
    regions: Regions, fault: str, pair: str, kinds: set[str], claim: str
) -> None:
    damage = regions.lab.break_(fault, at=f"replication/{pair}", seed=11)
    exercise, found = regions.compare(pair)
    assert exercise.verdict is Verdict.FAILED, why(exercise)
    assert found == {kind: set(damage.keys) for kind in kinds}
    assert {finding.subject for finding in exercise.findings if finding.code in kinds} == damage.keys
    refuted = exercise.claim(claim)
    assert refuted is not None and refuted.verdict is Verdict.FAILED
    if fault != "replica-extra":
        # filer.sync has carried everything and says so; it will never bring this one
        contradiction = exercise.claim("contradiction")
        assert contradiction is not None and contradiction.verdict is Verdict.FAILED, why(exercise)
        assert "replication_contradiction" in codes(exercise)
    regions.lab.heal(fault)
    healthy(regions)


def test_a_stopped_replicator_breaks_the_rpo_and_misses_exactly_what_was_written_since(
    regions: Regions,
) -> None:
    regions.lab.break_("replication-stopped")
    keys = {f"stopped/{number}" for number in range(5)}
    for key in keys:
        regions.us.put_object(Bucket=ARTIFACTS, Key=key, Body=key.encode())
    exercise, found = regions.compare("artifacts")
    assert "missing" not in found or not keys & found["missing"], "what is younger than the RPO is pending"
    assert exercise.measurements["pending"] >= len(keys)
    with regions.context() as ctx:
        wait_for(
            lambda: (
                (latest := ctx.ledger.latest("replication/artifacts", "canary")) is not None
                and latest.verdict is Verdict.FAILED
                and "rpo_breach" in codes(latest)
            ),
            60,
            "the agent to record a breach of the RPO at once",
        )
        assert ctx.ledger.events("replication/artifacts", "rpo_breach")
    time.sleep(RPO + 1)  # times in S3 are whole seconds
    exercise, found = regions.compare("artifacts")
    assert exercise.verdict is Verdict.FAILED, why(exercise)
    unexplained = {key for kind in found.values() for key in kind if not key.startswith("busy/")}
    assert unexplained == keys
    assert keys <= found["missing"]
    assert all(key.startswith("busy/") for kind, names in found.items() if kind != "missing" for key in names)
    regions.lab.heal()
    recovers(regions)
    with regions.context() as ctx:
        wait_for(
            lambda: ctx.ledger.events("replication/artifacts", "rpo_restored"),
            60,
            "the agent to record that the RPO holds again",
        )


def test_a_wedged_replicator_loses_what_was_on_its_way_and_its_supervisor_restarts_it(
    regions: Regions,
) -> None:
    damage = regions.lab.break_("replication-wedged", seed=2)
    crash = next(action for action in damage.actions if isinstance(action, CrashWhileSyncing))
    time.sleep(RPO + 1)  # times in S3 are whole seconds
    source, replica = regions.keys("us", "artifacts"), regions.keys("eu", "artifacts")
    lost = {key for key in source.keys() - replica.keys() if key.startswith(crash.prefix)}
    assert lost
    exercise, found = regions.compare("artifacts")
    assert exercise.verdict is Verdict.FAILED, why(exercise)
    assert {key for key in found["missing"] if key.startswith(crash.prefix)} == lost
    assert {key for names in found.values() for key in names if not key.startswith("busy/")} == lost
    regions.lab.heal()
    with regions.context() as ctx:
        wait_for(
            lambda: ctx.ledger.events("replication/artifacts", "replicator_restarted"),
            90,
            "the supervisor to restart the replicator, and to put it on record",
        )
        assert "replicator_restarted" in codes(measure(ctx, "artifacts"))
    recovers(regions)


def test_throttling_slows_down_is_told_and_changes_no_result(regions: Regions) -> None:
    regions.lab.break_("replica-throttled")
    try:
        damage = regions.lab.break_("replica-delete", at="replication/backups", seed=8)
        exercise, found = regions.compare("backups", hash_sample=1.0)
        assert found == {"missing": set(damage.keys)}, why(exercise)
        assert "throttled" in codes(exercise)
        read = exercise.measurements["read_in_full"]
        assert read > 5
        assert exercise.measurements["retries"] > 0.3 * read, "what is read of objects is counted, too"
    finally:
        regions.lab.heal()
    healthy(regions)


@pytest.mark.parametrize("region", ["us", "eu"])
def test_a_wrong_clock_is_told_and_makes_nothing_pending_or_missing(regions: Regions, region: str) -> None:
    damage = regions.lab.break_("replica-delete", at="replication/backups", seed=9)
    regions.lab.break_("clock-skewed", at=region)
    try:
        exercise, found = regions.compare("backups")
        assert found == {"missing": set(damage.keys)}, why(exercise)
        assert [f.subject for f in exercise.findings if f.code == "clock_skew"] == [region]
        role = "source" if region == "us" else "replica"
        assert 400 < exercise.measurements[f"{role}_clock_offset_seconds"] < 440
    finally:
        regions.lab.heal()


def test_a_replica_that_is_down_is_unknown_never_all_missing(regions: Regions) -> None:
    regions.lab.break_("replica-down")
    try:
        exercise, found = regions.compare("backups")
        assert exercise.verdict is Verdict.UNKNOWN, why(exercise)
        assert found == {}
        assert codes(exercise) <= {"not_checked", "native_silent"}
        with regions.context() as ctx:
            wait_for(
                lambda: (
                    (beat := ctx.ledger.heartbeat("replication/backups", "watch")) is not None
                    and "error" in beat.details
                ),
                30,
                "the agent to notice",
            )
            lag = measure(ctx, "backups")
        watched = lag.claim("watched")
        assert watched is not None and watched.verdict is Verdict.UNKNOWN
    finally:
        regions.lab.heal()
    recovers(regions)
