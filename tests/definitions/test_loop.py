"""The sensors of the loop: what they ask for, once, and what they leave alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ccobs_ops.core.exercise import Claim, Exercise, Verdict, conclude
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.remediation import history, policy
from ccobs_ops.core.remediation.run import look_at
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import loads
from ccobs_ops.jobs.remediation import JOB, OP, RemediateConfig, remediation_jobs
from ccobs_ops.resources.core import CoreResource
from ccobs_ops.sensors.loop import INCIDENT, TARGET, loop_sensors
from ccobs_ops.watch_dagster import facts_of

NOW = datetime(2026, 11, 23, 2, 7, tzinfo=UTC)
PASSED, FAILED = Verdict.PASSED, Verdict.FAILED
TEXT = """
version: 1
environment: staging
stores: {us: {bucket: ccobs-backups}, eu: {bucket: ccobs-backups-eu}}
etcd:
  control: {endpoints: ["https://10.0.0.1:2379"], store: us}
replication:
  backups: {source: us, replica: eu, repair: {automatic: true}, allow: [repair]}
  quiet: {source: us, replica: eu, prefix: other/}
remediation: {backoff: 5m}
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    path = tmp_path / "inventory.yaml"
    path.write_text(TEXT)
    return loads(TEXT, path)


def record(
    inventory: Inventory, target: str, capability: str, claims: dict[str, Verdict], at: datetime
) -> None:
    made = tuple(Claim(name, verdict, f"why {name}") for name, verdict in claims.items())
    with Ledger.of(inventory) as ledger:
        identifier = f"{at:%Y%m%dT%H%M%S.%f}-{target.replace('/', '-')}-{capability}"
        start = at - timedelta(seconds=2)
        ledger.record(Exercise(identifier, target, capability, conclude(made), "r", start, at, made))


def tick(
    inventory: Inventory, instance: dg.DagsterInstance, name: str = "remediation", now: datetime = NOW
) -> Any:
    sensors = {each.name: each for each in loop_sensors(inventory, running=True, clock=lambda: now)}
    definitions = dg.Definitions(
        jobs=remediation_jobs(inventory),
        resources={"core_context": CoreResource(inventory=str(inventory.path))},
    )
    context = dg.build_sensor_context(instance=instance, repository_def=definitions.get_repository_def())
    return sensors[name].evaluate_tick(context)


def test_a_snapshot_that_is_too_old_leads_to_one_run(inventory: Inventory) -> None:
    with dg.instance_for_test() as instance:
        assert "no incident" in tick(inventory, instance).skip_message
        said = tick(inventory, instance, "watch").skip_message
        assert "etcd/control freshness: FAILED" in said and "ccobs/agents watch: UNKNOWN" in said
        assert "opened" in tick(inventory, instance, "incidents").skip_message
        (request,) = tick(inventory, instance).run_requests
        config = request.run_config["ops"][OP]["config"]
        assert (config["confirm"], config["dry_run"], config["automatic"]) == ("etcd/control", False, True)
        assert request.tags[TARGET] == "etcd/control"
        assert tick(inventory, instance).run_requests[0].run_key == request.run_key, "once in a slot of time"
        later = tick(inventory, instance, now=NOW + timedelta(minutes=10)).run_requests
        assert later[0].run_key != request.run_key, "a run that never began is launched again"
        job = remediation_jobs(inventory)[0]
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=request.tags)
        assert not tick(inventory, instance).run_requests
        assert "under way" in tick(inventory, instance).skip_message


def test_pairs_are_repaired_only_where_the_inventory_says_so_twice(inventory: Inventory) -> None:
    for name in ("backups", "quiet"):
        record(inventory, f"replication/{name}", "comparison", {"complete": FAILED, "content": FAILED}, NOW)
    with dg.instance_for_test() as instance:
        requests = tick(inventory, instance).run_requests
    assert [request.tags[TARGET] for request in requests] == ["replication/backups"], (
        "and once for two claims"
    )


def test_a_proof_by_anybody_ends_the_requests(inventory: Inventory) -> None:
    record(inventory, "replication/backups", "comparison", {"complete": FAILED}, NOW - timedelta(hours=1))
    with dg.instance_for_test() as instance:
        assert len(tick(inventory, instance).run_requests) == 1
        record(inventory, "replication/backups", "comparison", {"complete": PASSED}, NOW)
        assert "no incident" in tick(inventory, instance).skip_message


def test_after_an_attempt_that_failed_it_waits(inventory: Inventory) -> None:
    from ccobs_ops.core import incidents
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.loop import catch_up

    record(inventory, "replication/backups", "comparison", {"complete": FAILED}, NOW - timedelta(minutes=1))
    with Ledger.of(inventory) as ledger:
        ctx = Context(inventory, ledger, clock=lambda: NOW)
        catch_up(ctx)
        (found,) = incidents.listed(ledger, open_only=True)
        assert history.begin(ctx, found, 1, "objects", "a test") is not None
        assert history.begin(ctx, found, 1, "objects", "another") is None, "an attempt is begun once"
        assert look_at(ctx, found).decision == policy.Act(policy.Action.OBJECTS, 2) or isinstance(
            look_at(ctx, found).decision, policy.Wait
        )
        history.end(ctx, found, "replication/backups", 1, "objects", policy.FAILED, "why")
    with dg.instance_for_test() as instance:
        assert "the last attempt was failed" in tick(inventory, instance).skip_message
        later = tick(inventory, instance, now=NOW + timedelta(minutes=6)).run_requests
        assert "/objects-2/" in later[0].run_key
        assert later[0].tags[INCIDENT] == found.id


def test_nothing_is_launched_where_the_inventory_says_no(inventory: Inventory) -> None:
    off = inventory.model_copy(
        update={"remediation": inventory.remediation.model_copy(update={"automatic": False})}
    )
    record(inventory, "replication/backups", "comparison", {"complete": FAILED}, NOW)
    with dg.instance_for_test() as instance:
        assert not tick(off, instance).run_requests
    stopped = loop_sensors(inventory, running=False)
    assert {each.default_status.value for each in stopped} == {"STOPPED"}


def test_the_launchpad_changes_nothing_by_default(inventory: Inventory) -> None:
    config = RemediateConfig(incident="i1")
    assert (config.dry_run, config.confirm, config.automatic) == (True, "", False)
    (job,) = remediation_jobs(inventory)
    assert job.name == JOB


def test_facts_are_read_from_a_real_instance(tmp_path: Path) -> None:
    @dg.op
    def breaks() -> None:
        raise dg.Failure("an exercise did not pass", metadata={"exercise": "x"})

    @dg.op
    def crashes() -> None:
        raise RuntimeError("a defect")

    @dg.job
    def proves() -> None:
        breaks()

    @dg.job
    def dies() -> None:
        crashes()

    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        for job in (proves, dies):
            job.execute_in_process(instance=instance, raise_on_error=False)
        found = facts_of(instance, {}, runs_since=datetime.now(UTC) - timedelta(hours=1))
    told = {run.job: (run.status, run.explained) for run in found.runs}
    assert told == {"proves": ("FAILURE", True), "dies": ("FAILURE", False)}
    assert found.daemons and not any(found.daemons.values())
