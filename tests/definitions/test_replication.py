"""Replication as Dagster shows and runs it: assets, checks, what is materialized, the repair and its sensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ccobs_ops.assets.replication import Core, difference_table, lag_plot, replication_assets
from ccobs_ops.core.errors import BusyError
from ccobs_ops.core.exercise import Claim, Exercise, Finding, Severity, Verdict, conclude
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import loads
from ccobs_ops.jobs import replication as jobs
from ccobs_ops.jobs.replication import nightly_selection, replication_jobs
from ccobs_ops.resources.core import CoreResource

INVENTORY = """
version: 1
environment: staging
stores:
  us: {bucket: ccobs-us}
  eu: {bucket: ccobs-eu}
postgres:
  observatory: {dsn: host=db.invalid dbname=observatory, store: us}
replication:
  backups:
    source: us
    replica: eu
    owners: [storage]
    allow: [repair]
    repair: {automatic: true}
    native: {filer_sync: {metrics: "http://127.0.0.1:9/metrics"}}
"""
PASSED, FAILED = Verdict.PASSED, Verdict.FAILED
COMPARED = dict.fromkeys(("complete", "content", "no_extra", "contradiction"), PASSED)
LAGGED = dict.fromkeys(("watched", "arriving", "lag"), PASSED)


def exercise(
    capability: str,
    claims: dict[str, Verdict],
    measurements: dict[str, float] | None = None,
    *,
    at: datetime | None = None,
    details: dict[str, Any] | None = None,
    findings: tuple[Finding, ...] = (),
) -> Exercise:
    made = tuple(Claim(name, verdict, f"why {name}") for name, verdict in claims.items())
    finished = at or datetime.now(UTC)
    return Exercise(
        id=f"{finished:%Y%m%dT%H%M%S.%f}-{capability}",
        target="replication/backups",
        capability=capability,
        verdict=conclude(made),
        reason="what it found",
        started_at=finished - timedelta(seconds=2),
        finished_at=finished,
        claims=made,
        measurements=measurements or {},
        findings=findings,
        details=details or {},
    )


@dataclass
class Stub:
    """Gives the exercises that it was told to, and keeps what it was asked; the core is proven on real servers elsewhere."""

    answers: dict[str, Exercise] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def take(self, what: str) -> Callable[..., Any]:
        def function(_ctx: object, name: str, *_: object, **options: Any) -> Exercise:
            self.asked.append((what, {"name": name, **options}))
            return self.answers[what]

        return function

    def part(self, _ctx: object, name: str) -> str:
        self.asked.append(("part", {"name": name}))
        return "runs/"


@dataclass
class Estate:
    stub: Stub
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def run(self, job: str, keys: list[str] | None = None, config: dict[str, Any] | None = None):
        selection = [dg.AssetKey(["replication", "backups", key]) for key in keys] if keys else None
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, raise_on_error=False, asset_selection=selection, run_config=config
        )

    def checks(self, result: Any) -> dict[str, bool]:
        return {each.check_name: each.passed for each in result.get_asset_check_evaluations()}


@pytest.fixture
def inventory_file(tmp_path: Path) -> Path:
    path = tmp_path / "estate.yaml"
    path.write_text(INVENTORY)
    return path


@pytest.fixture
def inventory(inventory_file: Path) -> Inventory:
    return loads(INVENTORY, inventory_file)


@pytest.fixture
def estate(inventory: Inventory, inventory_file: Path, instance: dg.DagsterInstance) -> Estate:
    stub = Stub()
    core = Core(stub.take("compare"), stub.take("measure"), stub.part, stub.take("validate"))
    definitions = dg.Definitions(
        assets=replication_assets(inventory, core=core, retry_after=0.01),
        jobs=replication_jobs(inventory, core=jobs.Core(stub.take("compare"), stub.take("repair"))),
        resources={"core_context": CoreResource(inventory=str(inventory_file))},
    )
    return Estate(stub, definitions, instance)


def test_every_pair_has_its_assets_with_a_check_a_claim(estate: Estate, inventory: Inventory) -> None:
    graph = estate.definitions.resolve_asset_graph()
    checks = {
        key.path[-1]: sorted(check.name for check in graph.get(key).check_keys)
        for key in graph.get_all_asset_keys()
        if key.path[0] == "replication"
    }
    assert checks["comparison"] == checks["sweep"] == sorted(COMPARED)
    assert checks["canary"] == sorted(LAGGED)
    assert {"exact", "rto", "rpo", "isolated"} <= set(checks["restore_observatory"])
    comparison = graph.get(dg.AssetKey(["replication", "backups", "comparison"]))
    assert (comparison.group_name, comparison.owners) == ("replication", ["team:storage"])
    assert [key.path[-1] for key in nightly_selection(inventory)] == [
        "comparison",
        "canary",
        "restore_observatory",
    ]


@pytest.mark.parametrize(
    ("claims", "succeeds"),
    [
        (COMPARED, True),
        (COMPARED | {"content": FAILED}, True),
        (COMPARED | {"no_extra": FAILED}, True),
        (COMPARED | {"complete": FAILED, "contradiction": FAILED}, False),
        (COMPARED | {"complete": Verdict.UNKNOWN}, False),
    ],
)
def test_a_comparison_materializes_only_a_whole_copy(
    estate: Estate, claims: dict[str, Verdict], succeeds: bool
) -> None:
    estate.stub.answers["compare"] = exercise("comparison", claims, {"missing": 2.0})
    result = estate.run("replication_comparison")
    assert result.success is succeeds
    assert estate.checks(result) == {name: verdict is PASSED for name, verdict in claims.items()}
    assert estate.stub.asked[0] == (
        "compare",
        {"name": "backups", "prefix": "", "hash_sample": None, "resume": False},
    )


@pytest.mark.parametrize("busy", [1, 2])
def test_while_another_process_compares_it_waits_and_asks_once_more(
    inventory: Inventory, inventory_file: Path, instance: dg.DagsterInstance, busy: int
) -> None:
    stub, turns = Stub({"compare": exercise("comparison", COMPARED)}), iter(range(9))

    def compare(*arguments: Any, **options: Any) -> Exercise:
        if next(turns) < busy:
            raise BusyError("replication/backups is being compared already", hint="wait for it to end")
        return stub.take("compare")(*arguments, **options)

    core = Core(compare, stub.take("measure"), stub.part, stub.take("validate"))
    definitions = dg.Definitions(
        assets=replication_assets(inventory, core=core, retry_after=0.01),
        jobs=replication_jobs(inventory),
        resources={"core_context": CoreResource(inventory=str(inventory_file))},
    )
    result = Estate(stub, definitions, instance).run("replication_comparison")
    assert result.success is (busy == 1)
    assert next(turns) == 2


def test_a_part_of_a_pair_never_materializes_the_whole(estate: Estate) -> None:
    estate.stub.answers["compare"] = exercise("sweep", COMPARED)
    op = "replication__backups__comparison"
    result = estate.run("replication_comparison", config={"ops": {op: {"config": {"prefix": "runs/"}}}})
    assert not result.success
    assert result.asset_materializations_for_node(op) == []


def test_the_sweep_compares_the_folder_whose_turn_it_is(estate: Estate) -> None:
    estate.stub.answers |= {
        "compare": exercise("sweep", COMPARED),
        "measure": exercise("canary", LAGGED, {"lag_max_seconds": 0.4}),
    }
    assert estate.run("replication_sweep").success
    assert ("compare", {"name": "backups", "prefix": "runs/"}) in estate.stub.asked


def test_a_long_lag_is_materialized_with_red_checks_and_none_at_all_fails(estate: Estate) -> None:
    estate.stub.answers |= {
        "compare": exercise("sweep", COMPARED),
        "measure": exercise(
            "canary", LAGGED | {"lag": FAILED, "arriving": FAILED}, {"lag_max_seconds": 999.0}
        ),
    }
    result = estate.run("replication_sweep")
    assert result.success
    assert estate.checks(result)["lag"] is False
    estate.stub.answers["measure"] = exercise("canary", dict.fromkeys(LAGGED, Verdict.UNKNOWN))
    assert not estate.run("replication_sweep").success


def test_the_restore_reads_the_replica(estate: Estate) -> None:
    claims = dict.fromkeys(("exact", "rto", "rpo", "isolated", "intact", "writable"), PASSED)
    estate.stub.answers["validate"] = exercise("replica_validation", claims)
    with dg.instance_for_test() as instance:
        result = dg.materialize(
            [
                asset
                for asset in estate.definitions.assets or ()
                if asset.key.path[-1] == "restore_observatory"  # pyright: ignore[reportAttributeAccessIssue]
            ],
            resources=estate.definitions.resources,
            instance=instance,
            raise_on_error=False,
        )
    assert result.success
    (_, asked) = estate.stub.asked[0]
    assert (asked["name"], asked["store"]) == ("observatory", "eu")


def test_tables_and_the_plot_show_what_was_found() -> None:
    named = Finding("missing", Severity.CRITICAL, "a/b", "the replica does not have it", "")
    found = difference_table(
        exercise(
            "comparison", COMPARED, {"missing": 3.0, "missing_bytes": 99.0, "pending": 0.0}, findings=(named,)
        )
    )
    rows = [record.data for record in found["differences_by_kind"].records]  # pyright: ignore[reportAttributeAccessIssue]
    assert {"kind": "missing", "objects": 3, "bytes": 99} in rows
    assert found["differences"].records[0].data["key"] == "a/b"  # pyright: ignore[reportAttributeAccessIssue]
    series = [
        {"seq": 1, "written_at": "…", "lag_seconds": 0.1, "at_least_seconds": None},
        {"seq": 2, "written_at": "…", "lag_seconds": None, "at_least_seconds": 40.0},
        {"seq": 3, "written_at": "…", "lag_seconds": 40.0, "at_least_seconds": None},
    ]
    plot = lag_plot(exercise("canary", LAGGED, details={"series": series}))
    assert str(plot["lag"].value).startswith("`▁×█`")
    assert lag_plot(exercise("canary", LAGGED)) == {}


def repair_config(**options: str) -> dict[str, Any]:
    return {"ops": {jobs.REPAIR_OP: {"config": {"pair": "backups", **options}}}}


def test_the_repair_job_compares_again_and_copies_only_when_confirmed(estate: Estate) -> None:
    seen = exercise("comparison", COMPARED | {"complete": FAILED}, {"missing": 1.0})
    estate.stub.answers |= {"compare": seen, "repair": exercise("repair", {"repaired": PASSED})}
    assert estate.run("replication_repair", config=repair_config()).success
    assert estate.run("replication_repair", config=repair_config(confirm="backups")).success
    dry, real = (options for what, options in estate.stub.asked if what == "repair")
    assert (dry["dry_run"], dry["confirmation"], dry["comparison"]) == (True, None, seen.id)
    assert (real["dry_run"], real["confirmation"], real["comparison"]) == (False, "backups", seen.id)


def test_nothing_is_repaired_by_a_comparison_that_could_not_look(estate: Estate) -> None:
    estate.stub.answers["compare"] = exercise("comparison", {"complete": Verdict.UNKNOWN})
    assert not estate.run("replication_repair", config=repair_config(confirm="backups")).success
    assert [what for what, _ in estate.stub.asked] == ["compare"]


def test_what_is_left_fails_the_run(estate: Estate) -> None:
    estate.stub.answers |= {
        "compare": exercise("comparison", COMPARED | {"complete": FAILED}),
        "repair": exercise("repair", {"repaired": FAILED}),
    }
    assert not estate.run("replication_repair", config=repair_config(confirm="backups")).success
