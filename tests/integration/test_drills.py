"""Every scenario on a real lab, real damage first where there is any; then what must not pass."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from ccobs_ops.core.context import Context
from ccobs_ops.core.drill import run as drills
from ccobs_ops.core.drill.situation import Asked
from ccobs_ops.core.drill.step import Result
from ccobs_ops.core.errors import RefusedError, UsageError
from ccobs_ops.core.etcd.drill import drill as etcd_drill
from ccobs_ops.core.etcd.snapshot import take_snapshot
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.replication.compare import compare
from ccobs_ops.inventory import Inventory
from ccobs_ops.lab import Lab
from ccobs_ops.lab.plan import ARTIFACTS, BUCKET, VAULT_BUCKET
from ccobs_ops.lab.s3 import client
from tests.lab_support import take_down_and_check
from tests.postgres_support import Estate, codes, wait_for, why

SERVICES = ("agent", "writer", "vault", "etcd-agent", "etcd-writer", "replication-agent", "terraform")
LOST = (
    "replication-agent",
    "vault",
    "agent",
    "writer",
    "etcd-agent",
    "etcd-writer",
    "filer-sync",
    "terraform",
)
LOST += ("etcd-1", "etcd-2", "etcd-3", "postgres", "us")


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """One lab in which every target was backed up and proven once."""
    directory = tmp_path_factory.mktemp("drills") / "lab"
    try:
        with Estate.of(Lab.up(directory, scale=0.05, services=list(SERVICES))) as made:
            assert made.backup().verdict is Verdict.PASSED
            assert take_snapshot(made.ctx, "observatory").verdict is Verdict.PASSED
            for proof in (
                made.validate(),
                etcd_drill(made.ctx, "observatory"),
                compare(made.ctx, "artifacts"),
            ):
                assert proof.verdict is Verdict.PASSED, why(proof)
            yield made
    finally:
        take_down_and_check(directory)


def changed(ctx: Context, name: str, **keys: Any) -> Context:
    """`ctx` with other keys of one drill; no root is scanned unless one is named."""
    inventory: Inventory = ctx.inventory
    other = inventory.drills[name].model_copy(update={"drift": ()} | keys)
    return replace(ctx, inventory=inventory.model_copy(update={"drills": {**inventory.drills, name: other}}))


def run(ctx: Context, name: str, scenario: str | None = None, **asked: Any) -> Exercise:
    return drills.drill(ctx, name, Asked("ada", "test", **asked), scenario=scenario, dry_run=False)


def steps(exercise: Exercise) -> dict[str, Result]:
    return {row["name"]: Result.from_json(row) for row in exercise.details["steps"]}


def adds_up(exercise: Exercise, estate: Estate) -> None:
    """The critical path is the RTO to the microsecond, and every step's evidence is in the ledger with times that fit."""
    found, path = steps(exercise), exercise.details["critical_path"]
    assert path[0] == "precheck"
    assert sum(found[name].seconds for name in path) == pytest.approx(exercise.measurements["rto_seconds"])
    for one, two in pairwise(path):
        assert found[one].finished_seconds == found[two].started_seconds
    [kept] = estate.ctx.ledger.find(exercise.id)
    assert kept.to_json() == json.loads(json.dumps(exercise.to_json()))
    declared = datetime.fromisoformat(exercise.details["declared_at"])
    for name, result in found.items():
        if result.outcome.exercise is None:
            continue
        [evidence] = estate.ctx.ledger.find(result.outcome.exercise)
        assert evidence.target == result.step.target
        assert result.started_seconds is not None
        begun = declared + timedelta(seconds=result.started_seconds)
        slack = timedelta(seconds=1)
        if name.startswith(("restore_", "drift_")):
            assert begun - slack <= evidence.started_at
        assert evidence.started_at <= declared + timedelta(seconds=result.finished_seconds or 0) + slack
    assert estate.sandboxes() == []


