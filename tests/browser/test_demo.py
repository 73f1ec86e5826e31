"""`make demo` as its user: `nightly_validation` through Dagster on a real lab, its evidence and its history; then, on its
Dagster UI, what an operator sees and clicks in Debian's Chromium; then a night that cannot prove everything.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.lab.lab import Lab, take_down
from ccobs_ops.lab.ports import free_base
from tests.browser_support import CHROMIUM, FLAGS, NO_CHROMIUM
from tests.lab_support import take_down_and_check

# Playwright closes its event loop before the pipe to its driver
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
LOCATION = "/locations/__repository__@ccobs-ops"
TODAY = datetime.now(UTC).date().isoformat()


HISTORY = """
import json, sys
import dagster as dg
with dg.DagsterInstance.get() as instance:
    # the UI's daemon runs jobs of its own
    runs = instance.get_run_records(dg.RunsFilter(job_name="nightly_validation"), limit=5)
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
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the demo's lab; everything is ended and removed afterwards."""
    path = tmp_path_factory.mktemp("demo") / "lab"
    try:
        yield path
    finally:
        take_down(path, purge=True)
        shutil.rmtree(path / "dagster", ignore_errors=True)
        (path / "ui.log").unlink(missing_ok=True)
        gc.collect()  # the last of what Playwright leaves: not in a test of another file
        take_down_and_check(path)


@pytest.fixture(scope="module")
def ran(directory: Path) -> subprocess.CompletedProcess[str]:
    """The first demo, which has ended."""
    return _demo(directory)


@pytest.fixture
def ledger(ran: object, directory: Path) -> Iterator[Ledger]:
    """The ledger of the demo's lab."""
    with Ledger.open(f"sqlite:///{directory / 'ledger.db'}") as opened:
        yield opened


@pytest.fixture(scope="module")
def base(ran: object, directory: Path) -> Iterator[str]:
    """The address of the UI on the instance of the demo."""
    port = free_base([0])
    family: list[psutil.Process] = []
    try:
        with (directory / "ui.log").open("wb") as log:
            server = subprocess.Popen(
                [*_command(directory), "--ui", "--port", str(port)], stdout=log, stderr=log
            )
        family = [psutil.Process(server.pid)]
        _answers(f"http://127.0.0.1:{port}/server_info", server, directory / "ui.log")
        family += family[0].children(recursive=True)
        yield f"http://127.0.0.1:{port}"
    finally:
        for process in family:
            if process.is_running():
                process.kill()
        psutil.wait_procs(family, timeout=20)


def _command(directory: Path) -> list[str]:
    return [sys.executable, "-m", "ccobs_ops.cli.main", "demo", "--dir", str(directory), "--scale", "0.05"]


def _demo(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(directory), capture_output=True, text=True, timeout=240, check=False)


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


def _answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, f"the UI did not answer within 120 s:\n{log.read_text()[-2000:]}"
            time.sleep(0.5)


@pytest.fixture
def page(base: str):
    """A fresh browser page."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60_000)
        yield page
        browser.close()
    gc.collect()  # what Playwright leaves is collected here, where it is expected, and not in the next test


def test_the_demo_proves_a_backup_and_its_run_is_in_the_history(
    ran: subprocess.CompletedProcess[str], directory: Path
) -> None:
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for word in (
        "PASSED",
        "RTO",
        "RPO",
        "make ui",
        "canaries present, none later",
        "canaries arrived",
        "the same on both",
    ):
        assert word in ran.stdout
    history = _history(directory)
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


def test_the_lineage_shows_three_assets_with_all_their_checks_passed(base: str, page) -> None:
    page.goto(f"{base}{LOCATION}/asset-groups/postgres/lineage")
    page.get_by_text("7 / 7 Passed").wait_for()
    for words in ("backup", "window", "validation", "2 / 2 Passed", "4 / 4 Passed"):
        assert page.get_by_text(words, exact=True).count() >= 1, words


def test_the_partition_bar_is_a_calendar_of_what_was_proven(base: str, page) -> None:
    page.goto(f"{base}/assets/postgres/observatory/validation?view=partitions")
    page.get_by_text("Materialized (1)").wait_for()
    page.get_by_text("Missing (13)").wait_for()
    assert page.get_by_text(TODAY).count() >= 1


def test_a_validation_is_launched_from_the_launchpad_and_followed_to_its_end(base: str, page) -> None:
    page.goto(f"{base}{LOCATION}/jobs/postgres_validation/playground")
    page.get_by_text("strategy").first.wait_for()
    assert page.get_by_text("automatic").count() >= 1
    page.get_by_placeholder("Partition").fill(TODAY)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Launch Run").click()
    page.wait_for_url("**/runs/**", timeout=90_000)
    page.get_by_text("Finished execution of run").wait_for(timeout=120_000)
    page.get_by_text("Success", exact=True).first.wait_for()


SCENARIOS = (
    "control_plane_and_data",
    "accidental_delete",
    "database_loss",
    "etcd_quorum_loss",
    "ransomware",
    "region_loss",
)
"""The lab's drills. The launchpad rehearses one by clicks, GraphQL another one; all of them with CCOBS_SWEEP."""


