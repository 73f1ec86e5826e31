"""What a verdict becomes in Dagster: checks, materialization or failure, the partition's colour, retries."""

from __future__ import annotations

import dagster as dg
import pytest

from ccobs_ops.core.exercise import Finding, Severity, Verdict
from tests.definitions.estates import TODAY, Estate, exercise

PASSED, FAILED, UNKNOWN = Verdict.PASSED, Verdict.FAILED, Verdict.UNKNOWN
DAY = TODAY.isoformat()
PROOFS = ("exact", "intact", "rto", "rpo", "data_checks", "isolated", "writable")
WINDOW = ("no_wal_gap", "backups_intact", "fresh", "rpo")
VALIDATION = dg.AssetKey(["postgres", "observatory", "validation"])


def answers(estate: Estate, *, backup: Verdict = PASSED, window: Verdict = PASSED, proof: Verdict = PASSED):
    estate.stub.answers = {
        "backup": [exercise("backup", {"complete": PASSED, "in_time": backup})],
        "window": [exercise("window", dict.fromkeys(WINDOW, PASSED) | {"no_wal_gap": window})],
        "validation": [exercise("validation", dict.fromkeys(PROOFS, PASSED) | {"exact": proof})],
    }


def checks(result: dg.ExecuteInProcessResult, capability: str) -> dict[str, tuple[bool, str]]:
    return {
        found.check_name: (found.passed, found.description or "")
        for found in result.get_asset_check_evaluations()
        if found.asset_key.path[-1] == capability
    }


def partition_status(estate: Estate) -> str:
    from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

    days = estate.definitions.resolve_asset_graph().get(VALIDATION).partitions_def
    assert days is not None
    value = get_and_update_asset_status_cache_value(estate.instance, VALIDATION, days)
    assert value is not None
    if DAY in value.deserialize_failed_partition_subsets(days):
        return "failed"
    return "proven" if DAY in value.deserialize_materialized_partition_subsets(days) else "missing"


def test_passed_materializes_the_day_with_numbers_and_a_summary(estate: Estate) -> None:
    answers(estate)
    result = estate.run("nightly_validation", day=DAY)
    assert result.success
    assert partition_status(estate) == "proven"
    assert [asked[0] for asked in estate.stub.asked] == ["backup", "window", "validation"]
    assert all(passed for passed, _ in checks(result, "validation").values())
    [made] = result.asset_materializations_for_node("postgres__observatory__validation")
    assert made.partition == DAY
    assert made.metadata["rto_seconds"] == dg.FloatMetadataValue(10.0)
    assert made.metadata["canaries_expected"] == dg.IntMetadataValue(4182)
    assert made.metadata["phase_fetch_seconds"] == dg.FloatMetadataValue(2.0)
    text = made.metadata["summary"].value
    assert isinstance(text, str)
    assert "PASSED" in text
    assert "| exact |" in text
    assert "| fetch | 1.50 s | 2.0 KiB |" in text


@pytest.mark.parametrize("verdict", [FAILED, UNKNOWN])
def test_what_is_not_proven_fails_the_step_the_check_and_the_day(estate: Estate, verdict: Verdict) -> None:
    answers(estate, proof=verdict)
    result = estate.run("nightly_validation", day=DAY)
    assert not result.success
    assert checks(result, "validation")["exact"] == (False, f"{verdict}: why exact")
    assert checks(result, "validation")["rto"] == (True, "why rto")
    assert partition_status(estate) == "failed"
    failure = result.failure_data_for_node("postgres__observatory__validation")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description == f"{verdict}: what it found"
    assert "summary" in failure.user_failure_data.metadata
    assert len(estate.stub.asked) == 3
    observed = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    assert [event.partition for event in observed] == [DAY]


def test_a_later_failure_takes_back_an_earlier_proof(estate: Estate) -> None:
    answers(estate)
    assert estate.run("nightly_validation", day=DAY).success
    answers(estate, proof=FAILED)
    assert not estate.run("postgres_validation", day=DAY).success
    assert partition_status(estate) == "failed"