def test_a_database_is_lost_and_the_infrastructure_is_scanned_afterwards(estate: Estate) -> None:
    from ccobs_ops.core.terraform.scan import scan

    scan(estate.ctx, "staging")
    found = run(changed(estate.ctx, "database_loss", drift=("staging",)), "database_loss")
    assert found.verdict is Verdict.PASSED, why(found)
    adds_up(found, estate)
    drift = steps(found)["drift_staging"]
    assert drift.started_seconds == found.measurements["rto_seconds"]
    assert "drift_staging" not in found.details["critical_path"]
    assert found.measurements["rpo_seconds"] < 60
    restored = estate.ctx.ledger.latest("postgres/observatory", "drill_restore")
    assert restored is not None
    assert restored.verdict is Verdict.PASSED, why(restored)
    assert [row["name"] for row in restored.details["data_checks"]] == ["no_orphaned_messages"]


def test_rows_that_were_deleted_come_back_as_they_were_before_the_transaction(estate: Estate) -> None:
    [(before,)] = estate.sql("select count(*) from tool_calls where id <= 100")
    with estate.cluster.connect(autocommit=False) as connection:
        row = connection.execute(
            "with gone as (delete from tool_calls where id <= 100 returning 1) "
            "select count(*), pg_current_xact_id()::text::bigint from gone"
        ).fetchone()
        connection.commit()
    assert row is not None
    assert row[0] == before > 0
    probe = {"name": "back", "target": "postgres/observatory", "expect": before}
    probe["sql"] = "select count(*) from tool_calls where id <= 100"
    ctx = changed(
        estate.ctx,
        "accidental_delete",
        table="public.tool_calls",
        probes=(estate.ctx.inventory.drills["accidental_delete"].probes[0].model_copy(update=probe),),
    )
    estate.await_archived(estate.now())
    found = run(ctx, "accidental_delete", transaction=row[1])
    assert found.verdict is Verdict.PASSED, why(found)
    adds_up(found, estate)
    assert "extract_postgres_observatory" in found.details["critical_path"]
    extracted = steps(found)["extract_postgres_observatory"].outcome
    assert "rows dumped" in extracted.reason
    after = run(changed(ctx, "accidental_delete", table="public.nothing"), "accidental_delete")
    assert after.claim("extract_postgres_observatory").verdict is Verdict.FAILED  # type: ignore[union-attr]
    assert after.claim("probe").verdict is Verdict.UNKNOWN  # type: ignore[union-attr]


def test_three_new_members_are_started_and_one_may_be_lost(estate: Estate) -> None:
    found = run(changed(estate.ctx, "etcd_quorum_loss"), "etcd_quorum_loss")
    assert found.verdict is Verdict.PASSED, why(found)
    adds_up(found, estate)
    assert "quorum" in steps(found)["verify_etcd_observatory"].outcome.reason


def test_after_ransomware_only_locked_versions_are_read(estate: Estate) -> None:
    """Everything in the vault is written over or deleted, as whoever holds the keys can; the locked versions stay below."""
    ctx = changed(estate.ctx, "ransomware")
    s3 = client(estate.lab.plan, "eu")

    def there() -> set[str]:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=VAULT_BUCKET, Prefix="postgres/")
        return {row["Key"] for page in pages for row in page.get("Contents", ())}

    newest = estate.ctx.ledger.latest("postgres/observatory", "backup")
    assert newest is not None
    entry = f"catalogue/{newest.details['backup_id']}" if "backup_id" in newest.details else "catalogue/"
    wait_for(lambda: any(entry in key for key in there()), 60, "the backup in the vault")
    wait_for(lambda: any("/wal/" in key for key in there()), 60, "WAL in the vault")
    time.sleep(1.1)  # times in S3 are whole seconds
    struck = datetime.now(UTC)
    time.sleep(1.1)
    estate.lab.stop_service("vault")
    for position, key in enumerate(sorted(there())):
        if position % 2:
            s3.put_object(Bucket=VAULT_BUCKET, Key=key, Body=b"pay us")
        else:
            s3.delete_object(Bucket=VAULT_BUCKET, Key=key)
    found = run(ctx, "ransomware", at=struck)
    assert found.verdict is Verdict.PASSED, why(found)
    adds_up(found, estate)
    assert found.claim("immutable").verdict is Verdict.PASSED  # type: ignore[union-attr]
    late = run(ctx, "ransomware")  # as of now the vault holds what the intruder left
    assert late.verdict is Verdict.FAILED, why(late)