def launched(base: str, drill: str, *, dry_run: bool) -> str:
    """Launch `dr_drill` as the launchpad does, wait for the end of the run, and return its status."""
    from dagster_graphql import DagsterGraphQLClient

    address = urllib.parse.urlsplit(base)
    api = DagsterGraphQLClient(str(address.hostname), port_number=address.port)
    config = {"drill": drill, "dry_run": dry_run, "operator": "ada", "reason": "by GraphQL"}
    run = api.submit_job_execution(
        "dr_drill",
        repository_location_name="ccobs-ops",
        repository_name="__repository__",
        run_config={"ops": {"drill": {"config": config}}},
    )
    until = time.monotonic() + 180
    while (status := api.get_run_status(run).value) not in ("SUCCESS", "FAILURE", "CANCELED"):
        assert time.monotonic() < until, f"{drill} was {status} after 180 s"
        time.sleep(0.5)
    return status


@pytest.mark.parametrize("drill", SCENARIOS if os.environ.get("CCOBS_SWEEP") else SCENARIOS[:1])
def test_a_drill_is_launched_by_graphql_and_its_critical_path_adds_up_with_the_ledger(
    base: str, drill: str, ledger: Ledger, directory: Path
) -> None:
    if (
        drill == SCENARIOS[0]
    ):  # the night's snapshot is older than its first backup: the layers could not meet
        command = [
            sys.executable,
            "-m",
            "ccobs_ops.cli.main",
            "--inventory",
            str(directory / "inventory.yaml"),
        ]
        subprocess.run([*command, "etcd", "snapshot"], check=True, timeout=60, stdout=subprocess.DEVNULL)
        assert launched(base, drill, dry_run=True) == "SUCCESS"
    assert ledger.latest(f"drill/{drill}", "drill") is None  # a dry run restores nothing
    status = launched(base, drill, dry_run=False)
    found = ledger.latest(f"drill/{drill}", "drill")
    assert found is not None
    assert status == "SUCCESS", found.reason
    assert found.verdict is Verdict.PASSED
    took = {row["name"]: row["finished_seconds"] - row["started_seconds"] for row in found.details["steps"]}
    path = found.details["critical_path"]
    assert sum(took[name] for name in path) == pytest.approx(found.measurements["rto_seconds"])
    for row in found.details["steps"]:
        assert row["exercise"] is None or len(ledger.find(row["exercise"])) == 1


def test_a_drill_is_launched_by_clicks_and_its_evidence_is_on_the_asset_page(
    base: str, page, ledger: Ledger, tmp_path: Path
) -> None:
    shots = Path(os.environ.get("CCOBS_SCREENSHOTS") or tmp_path)
    page.goto(f"{base}{LOCATION}/jobs/dr_drill/playground")
    page.get_by_text("dry_run").first.wait_for()
    editor = page.locator(".CodeMirror").first
    editor.click()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.press("Delete")
    text = "ops:\n  drill:\n    config: {drill: etcd_quorum_loss, dry_run: false, operator: ada, reason: by clicks}\n"
    page.keyboard.insert_text(text)
    page.screenshot(path=shots / "drill-launchpad.png")
    launch = page.get_by_role("button", name="Launch Run")
    launch.click()
    page.wait_for_url("**/runs/**", timeout=90_000)
    page.get_by_text("Finished execution of run").wait_for(timeout=120_000)
    page.get_by_text("Success", exact=True).first.wait_for()
    page.screenshot(path=shots / "drill-run.png")
    found = ledger.latest("drill/etcd_quorum_loss", "drill")
    assert found is not None
    assert (found.verdict, found.details["reason"]) == (Verdict.PASSED, "by clicks")
    page.goto(f"{base}/assets/drill/etcd_quorum_loss")
    page.get_by_text(found.id).first.wait_for()
    page.screenshot(path=shots / "drill-asset.png")


def test_a_broken_archive_turns_the_run_red(base: str, directory: Path) -> None:
    gc.collect()
    lab = Lab.open(directory)
    lab.break_("canary-stopped")
    try:
        time.sleep(18)
        done = _demo(directory)
        assert done.returncode == 3, done.stdout + done.stderr
        assert "UNKNOWN" in done.stdout
        history = _history(directory)
        assert history["runs"][0] == ["nightly_validation", "FAILURE"]
        assert history["checks"]["validation.exact"] is False
        assert history["checks"]["validation.intact"] is True
    finally:
        lab.heal("canary-stopped")
