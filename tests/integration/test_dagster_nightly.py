"""`nightly_validation` through Dagster on a real lab, as `make demo` runs it, and what its history then shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.lab_support import take_down_and_check

HISTORY = """
import json, sys
import dagster as dg
with dg.DagsterInstance.get() as instance:
    runs = instance.get_run_records(limit=5)
    key = dg.AssetKey(["postgres", "observatory", "validation"])
    partitions = instance.get_materialized_partitions(key)
    events = instance.get_records_for_run(runs[0].dagster_run.run_id).records
    checks = {}
    metadata = {}
    for record in events:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            data = event.event_specific_data
            checks["/".join(data.asset_key.path[-1:]) + "." + data.check_name] = data.passed
        if event.event_type_value == "ASSET_MATERIALIZATION" and event.asset_key == key:
            metadata = {k: v.value for k, v in event.materialization.metadata.items()}
    print(json.dumps({
        "runs": [[r.dagster_run.job_name, r.dagster_run.status.value] for r in runs],
        "partitions": sorted(partitions), "checks": checks,
        "numbers": {k: v for k, v in metadata.items() if isinstance(v, (int, float))},
        "summary": metadata.get("summary", ""),
    }))
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a demo that has run; the lab is still up."""
    directory = tmp_path_factory.mktemp("demo") / "lab"
    try:
        yield directory
    finally:
        take_down_and_check_with_dagster(directory)


def take_down_and_check_with_dagster(directory: Path) -> None:
    """`lab down`, then whatever Dagster's instance left in the folder is ours to remove."""
    import shutil

    from ccobs_ops.lab.lab import take_down

    take_down(directory, purge=True)
    shutil.rmtree(directory / "dagster", ignore_errors=True)
    take_down_and_check(directory)


def _demo(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ccobs_ops.cli.main", "demo", "--dir", str(directory), "--scale", "0.1"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def _history(directory: Path) -> dict[str, Any]:
    answer = subprocess.run(
        [sys.executable, "-c", HISTORY],
        env=os.environ | {"DAGSTER_HOME": str(directory / "dagster")},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(answer.stdout.splitlines()[-1])


def test_the_demo_proves_a_backup_and_its_run_is_in_the_history(demo: Path) -> None:
    done = _demo(demo)
    assert done.returncode == 0, done.stdout + done.stderr
    for word in (
        "PASSED",
        "RTO",
        "RPO",
        "make ui",
        "canaries present, none later",
        "canaries arrived",
        "the same on both",
    ):
        assert word in done.stdout
    history = _history(demo)
    assert history["runs"][0] == ["nightly_validation", "SUCCESS"]
    assert history["partitions"] == [datetime.now(UTC).date().isoformat()]
    assert {
        "validation.exact",
        "validation.intact",
        "validation.rto",
        "validation.rpo",
        "window.no_wal_gap",
    } <= set(history["checks"])
    assert {
        "comparison.complete",
        "comparison.content",
        "comparison.contradiction",
        "canary.lag",
        "canary.arriving",
        "restore_observatory.exact",
    } <= set(history["checks"])
    assert all(history["checks"].values()), history["checks"]
    assert history["numbers"]["rto_seconds"] > 0
    assert history["numbers"]["canaries_present"] == history["numbers"]["canaries_expected"] > 0
    assert any(name.startswith("phase_") and name.endswith("_seconds") for name in history["numbers"])
    assert "exact" in history["summary"]


def test_a_broken_archive_turns_the_run_red(demo: Path) -> None:
    from ccobs_ops.lab import Lab

    lab = Lab.open(demo)
    lab.break_("canary-stopped")
    try:
        import time

        time.sleep(18)
        done = _demo(demo)
        assert done.returncode == 3, done.stdout + done.stderr
        assert "UNKNOWN" in done.stdout
        history = _history(demo)
        assert history["runs"][0] == ["nightly_validation", "FAILURE"]
        assert history["checks"]["validation.exact"] is False
        assert history["checks"]["validation.intact"] is True
    finally:
        lab.heal("canary-stopped")