def test_a_backup_without_object_lock_is_refused_as_not_immutable(estate: Estate) -> None:
    target = estate.ctx.inventory.drills["ransomware"].targets[0].model_copy(update={"store": "us"})
    found = run(changed(estate.ctx, "ransomware", targets=(target,)), "ransomware")
    assert found.verdict is Verdict.FAILED
    reason = steps(found)["precheck"].outcome.reason
    assert "no backup in store 'us' is immutable" in reason
    assert "no object lock" in reason
    assert found.claim("immutable").verdict is Verdict.FAILED  # type: ignore[union-attr]
    assert steps(found)["restore_postgres_observatory"].started_seconds is None


def test_control_plane_and_data_come_back_to_one_moment(estate: Estate) -> None:
    ctx = changed(estate.ctx, "control_plane_and_data")
    found = run(ctx, "control_plane_and_data")
    assert found.verdict is Verdict.PASSED, why(found)
    adds_up(found, estate)
    point = datetime.fromisoformat(found.details["recovery_point"])
    for layer in found.details["targets"]:
        moment = datetime.fromisoformat(layer["recovered_to"])
        assert timedelta(0) <= point - moment <= timedelta(seconds=5), layer
    found = steps(found)
    assert (
        found["restore_etcd_observatory"].started_seconds
        == found["verify_postgres_observatory"].finished_seconds
    )


def test_layers_that_cannot_meet_fail_before_anything_is_restored(estate: Estate) -> None:
    ctx = changed(estate.ctx, "control_plane_and_data")
    first = min(each.started_at for each in estate.ctx.ledger.exercises(target="postgres/observatory"))
    found = run(ctx, "control_plane_and_data", at=first)
    assert found.verdict is Verdict.FAILED
    assert "cannot meet at one moment" in steps(found)["precheck"].outcome.reason
    assert found.claim("consistent").verdict is Verdict.FAILED  # type: ignore[union-attr]
    assert found.details["critical_path"] == []


def test_objects_written_over_without_versions_cannot_go_back(estate: Estate) -> None:
    """A bucket that keeps no versions is a layer that cannot meet the others at a moment of the past."""
    drill = estate.ctx.inventory.drills["control_plane_and_data"]
    etcd = drill.targets[1].model_copy(update={"needs": ()})
    objects = drill.targets[2].model_copy(update={"target": "replication/backups", "store": "us"})
    ctx = changed(estate.ctx, "control_plane_and_data", targets=(etcd, objects), probes=())
    found = run(ctx, "control_plane_and_data")
    assert found.verdict is Verdict.FAILED
    restored = estate.ctx.ledger.latest("replication/backups", "drill_restore")
    assert restored is not None
    assert restored.claim("restored").verdict is Verdict.FAILED, why(restored)  # type: ignore[union-attr]
    assert "no_version" in codes(restored)


def test_a_probe_that_is_not_answered_as_it_should_fails_the_drill_and_is_named(estate: Estate) -> None:
    drill = estate.ctx.inventory.drills["etcd_quorum_loss"]
    bad = drill.probes[0].model_copy(update={"name": "bad", "contains": "something else"})
    gone = drill.probes[0].model_copy(
        update={"name": "gone", "target": None, "path": None, "url": "http://127.0.0.1:1/health"}
    )
    found = run(
        changed(estate.ctx, "etcd_quorum_loss", probes=(drill.probes[0], bad, gone)), "etcd_quorum_loss"
    )
    assert found.verdict is Verdict.FAILED
    told = steps(found)["probe"].outcome.reason
    assert "2 of 3 probes: bad: answers 200 without 'something else' in it; gone: no answer" in told
    assert found.claim("rto").verdict is Verdict.FAILED  # type: ignore[union-attr]
    assert found.details["rto_seconds"] is None
    assert steps(found)["cleanup_etcd_observatory"].outcome.verdict is Verdict.PASSED
    assert estate.sandboxes() == []


