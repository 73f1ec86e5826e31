"""The exporter tells what the ledger has, in few series, and never fails a scrape."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ccobs_ops.core.exercise import Finding, Phase, Severity, Verdict
from ccobs_ops.core.ledger import Canary, Ledger
from ccobs_ops.core.metrics.serve import parse_address, rendered
from ccobs_ops.inventory_load import load
from tests.alerts_support import closed, happened, incident, keep
from tests.ledger_support import server, url
from tests.metrics_support import INVENTORY, NOON, exercise, fill

__all__ = ["server", "url"]
ROOT = Path(__file__).resolve().parents[2]
Samples = dict[tuple[str, ...], float]


@pytest.fixture
def inventory(tmp_path: Path, url: str) -> Path:
    (tmp_path / "iac").mkdir()
    path = tmp_path / "inventory.yaml"
    path.write_text(INVENTORY.format(ledger=url))
    return path


@pytest.fixture
def ledger(inventory: Path) -> Iterator[Ledger]:
    with Ledger.of(load(inventory)) as made:
        yield made


def scrape(inventory: Path) -> tuple[Samples, str]:
    """Samples by name and sorted `label=value`, and the text."""
    told: list[str] = []
    text, up = rendered(inventory, log=told.append)
    assert up, told
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name, *sorted(f"{name}={value}" for name, value in sample.labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found, text.decode()


def test_the_newest_exercise_is_told_and_when_one_last_passed(inventory: Path, ledger: Ledger) -> None:
    ledger.record(exercise("postgres/observatory", "validation", Verdict.PASSED, 1))
    ledger.record(
        exercise(
            "postgres/observatory",
            "validation",
            Verdict.FAILED,
            2,
            phases=(Phase("fetch", 2.0, 4096), Phase("fetch", 1.0, 1024), Phase("ready", 0.5)),
            measurements={"rto_seconds": 12.5, "rpo_seconds": 0.9, "bytes_restored": 7.0, "dead_ratio": 0.25},
            findings=(Finding("lost", Severity.CRITICAL, "x", "y"),),
        )
    )
    found, _ = scrape(inventory)
    which = ("capability=validation", "target=postgres/observatory")
    assert found["ccobs_exercise_verdict", *which, "verdict=FAILED"] == 1
    assert found["ccobs_exercise_verdict", *which, "verdict=PASSED"] == 0
    assert found["ccobs_exercise_timestamp_seconds", *which] == (NOON + timedelta(minutes=2)).timestamp()
    assert (
        found["ccobs_exercise_passed_timestamp_seconds", *which] == (NOON + timedelta(minutes=1)).timestamp()
    )
    assert found["ccobs_exercise_duration_seconds", *which] == 90
    assert found["ccobs_exercise_findings", which[0], "severity=critical", which[1]] == 1
    assert found["ccobs_phase_seconds", which[0], "phase=fetch", which[1]] == 3.0
    assert found["ccobs_phase_bytes", which[0], "phase=fetch", which[1]] == 5120
    assert found["ccobs_measurement_ratio", which[0], "measurement=dead", which[1]] == 0.25
    assert found["ccobs_measurement_objects", which[0], "measurement=bytes_restored", which[1]] == 7
    assert found["ccobs_rto_seconds", which[1]] == 12.5
    assert found["ccobs_rpo_seconds", which[1]] == 0.9
    assert found["ccobs_objective_seconds", "objective=rto", which[1]] == 1800


def test_incidents_drift_agents_canaries_and_channels_are_told(inventory: Path, ledger: Ledger) -> None:
    keep(ledger, happened("opened", incident(1)), happened("opened", incident(2, claim="rpo")))
    keep(ledger, happened("verified", closed(incident(2, claim="rpo"), NOON)))
    ledger.beat("postgres/observatory", "wal", NOON)
    ledger.record_canary(Canary("postgres/observatory", 7, 1, NOON, 1, 2))
    scan = exercise("terraform/production", "drift", Verdict.FAILED, 1, measurements={"drift_critical": 2.0})
    ledger.record(scan)
    found, _ = scrape(inventory)
    target = "target=postgres/observatory"
    assert found["ccobs_incidents_open", "severity=critical", target] == 1
    assert found["ccobs_incidents_open", "severity=critical", "target=postgres/reports"] == 0
    [detected] = [key for key in found if key[0] == "ccobs_incident_detected_timestamp_seconds"]
    assert {"claim=exact", "kind=FAILED", target} < set(detected)
    assert found["ccobs_agent_heartbeat_timestamp_seconds", "component=wal", target] == NOON.timestamp()
    assert found["ccobs_canary_committed_timestamp_seconds", target] == NOON.timestamp()
    assert found["ccobs_drift_objects", "drift=critical", "target=terraform/production"] == 2
    assert found["ccobs_alert_channel_failures", "channel=chat"] == 0


def test_what_the_inventory_no_longer_names_disappears_while_it_is_served(
    inventory: Path, ledger: Ledger
) -> None:
    from prometheus_client import generate_latest

    from ccobs_ops.core.metrics.serve import registry_of

    ledger.record(exercise("postgres/reports", "backup", Verdict.PASSED, 1))
    ledger.beat("postgres/reports", "wal", NOON)
    keep(ledger, happened("opened", incident(target="postgres/reports")))
    told: list[str] = []
    registry, collector = registry_of(inventory, told.append)
    assert b"postgres/reports" in generate_latest(registry)
    text = inventory.read_text()
    inventory.write_text(text.replace("  reports: {dsn: host=db2, store: us}\n", ""))
    after = generate_latest(registry)
    assert b"postgres/reports" not in after
    assert b"postgres/observatory" in after
    inventory.write_text(text.replace("version: 1", "version: 7"))
    assert b"ccobs_up 0.0" in generate_latest(registry)
    assert "version" in told[-1]
    inventory.write_text(text)
    assert b"ccobs_up 1.0" in generate_latest(registry)
    collector.close()


def test_promtool_has_nothing_to_say(inventory: Path, ledger: Ledger) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool (apt-get install prometheus)")
    fill(ledger)
    _, text = scrape(inventory)
    told = subprocess.run(
        ["promtool", "check", "metrics"], check=False, input=text, capture_output=True, text=True, timeout=60
    )
    assert (told.returncode, told.stdout + told.stderr) == (0, "")


def test_series_are_few_and_no_label_grows_with_time(inventory: Path, ledger: Ledger) -> None:
    fill(ledger)
    before, _ = scrape(inventory)
    for minutes in range(10, 20):
        fill(ledger, minutes)
    after, _ = scrape(inventory)
    assert set(before) == set(after), "more exercises make no more series"
    per_target = Counter(label for key in after for label in key if label.startswith("target="))
    assert max(per_target.values()) <= 500
    names = {label.partition("=")[0] for key in after for label in key[1:]}
    assert names <= {
        *("target", "capability", "claim", "scope", "severity", "kind", "verdict", "objective", "phase"),
        *("measurement", "component", "channel", "drift", "version"),
    }


def test_a_flood_of_names_is_cut(inventory: Path, ledger: Ledger) -> None:
    many = {f"object_{n}_seconds": 1.0 for n in range(5000)}
    phases = tuple(Phase(f"object {n}", 1.0) for n in range(5000))
    flood = exercise("etcd/control", "health", Verdict.PASSED, 1, measurements=many, phases=phases)
    ledger.record(flood)
    found, _ = scrape(inventory)
    assert sum("target=etcd/control" in key for key in found) < 150


def test_a_ledger_that_cannot_be_read_is_said_and_breaks_nothing(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    (tmp_path / "ledger.db").write_bytes(
        b"this is no database, and it is longer than a page would need" * 100
    )
    path.write_text("version: 1\nenvironment: lab\n")
    told: list[str] = []
    text, up = rendered(path, log=told.append)
    assert not up
    assert b"ccobs_up 0.0" in text
    assert "ledger" in told[0]


def test_every_family_is_documented(inventory: Path, ledger: Ledger) -> None:
    fill(ledger)
    _, text = scrape(inventory)
    names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    documented = set(
        re.findall(r"^\| `(ccobs_\w+)`", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    )
    assert names == documented


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        (":9464", ("0.0.0.0", 9464)),
        ("[::1]:80", ("::1", 80)),
        ("9464", None),
        ("host:", None),
        ("host:70000", None),
    ],
)
def test_an_address_is_host_and_port(text: str, address: tuple[str, int] | None) -> None:
    if address is not None:
        assert parse_address(text) == address
        return
    with pytest.raises(ValueError, match="no address"):
        parse_address(text)
