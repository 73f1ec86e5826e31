"""etcd in Dagster: what is shown, what a verdict becomes, what schedule and sensor ask for. The core is a stub here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ccobs_ops.assets.etcd import Core, asset_key, drill_claims, etcd_assets, health_claims, snapshot_claims
from ccobs_ops.core.exercise import Exercise, Finding, Severity, Verdict
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import load
from ccobs_ops.jobs.etcd import etcd_jobs
from ccobs_ops.jobs.nightly import nightly_jobs
from ccobs_ops.resources.core import CoreResource
from ccobs_ops.schedules.etcd import etcd_schedules
from ccobs_ops.schedules.nightly import nightly_schedule
from tests.definitions.estates import exercise

PASSED, FAILED, UNKNOWN = Verdict.PASSED, Verdict.FAILED, Verdict.UNKNOWN
NOW = datetime(2026, 11, 23, 2, 7, tzinfo=UTC)
TEXT = """
version: 1
environment: staging
stores:
  us: {bucket: ccobs-backups}
etcd:
  control:
    endpoints: ["https://10.0.0.1:2379"]
    store: us
    schedule: "30 * * * *"
    owners: [platform]
    objectives: {rto: 10m, backup_age: 2h, time_to_detect: 20m}
    drill: {members: 3}
  edge:
    access: kubernetes
    kubernetes: {}
    store: us
    prefix: etcd/edge
    health: {hash: false}
    material: {age: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kudw4agrqqh2fjp]}
