"""What watching says of agents, freshness and Dagster, from a ledger and from facts; and which look is worth a row."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.exercise import Claim, Exercise, Verdict, conclude
from ccobs_ops.core.ledger import Event, Ledger
from ccobs_ops.core.watch import agents, dagster, freshness
from ccobs_ops.core.watch.dagster import Facts, Run, Schedule
from ccobs_ops.core.watch.record import claim_name
from ccobs_ops.inventory_load import loads
from ccobs_ops.inventory_remediation import Watch

NOW = datetime(2026, 11, 23, 12, 3, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PASSED, FAILED, UNKNOWN = Verdict.PASSED, Verdict.FAILED, Verdict.UNKNOWN
INVENTORY = """
version: 1
environment: staging
stores: {us: {bucket: ccobs-backups}, eu: {bucket: ccobs-backups-eu}}
postgres:
  observatory: {dsn: host=db.invalid dbname=observatory, store: us, objectives: {backup_age: 26h, time_to_detect: 2m}}
etcd:
  edge: {access: kubernetes, kubernetes: {}, store: us, prefix: etcd/edge}
replication:
  backups: {source: us, replica: eu, canary: {interval: 5m}}
watch: {record_every: 15m}
"""


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def ctx(tmp_path: Path):
    inventory = loads(INVENTORY, tmp_path / "inventory.yaml")
    with Ledger.of(inventory) as ledger:
        yield Context(inventory, ledger, clock=Clock())


def beat_all(ctx: Context, at: datetime, **details: str) -> None:
    for target, part, _ in agents.parts(ctx.inventory):
        ctx.ledger.beat(target, part, at, details)


def verdicts(judged) -> dict[str, Verdict]:
    return {claim.name: claim.verdict for claim in judged.claims}


def test_an_agent_that_never_ran_is_unknown_one_that_fell_silent_failed(ctx: Context) -> None:
    assert set(verdicts(agents.judge(ctx.inventory, ctx.ledger, NOW)).values()) == {UNKNOWN}
    beat_all(ctx, NOW - MINUTE)
    assert set(verdicts(agents.judge(ctx.inventory, ctx.ledger, NOW)).values()) == {PASSED}
    ctx.ledger.beat("postgres/observatory", "wal", NOW - 3 * MINUTE, {})
    found = agents.judge(ctx.inventory, ctx.ledger, NOW)
    assert verdicts(found)["postgres/observatory/wal"] is FAILED
    assert [finding.code for finding in found.findings] == ["agent_silent"]


def test_an_agent_with_a_slow_clock_is_given_its_time_and_none_is_asked_where_none_can_run(
    ctx: Context,
) -> None:
    beat_all(ctx, NOW - 20 * MINUTE)
    found = verdicts(agents.judge(ctx.inventory, ctx.ledger, NOW))
    assert found["replication/backups/send"] is PASSED, "a canary is due every five minutes"
    assert found["postgres/observatory/canary"] is FAILED
    assert not any(name.startswith("etcd") for name in found)


def test_an_agent_that_complains_is_unknown_and_a_lost_slot_failed(ctx: Context) -> None:
    beat_all(ctx, NOW)
    ctx.ledger.beat("postgres/observatory", "ship", NOW, {"error": "the store does not answer"})
    ctx.ledger.beat("postgres/observatory", "wal", NOW, {"slot_status": "lost"})
    found = verdicts(agents.judge(ctx.inventory, ctx.ledger, NOW))
    assert found["postgres/observatory/ship"] is UNKNOWN
    assert found["postgres/observatory/slot"] is FAILED


def test_a_row_is_kept_when_something_changed_or_the_last_is_old(ctx: Context) -> None:
    clock = ctx.clock
    assert isinstance(clock, Clock)
    beat_all(ctx, NOW)
    assert agents.watch_agents(ctx) is not None
    assert agents.watch_agents(ctx) is None
    clock.now = NOW + 5 * MINUTE
    changed = agents.watch_agents(ctx)
    assert changed is not None and changed.verdict is FAILED
    assert agents.watch_agents(ctx) is None
    clock.now += 16 * MINUTE
    assert agents.watch_agents(ctx) is not None


def taken(ctx: Context, ago: timedelta, complete: Verdict) -> None:
    claims = (Claim("complete", complete, "why"),)
    at = ctx.clock() - ago
    ctx.ledger.record(
        Exercise(f"b{at}", "postgres/observatory", "backup", conclude(claims), "r", at - MINUTE, at, claims)
    )


def test_freshness_of_backups_and_gaps_since(ctx: Context) -> None:
    def looked() -> dict[str, Verdict]:
        return verdicts(freshness.judge(ctx.inventory, ctx.ledger, "postgres/observatory", NOW))

    assert looked() == {"backup": FAILED}
    taken(ctx, timedelta(hours=27), PASSED)
    taken(ctx, timedelta(hours=1), UNKNOWN)
    assert looked() == {"backup": FAILED, "wal": PASSED}
    taken(ctx, timedelta(hours=25), PASSED)
    assert looked() == {"backup": PASSED, "wal": PASSED}
    ctx.ledger.record_event(Event("postgres/observatory", "wal_gap", "0000", NOW - MINUTE, {}))
    assert looked() == {"backup": PASSED, "wal": FAILED}
    ctx.ledger.record_event(Event("postgres/observatory", "wal_gap", "0000", NOW - timedelta(hours=30), {}))
    taken(ctx, timedelta(seconds=-61), PASSED)
    assert looked() == {"backup": PASSED, "wal": PASSED}, "a backup that began after the gap"


LIMITS = Watch()
ALIVE = {"SENSOR": NOW - MINUTE, "SCHEDULER": NOW}


def judged(**facts) -> dict[str, Verdict]:
    return verdicts(dagster.judge(Facts(**({"daemons": ALIVE} | facts)), LIMITS, NOW))


def test_daemons() -> None:
    assert judged()["daemon_alive"] is PASSED
    assert judged(daemons={"SENSOR": NOW - 6 * MINUTE, "SCHEDULER": NOW})["daemon_alive"] is FAILED
    assert judged(daemons={"SENSOR": None, "SCHEDULER": NOW})["daemon_alive"] is FAILED
    assert judged(daemons={"SENSOR": None})["daemon_alive"] is UNKNOWN
    assert judged(daemons={})["daemon_alive"] is UNKNOWN


@pytest.mark.parametrize(
    ("since", "last", "verdict"),
    [
        (NOW - timedelta(days=3), NOW - timedelta(hours=10), PASSED),
        (NOW - timedelta(days=3), NOW - timedelta(hours=34), FAILED),
        (NOW - timedelta(days=3), None, FAILED),
        (NOW - timedelta(hours=1), None, PASSED),
    ],
)
def test_a_schedule_that_was_due_and_did_not_tick(
    since: datetime, last: datetime | None, verdict: Verdict
) -> None:
    one = Schedule("nightly", "0 2 * * *", since, last)
    assert judged(schedules=(one,))["schedules_fire"] is verdict


def test_a_schedule_within_its_grace_is_not_late() -> None:
    one = Schedule("often", "0 12 * * *", NOW - timedelta(days=3), NOW - timedelta(days=1))
    assert judged(schedules=(one,))["schedules_fire"] is PASSED, "due three minutes ago"


def run(identifier: str, status: str, minutes: float, **more) -> Run:
    at = NOW - minutes * MINUTE
    root = more.pop("root", identifier)
    return Run(identifier, root, more.pop("job", "nightly"), status, at, at, **more)


@pytest.mark.parametrize(
    ("runs", "verdict"),
    [
        ((), PASSED),
        ((run("a", "FAILURE", 5),), FAILED),
        ((run("a", "FAILURE", 5, explained=True),), PASSED),
        ((run("a", "FAILURE", 9), run("b", "SUCCESS", 5)), PASSED),
        ((run("a", "FAILURE", 9), run("b", "STARTED", 5)), FAILED),
        ((run("a", "SUCCESS", 5, job="x"), run("b", "FAILURE", 9)), FAILED),
        ((run("a", "FAILURE", 9, will_retry=True),), PASSED),
        ((run("a", "FAILURE", 9, will_retry=True), run("b", "SUCCESS", 5, root="a")), PASSED),
        ((run("a", "FAILURE", 9, will_retry=True), run("b", "FAILURE", 5, root="a")), FAILED),
        ((run("a", "STARTED", 30),), PASSED),
        ((run("a", "STARTED", 30, limit_seconds=60.0),), FAILED),
        ((run("a", "STARTED", 361),), FAILED),
        ((run("a", "FAILURE", 27 * 60),), PASSED),
    ],
)
def test_runs(runs: tuple[Run, ...], verdict: Verdict) -> None:
    assert judged(runs=runs)["runs_succeed"] is verdict


def test_a_run_that_is_tried_again_is_found_once() -> None:
    attempts = [run(f"r{n}", "FAILURE", 20 - n, root="r0", will_retry=n < 3) for n in range(4)]
    found = dagster.judge(Facts(ALIVE, (), tuple(attempts)), LIMITS, NOW)
    assert [finding.code for finding in found.findings] == ["run_failed"]


def test_facts_survive_the_way_to_another_process() -> None:
    facts = Facts(
        ALIVE, (Schedule("a", "* * * * *", NOW, None),), (run("r", "STARTED", 3, limit_seconds=5.0),)
    )
    assert Facts.from_json(json.loads(json.dumps(facts.to_json()))) == facts


def test_an_instance_that_cannot_be_read_is_unknown(ctx: Context) -> None:
    def gone() -> Facts:
        raise UnknownError("there is no instance", hint="name it")

    found = dagster.watch_dagster(ctx, gone)
    assert found is not None and found.verdict is UNKNOWN and found.claim("daemon_alive") is not None


def test_names_of_claims_fit_into_the_ledger() -> None:
    assert claim_name("postgres/a", "wal") == "postgres/a/wal"
    long = claim_name("postgres/" + "x" * 63, "canary")
    assert len(long) <= 64 and long.endswith("/canary")