def test_promises_that_are_not_kept_fail_the_drill(estate: Estate) -> None:
    tight = estate.ctx.inventory.drills["etcd_quorum_loss"].objectives.model_copy(
        update={"rto": timedelta(milliseconds=1), "rpo": timedelta(milliseconds=1)}
    )
    ctx = changed(estate.ctx, "etcd_quorum_loss", objectives=tight, proof_age=timedelta(milliseconds=1))
    found = run(ctx, "etcd_quorum_loss")
    wrong = {claim.name for claim in found.claims if claim.verdict is Verdict.FAILED}
    assert wrong == {"ready", "rto", "rpo"}, why(found)


def test_a_dry_run_restores_nothing_and_wrong_usage_is_refused(estate: Estate) -> None:
    before = len(estate.ctx.ledger.exercises(limit=1000))
    with pytest.raises(RefusedError):
        drills.drill(estate.ctx, "database_loss", Asked("ada", ""))
    for asked in ({"at": datetime.now(UTC) + timedelta(hours=1)}, {"transaction": 7}):
        with pytest.raises(UsageError):
            run(estate.ctx, "database_loss", **asked)
    assert len(estate.ctx.ledger.exercises(limit=1000)) == before


def test_a_drill_that_needs_an_approval_waits_for_it(estate: Estate) -> None:
    from ccobs_ops.core.drill import approval

    ctx = changed(estate.ctx, "etcd_quorum_loss", approval=True, probes=())
    waits = run(ctx, "etcd_quorum_loss")
    assert waits.verdict is Verdict.UNKNOWN
    assert waits.claim("approved").verdict is Verdict.UNKNOWN  # type: ignore[union-attr]
    assert "steps" not in waits.details
    approval.approve(ctx, "etcd_quorum_loss", by="grace", reason="seen")
    found = run(ctx, "etcd_quorum_loss")
    assert found.verdict is Verdict.PASSED, why(found)
    assert found.details["critical_path"][-1] == "verify_etcd_observatory"  # without probes


def test_killed_in_the_middle_it_leaves_nothing(estate: Estate) -> None:
    argv = [sys.executable, "-m", "ccobs_ops.cli.main", "--inventory", str(estate.lab.inventory_path)]
    argv += ["drill", "run", "database_loss", "--no-dry-run"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: any((box / "server.log").exists() for box in estate.sandboxes()), 60, "a server")
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    wait_for(lambda: not estate.sandboxes(), 30, "the reaper")


def test_a_region_is_lost_with_all_its_processes(estate: Estate) -> None:
    """The last test of this file: nothing of us runs any more, and everything comes back from eu."""

    def keys(region: str) -> set[tuple[str, str]]:
        pages = client(estate.lab.plan, region).get_paginator("list_objects_v2")
        return {
            (bucket, row["Key"])
            for bucket in (BUCKET, ARTIFACTS)
            for page in pages.paginate(Bucket=bucket)
            for row in page.get("Contents", ())
        }

    now = datetime.now(UTC)
    by_then = keys("us")
    wait_for(lambda: by_then & keys("us") <= keys("eu"), 60, "eu to have what was written by then")
    time.sleep(1)  # and what was replaced
    for service in LOST:
        estate.lab.kill_service(service)
    found = run(changed(estate.ctx, "region_loss"), "region_loss", at=now)
    assert found.verdict is Verdict.PASSED, why(found)
    adds_up(found, estate)
    assert found.claim("source_untouched").verdict is Verdict.PASSED  # type: ignore[union-attr]
    layers = {row["target"]: row for row in found.details["targets"]}
    assert {row["store"] for row in layers.values()} == {"eu", "eu_artifacts"}
    assert layers["postgres/observatory"]["rpo_seconds"] < 30
    beside = steps(found)
    restores = [result for name, result in beside.items() if name.startswith("restore_")]
    assert len({result.started_seconds for result in restores}) == 1  # side by side