"""


@dataclass
class Stub:
    """Gives the exercises that it was told to, and keeps what it was asked."""

    answers: dict[str, list[Exercise]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def core(self) -> Core:
        return Core(*(self._take(name) for name in ("snapshot", "archive", "health", "restore_drill")))

    def _take(self, capability: str) -> Callable[..., Exercise]:
        def function(_ctx: object, name: str, **arguments: object) -> Exercise:
            self.asked.append((capability, name, arguments))
            left = self.answers[capability]
            return left.pop(0) if len(left) > 1 else left[0]

        return function


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    path = tmp_path / "estate.yaml"
    path.write_text(TEXT)
    return load(path)


@dataclass(frozen=True)
class Estate:
    stub: Stub
    inventory: Inventory
    location: dg.Definitions
    instance: dg.DagsterInstance

    def run(self, job: str, name: str = "control", config: dict[str, object] | None = None):
        """Run `job`; `config` is for the asset of its own name."""
        capability = job.removeprefix("etcd_")
        ops = {f"etcd__{name}__{capability}": {"config": config}}
        return self.location.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            asset_selection=[asset_key(name, capability)] if job.startswith("etcd") else None,
            run_config=None if config is None else {"ops": ops},
        )


@pytest.fixture
def estate(inventory: Inventory, instance: dg.DagsterInstance) -> Estate:
    stub = Stub()
    control = inventory.etcd["control"]
    stub.answers = {
        "snapshot": [made("snapshot", dict.fromkeys(snapshot_claims(control), PASSED))],
        "archive": [made("archive", {"intact": PASSED, "fresh": PASSED})],
        "health": [made("health", dict.fromkeys(health_claims(control), PASSED))],
        "restore_drill": [made("restore_drill", dict.fromkeys(drill_claims(control), PASSED))],
    }
    one = inventory.model_copy(update={"etcd": {"control": control}})
    location = dg.Definitions(
        assets=etcd_assets(one, core=stub.core(), retry_after=0.01),
        jobs=[*nightly_jobs(one), *etcd_jobs(one)],
        schedules=[nightly_schedule(one, running=True), *etcd_schedules(one, running=True)],
        resources={"core_context": CoreResource(inventory=str(inventory.path))},
    )
    return Estate(stub, one, location, instance)


def made(capability: str, claims: dict[str, Verdict], **more: object) -> Exercise:
    from dataclasses import replace

    return replace(exercise(capability, claims, name="control"), target="etcd/control", **more)  # pyright: ignore[reportArgumentType]


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {found.check_name: found.passed for found in result.get_asset_check_evaluations()}


def materialized(result: dg.ExecuteInProcessResult) -> list[str]:
    return sorted(
        event.asset_key.path[-1]
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key
    )


def shown(inventory: Inventory):
    """The asset graph of `inventory`."""
    resources = {"core_context": CoreResource(inventory=str(inventory.path))}
    return dg.Definitions(assets=etcd_assets(inventory), resources=resources).resolve_asset_graph()


def test_the_graph_has_three_assets_a_cluster(inventory: Inventory) -> None:
    graph = shown(inventory)
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        f"etcd/{name}/{capability}"
        for name in ("control", "edge")
        for capability in ("snapshot", "health", "restore_drill")
    }
    drill = graph.get(asset_key("control", "restore_drill"))
    assert drill.parent_keys == {asset_key("control", "snapshot")}
    assert drill.pools == {"restore"}
    assert drill.owners == ["team:platform"]
    assert drill.freshness_policy is not None
    assert drill.freshness_policy.fail_window.to_timedelta() == timedelta(hours=26)
    snapshot = graph.get(asset_key("control", "snapshot"))
    assert snapshot.freshness_policy.fail_window.to_timedelta() == timedelta(hours=2)
    health = graph.get(asset_key("control", "health"))
    assert health.freshness_policy.fail_window.to_timedelta() == timedelta(minutes=20)


def test_the_checks_are_the_claims_that_will_be_made(inventory: Inventory) -> None:
    graph = shown(inventory)

    def of(name: str, capability: str) -> set[str]:
        return {check.name for check in graph.get(asset_key(name, capability)).check_keys}

    assert of("control", "snapshot") == {"complete", "in_time", "intact", "fresh"}
    assert of("edge", "snapshot") == {"complete", "in_time", "intact", "fresh", "material"}
    assert of("control", "health") == {
        "members",
        "quorum",
        "no_alarms",
        "within_quota",
        "caught_up",
        "consistent",
    }
    assert "consistent" not in of("edge", "health")
    assert {"restorable", "identical", "rto", "rpo", "exact", "quorum"} <= of("control", "restore_drill")
    assert "quorum" not in of("edge", "restore_drill")


def test_the_night_takes_a_snapshot_and_drills_it(estate: Estate) -> None:
    result = estate.run("nightly_validation")
    assert result.success
    asked = [name for name, _, _ in estate.stub.asked]
    assert asked.index("snapshot") < asked.index("restore_drill")
    assert sorted(asked) == ["archive", "health", "restore_drill", "snapshot"]
    assert materialized(result) == ["health", "restore_drill", "snapshot"]
    assert all(checks(result).values())


@pytest.mark.parametrize("verdict", [FAILED, UNKNOWN])
@pytest.mark.parametrize("claim", ["restorable", "identical", "rto", "rpo", "exact", "quorum"])
def test_a_drill_that_does_not_prove_it_is_red(estate: Estate, claim: str, verdict: Verdict) -> None:
    proofs = dict.fromkeys(drill_claims(estate.inventory.etcd["control"]), PASSED)
    estate.stub.answers["restore_drill"] = [made("restore_drill", proofs | {claim: verdict})]
    result = estate.run("etcd_restore_drill")
    assert not result.success
    assert {name for name, passed in checks(result).items() if not passed} == {claim}
    assert materialized(result) == []


def test_a_drill_that_broke_off_leaves_no_check_green(estate: Estate) -> None:
    estate.stub.answers["restore_drill"] = [made("restore_drill", {"restorable": FAILED})]
    result = estate.run("etcd_restore_drill")
    assert not result.success
    assert not any(checks(result).values())
    assert set(checks(result)) == set(drill_claims(estate.inventory.etcd["control"]))


@pytest.mark.parametrize("verdict", [FAILED, UNKNOWN])
@pytest.mark.parametrize("claim", ["no_alarms", "within_quota", "consistent", "quorum"])
def test_a_look_that_sees_trouble_is_red_and_still_a_look(
    estate: Estate, claim: str, verdict: Verdict
) -> None:
    seen = dict.fromkeys(health_claims(estate.inventory.etcd["control"]), PASSED)
    estate.stub.answers["health"] = [made("health", seen | {claim: verdict})]
    result = estate.run("etcd_health")
    assert result.success
    assert materialized(result) == ["health"]
    assert {name for name, passed in checks(result).items() if not passed} == {claim}


def test_no_snapshot_and_an_old_archive_are_two_red_checks(estate: Estate) -> None:
    estate.stub.answers["snapshot"] = [made("snapshot", {"complete": FAILED})]
    estate.stub.answers["archive"] = [made("archive", {"intact": PASSED, "fresh": FAILED})]
    result = estate.run("etcd_snapshot")
    assert not result.success
    assert materialized(result) == []
    assert checks(result) == {"complete": False, "in_time": False, "intact": True, "fresh": False}


def test_a_drill_after_no_snapshot_is_not_tried(estate: Estate) -> None:
    estate.stub.answers["snapshot"] = [made("snapshot", {"complete": FAILED})]
    result = estate.run("nightly_validation")
    assert not result.success
    assert "restore_drill" not in [name for name, _, _ in estate.stub.asked]
    assert materialized(result) == ["health"]


def test_a_late_snapshot_is_one(estate: Estate) -> None:
    estate.stub.answers["snapshot"] = [made("snapshot", {"complete": PASSED, "in_time": FAILED})]
    result = estate.run("etcd_snapshot")
    assert result.success
    assert materialized(result) == ["snapshot"]
    assert checks(result)["in_time"] is False


def test_what_was_out_of_reach_is_tried_once_more(estate: Estate) -> None:
    away = (Finding("not_checked", Severity.CRITICAL, "etcd/control", "no endpoint answers"),)
    good = estate.stub.answers["snapshot"][0]
    estate.stub.answers["snapshot"] = [made("snapshot", {"complete": UNKNOWN}, findings=away), good]
    assert estate.run("etcd_snapshot").success
    assert [name for name, _, _ in estate.stub.asked] == ["snapshot", "snapshot", "archive"]


def test_the_launchpad_chooses_members_and_bump(estate: Estate) -> None:
    choice: dict[str, object] = {"members": "three", "bump_revision": 1_000_000_000, "operator": "ada"}
    assert estate.run("etcd_restore_drill", config=choice).success
    assert estate.stub.asked == [("restore_drill", "control", {"members": 3, "bump_revision": 1_000_000_000})]


def test_a_verdict_that_no_check_shows_fails_the_drill(estate: Estate) -> None:
    proofs = dict.fromkeys(drill_claims(estate.inventory.etcd["control"]), PASSED)
    estate.stub.answers["restore_drill"] = [made("restore_drill", proofs | {"compacted": FAILED})]
    result = estate.run("etcd_restore_drill", config={"bump_revision": 10})
    assert not result.success
    assert all(checks(result).values())


def test_each_cluster_has_its_own_clock_and_health_another(inventory: Inventory) -> None:
    schedules = {each.name: each for each in etcd_schedules(inventory, running=True)}
    assert {name: each.cron_schedule for name, each in schedules.items()} == {
        "etcd_snapshot_control": "30 * * * *",
        "etcd_snapshot_edge": "0 * * * *",
        "etcd_health": "*/5 * * * *",
    }
    assert {each.default_status for each in schedules.values()} == {dg.DefaultScheduleStatus.RUNNING}
    stopped = etcd_schedules(inventory, running=False)
    assert {each.default_status.value for each in stopped} == {"STOPPED"}


def test_a_scheduled_snapshot_is_of_one_cluster_once_an_hour(estate: Estate) -> None:
    schedule = estate.location.resolve_schedule_def("etcd_snapshot_control")
    context = dg.build_schedule_context(
        scheduled_execution_time=NOW, repository_def=estate.location.get_repository_def()
    )
    [request] = schedule.evaluate_tick(context).run_requests or []
    assert request.run_key == "control/2026-11-23T02:07:00+00:00"
    assert request.asset_selection == [asset_key("control", "snapshot")]


def test_a_night_of_etcd_alone_needs_no_partition(estate: Estate) -> None:
    schedule = estate.location.resolve_schedule_def("nightly_validation")
    context = dg.build_schedule_context(
        scheduled_execution_time=NOW, repository_def=estate.location.get_repository_def()
    )
    [request] = schedule.evaluate_tick(context).run_requests or []
    assert (request.run_key, request.partition_key) == ("2026-11-23/newest", None)