@pytest.mark.parametrize("verdict", [FAILED, UNKNOWN])
def test_a_gap_in_the_window_is_red_and_the_validation_is_still_tried(
    estate: Estate, verdict: Verdict
) -> None:
    answers(estate, window=verdict)
    result = estate.run("nightly_validation", day=DAY)
    assert checks(result, "window")["no_wal_gap"] == (False, f"{verdict}: why no_wal_gap")
    assert [asked[0] for asked in estate.stub.asked] == ["backup", "window", "validation"]
    assert partition_status(estate) == "proven"


def test_a_claim_that_was_not_made_is_unknown_and_red(estate: Estate) -> None:
    answers(estate)
    estate.stub.answers["window"] = [exercise("window", {"fresh": PASSED})]
    result = estate.run("nightly_validation", day=DAY)
    passed, why = checks(result, "window")["no_wal_gap"]
    assert not passed
    assert why.startswith("UNKNOWN")


def test_a_verdict_that_no_check_shows_fails_the_step(estate: Estate) -> None:
    answers(estate)
    estate.stub.answers["window"] = [exercise("window", dict.fromkeys(WINDOW, PASSED) | {"new": FAILED})]
    result = estate.run("nightly_validation", day=DAY)
    assert not result.success
    assert [asked[0] for asked in estate.stub.asked] == ["backup", "window"]


def test_a_late_backup_is_one_and_an_incomplete_one_is_none(estate: Estate) -> None:
    answers(estate, backup=FAILED)
    late = estate.run("postgres_backup")
    assert late.success
    assert checks(late, "backup") == {
        "complete": (True, "why complete"),
        "in_time": (False, "FAILED: why in_time"),
    }
    estate.stub.answers["backup"] = [exercise("backup", {"complete": FAILED})]
    broken = estate.run("postgres_backup")
    assert not broken.success
    assert broken.asset_materializations_for_node("postgres__observatory__backup") == []
    assert checks(broken, "backup")["in_time"][0] is False


def test_what_could_not_be_reached_is_tried_once_more(estate: Estate) -> None:
    answers(estate)
    away = (Finding("not_checked", Severity.CRITICAL, "postgres/observatory", "the store does not answer"),)
    unreachable = exercise("validation", {"exact": UNKNOWN}, findings=away)
    proven = estate.stub.answers["validation"][0]
    estate.stub.answers["validation"] = [unreachable, proven]
    assert estate.run("postgres_validation", day=DAY).success
    assert len(estate.stub.asked) == 2
    estate.stub.answers["validation"] = [unreachable]
    assert not estate.run("postgres_validation", day=DAY).success
    assert len(estate.stub.asked) == 4


def test_nothing_refuted_is_ever_retried(estate: Estate) -> None:
    answers(estate)
    found = (
        Finding("not_checked", Severity.CRITICAL, "s", "m"),
        Finding("wal_gap", Severity.CRITICAL, "s", "m"),
    )
    estate.stub.answers["validation"] = [exercise("validation", {"exact": FAILED}, findings=found)]
    assert not estate.run("postgres_validation", day=DAY).success
    assert len(estate.stub.asked) == 1


def test_a_secret_in_a_reason_does_not_reach_the_history(estate: Estate) -> None:
    answers(estate)
    leak = Finding("x", Severity.CRITICAL, "s", "could not use postgresql://ccobs:hunter2@db/observatory")
    estate.stub.answers["validation"] = [
        exercise("validation", dict.fromkeys(PROOFS, PASSED), findings=(leak,))
    ]
    result = estate.run("postgres_validation", day=DAY)
    assert result.success
    everything = " ".join(entry.to_json() for entry in estate.instance.all_logs(result.run_id))
    assert "could not use" in everything
    assert "hunter2" not in everything
