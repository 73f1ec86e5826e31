"""What the launchpad and the schedule ask of the core."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from ccobs_ops.assets.postgres import postgres_assets
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.postgres.strategy import Strategy
from ccobs_ops.inventory import Inventory
from ccobs_ops.jobs.nightly import nightly_jobs
from ccobs_ops.jobs.postgres import postgres_jobs
from ccobs_ops.resources.core import CoreResource
from ccobs_ops.schedules.nightly import nightly_schedule
from tests.definitions.estates import TODAY, Estate, exercise

AT_TWO = datetime(2026, 11, 23, 2, tzinfo=UTC)
PROOFS = ("exact", "intact", "rto", "rpo", "data_checks", "isolated", "writable")


@pytest.fixture
def proven(estate: Estate) -> Estate:
    estate.stub.answers = {
        "backup": [exercise("backup", {"complete": Verdict.PASSED, "in_time": Verdict.PASSED})],
        "validation": [exercise("validation", dict.fromkeys(PROOFS, Verdict.PASSED))],
    }
    return estate


def test_today_is_proven_by_its_newest_commit(proven: Estate) -> None:
    assert proven.run("postgres_validation", day=TODAY.isoformat()).success
    assert proven.stub.asked == [
        ("validation", "observatory", {"strategy": Strategy.NEWEST, "seed": None, "day": TODAY})
    ]


def test_three_older_days_in_a_row_are_proven_in_three_ways(proven: Estate) -> None:
    for age in (3, 4, 5):
        day = (TODAY - timedelta(days=age)).isoformat()
        assert proven.run("postgres_validation", day=day).success
    used = {asked[2]["strategy"] for asked in proven.stub.asked}
    assert used == {Strategy.RANDOM, Strategy.AFTER_BACKUP, Strategy.SEGMENT_BOUNDARY}


def test_the_launchpad_chooses_strategy_and_seed(proven: Estate) -> None:
    choice = {"validation": {"strategy": "segment-boundary", "seed": 7, "operator": "ada", "reason": "drill"}}
    assert proven.run("postgres_validation", day=TODAY.isoformat(), config=choice).success
    assert proven.stub.asked[0][2] == {"strategy": Strategy.SEGMENT_BOUNDARY, "seed": 7, "day": TODAY}


def test_the_launchpad_names_a_moment_in_any_zone(proven: Estate) -> None:
    choice = {"validation": {"at": "2026-11-21T01:30:00+02:00"}}
    assert proven.run("postgres_validation", day="2026-11-20", config=choice).success
    assert proven.stub.asked[0][2]["at"] == datetime(2026, 11, 20, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize("at", ["2026-11-19T12:00:00Z", "2026-11-20 12:00", "yesterday"])
def test_a_moment_outside_the_partition_or_without_zone_is_refused(proven: Estate, at: str) -> None:
    result = proven.run("postgres_validation", day="2026-11-20", config={"validation": {"at": at}})
    failure = result.failure_data_for_node("postgres__observatory__validation")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "HINT:" in (failure.user_failure_data.description or "")
    assert proven.stub.asked == []


def test_an_unknown_strategy_never_starts(proven: Estate) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError):
        proven.run("postgres_validation", day="2026-11-20", config={"validation": {"strategy": "oldest"}})
    assert proven.stub.asked == []


def test_a_backup_takes_what_the_inventory_says_unless_told(proven: Estate) -> None:
    assert proven.run("postgres_backup").success
    assert proven.run("postgres_backup", config={"backup": {"incremental": True}}).success
    assert [asked[2] for asked in proven.stub.asked] == [{"incremental": None}, {"incremental": True}]


def backed_up(inventory: Inventory, name: str, days_ago: int, complete: Verdict = Verdict.PASSED) -> None:
    moment = AT_TWO - timedelta(days=days_ago)
    with Ledger.of(inventory) as ledger:
        ledger.record(exercise("backup", {"complete": complete}, name=name, finished_at=moment))


def evaluate(inventory: Inventory) -> list[dg.RunRequest]:
    schedule = nightly_schedule(inventory, running=True)
    location = dg.Definitions(
        assets=postgres_assets(inventory),
        jobs=[*nightly_jobs(inventory), *postgres_jobs(inventory)],
        schedules=[schedule],
        resources={"core_context": CoreResource(inventory=str(inventory.path))},
    )
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            scheduled_execution_time=AT_TWO, instance=instance, repository_def=location.get_repository_def()
        )
        return list(schedule.evaluate_tick(context).run_requests or [])


def one_cluster(inventory: Inventory) -> Inventory:
    return inventory.model_copy(update={"postgres": {"observatory": inventory.postgres["observatory"]}})


def test_a_night_asks_for_today_and_one_older_day(inventory: Inventory) -> None:
    backed_up(inventory, "observatory", 5)
    newest, older = evaluate(one_cluster(inventory))
    assert (newest.run_key, newest.partition_key, newest.asset_selection) == (
        "2026-11-23/newest",
        "2026-11-23",
        None,
    )
    assert older.run_key == "2026-11-23/older/observatory"
    assert older.asset_selection == [dg.AssetKey(["postgres", "observatory", "validation"])]
    assert older.partition_key is not None
    assert "2026-11-18" <= older.partition_key <= "2026-11-22"


def test_the_same_night_asks_for_the_same_days(inventory: Inventory) -> None:
    backed_up(inventory, "observatory", 20)
    first, second = evaluate(inventory), evaluate(inventory)
    assert [(one.run_key, one.partition_key) for one in first] == [
        (one.run_key, one.partition_key) for one in second
    ]


def test_the_first_night_and_a_backup_that_failed_give_no_older_day(inventory: Inventory) -> None:
    assert [request.run_key for request in evaluate(inventory)] == ["2026-11-23/newest"]
    backed_up(inventory, "observatory", 5, complete=Verdict.FAILED)
    backed_up(inventory, "billing", 0)
    assert [request.run_key for request in evaluate(inventory)] == ["2026-11-23/newest"]


def test_days_before_the_retention_window_are_never_asked_for(inventory: Inventory) -> None:
    backed_up(inventory, "observatory", 400)
    backed_up(inventory, "observatory", 29)
    older = [request for request in evaluate(inventory) if request.asset_selection]
    assert len(older) == 1
    assert older[0].partition_key is not None
    assert older[0].partition_key >= "2026-10-25"
