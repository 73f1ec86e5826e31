"""Drills in Dagster: what job and assets make of a verdict, and what is shown of the others. The core is a stub here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ccobs_ops.assets.drill import Core, asset_key, drill_assets, drill_claims
from ccobs_ops.core.drill.plan import plan
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import load
from ccobs_ops.jobs.drill import drill_jobs
from ccobs_ops.resources.core import CoreResource
from tests.definitions.estates import exercise

TEXT = """
version: 1
environment: staging
stores:
  us: {bucket: ccobs-backups}
etcd:
  control: {endpoints: ["https://10.0.0.1:2379"], store: us}
  edge: {endpoints: ["https://10.0.0.2:2379"], store: us}
drills:
  control_lost: {scenario: etcd-quorum-loss, targets: [{target: etcd/control}]}
  edge_lost: {scenario: etcd-quorum-loss, targets: [{target: etcd/edge}]}
"""


@dataclass
class Estate:
    """The location on an instance of its own; `verdicts` is what a drill's claims become, PASSED by default."""

    inventory: Inventory
    location: dg.Definitions
    instance: dg.DagsterInstance
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def run(self, drill: str, **config: Any) -> dg.ExecuteInProcessResult:
        run_config = {"ops": {"drill": {"config": {"drill": drill} | config}}}
        return self.location.resolve_job_def("dr_drill").execute_in_process(
            instance=self.instance, raise_on_error=False, run_config=run_config
        )

    def claims(self, drill: str) -> set[str]:
        return set(drill_claims(plan(self.inventory, drill)))

    def shown(self, drill: str) -> dict[str, str]:
        """The status of each of the drill's checks, as the asset's page shows it."""
        keys = [dg.AssetCheckKey(asset_key(drill), claim) for claim in self.claims(drill)]
        found = self.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        return {key.name: record.status.value for key, record in found.items()}


@pytest.fixture
def estate(tmp_path: Path, instance: dg.DagsterInstance) -> Iterator[Estate]:
    path = tmp_path / "estate.yaml"
    path.write_text(TEXT)
    inventory = load(path)

    def drilled(_ctx: object, name: str, asked: Any, **more: Any) -> Exercise:
        made.asked.append((name, {"operator": asked.operator} | more))
        claims = {claim: made.verdicts.get(claim, Verdict.PASSED) for claim in made.claims(name)}
        return replace(exercise("drill", claims), target=f"drill/{name}", details={})

    core = Core(drilled)
    location = dg.Definitions(
        assets=drill_assets(inventory, core=core),
        jobs=drill_jobs(inventory, core=core),
        resources={"core_context": CoreResource(inventory=str(path))},
        executor=dg.in_process_executor,
    )
    made = Estate(inventory, location, instance)
    yield made


def materialized(result: dg.ExecuteInProcessResult) -> list[str]:
    return [
        event.asset_key.to_user_string()
        for event in result.all_events
        if event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key
    ]


def test_a_drill_that_passed_is_materialized_and_leaves_the_checks_of_the_others_alone(
    estate: Estate,
) -> None:
    first, second = estate.run("control_lost", dry_run=False), estate.run("edge_lost", dry_run=False)
    assert first.success
    assert second.success
    assert (materialized(first), materialized(second)) == (["drill/control_lost"], ["drill/edge_lost"])
    for drill in ("control_lost", "edge_lost"):
        assert estate.shown(drill) == dict.fromkeys(estate.claims(drill), "SUCCEEDED")
        assert {"ready", "rto", "rpo"} < estate.claims(drill)


def test_a_drill_that_failed_is_not_materialized_and_its_checks_say_what_failed(estate: Estate) -> None:
    estate.verdicts = {"rto": Verdict.FAILED, "rpo": Verdict.UNKNOWN}
    result = estate.run("control_lost", dry_run=False)
    assert not result.success
    assert materialized(result) == []
    shown = estate.shown("control_lost")
    assert {claim for claim, status in shown.items() if status == "FAILED"} == {"rto", "rpo"}
    assert set(shown) == estate.claims("control_lost")
    assert [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]


def test_a_dry_run_is_the_default_and_asks_the_core_for_nothing(estate: Estate) -> None:
    result = estate.run("control_lost")
    assert result.success
    assert estate.asked == []
    assert materialized(result) == []
    assert estate.shown("control_lost") == {}
    assert [event.asset_key for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]


def test_who_asked_and_what_is_said_to_the_core(estate: Estate) -> None:
    estate.run("edge_lost", dry_run=False, operator="ada", scenario="etcd-quorum-loss")
    estate.run("edge_lost", dry_run=False)
    assert estate.asked == [
        ("edge_lost", {"operator": "ada", "scenario": "etcd-quorum-loss", "dry_run": False}),
        ("edge_lost", {"operator": "Dagster", "scenario": None, "dry_run": False}),
    ]


def test_a_drill_that_is_not_there_is_told(estate: Estate) -> None:
    result = estate.run("nothing", dry_run=False)
    assert not result.success
    failure = result.get_step_failure_events()[0].step_failure_data.error
    assert failure is not None
    assert "control_lost" in str(failure)


def test_an_asset_is_materialized_by_itself_too(estate: Estate) -> None:
    key = asset_key("edge_lost")
    result = estate.location.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=estate.instance,
        asset_selection=[key],
        run_config={"ops": {"drill_edge_lost": {"config": {"dry_run": False}}}},
    )
    assert result.success
    assert materialized(result) == ["drill/edge_lost"]
    assert estate.shown("edge_lost") == dict.fromkeys(estate.claims("edge_lost"), "SUCCEEDED")


def test_the_graph_has_an_asset_a_drill_behind_what_it_builds_on(estate: Estate) -> None:
    graph = estate.location.resolve_asset_graph()
    lost = graph.get(asset_key("control_lost"))
    assert lost.parent_keys == {dg.AssetKey(["etcd", "control", "restore_drill"])}
    assert lost.pools == {"restore"}
    assert {check.name for check in lost.check_keys} == estate.claims("control_lost")
