"""Incidents, status and forecast as an operator sees them: on a terminal of 80 columns, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.cli.main import run
from ccobs_ops.core.exercise import Claim, Exercise, Finding, Severity, Verdict, conclude, utc_now
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.inventory_load import load

INVENTORY = """\
version: 1
environment: lab
stores: {us: {bucket: backups}}
postgres: {observatory: {dsn: host=db, store: us}}
"""
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CCOBS_INVENTORY", str(tmp_path / "inventory.yaml"))
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    with Ledger.of(load(tmp_path / "inventory.yaml")) as opened:
        yield opened


def found(ledger: Ledger, verdict: Verdict, *, minutes: float, **more: Any) -> None:
    at = utc_now() - timedelta(minutes=minutes)
    claims = (Claim("exact", verdict, "3 of 4 canaries present"),)
    findings = (Finding("canary_missing", Severity.CRITICAL, "4", "1 is missing", "restore an older point"),)
    ledger.record(
        Exercise(
            f"E{minutes:06.1f}", "postgres/observatory", "validation", conclude(claims), "why",
            at - timedelta(seconds=9), at, claims, findings=() if verdict is Verdict.PASSED else findings, **more,
        )
    )  # fmt: skip


def told(capsys: Capture, *argv: str, status: int = 0) -> str:
    assert run(list(argv)) == status
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines()), out
    return out


def document(capsys: Capture, *argv: str, status: int = 0) -> dict[str, Any]:
    assert run([*argv, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_an_incident_is_listed_shown_acknowledged_and_proven(ledger: Ledger, capsys: Capture) -> None:
    assert told(capsys, "incident", "list") == "no incident is open\n"
    found(ledger, Verdict.PASSED, minutes=30)
    found(ledger, Verdict.FAILED, minutes=20)
    listed = told(capsys, "incident", "list")
    assert "✗ i" in listed
    assert "critical  postgres/observatory" in listed

    (incident,) = document(capsys, "incident", "list")["incidents"]
    assert incident["key"] == "postgres/observatory validation exact"
    assert (incident["open"], incident["state"], incident["occurred_from"]) == (True, "open", "last_passed")
    assert incident["time_to_detect_seconds"] == pytest.approx(609, abs=1)
    assert incident["open_seconds"] == pytest.approx(1200, abs=60)

    acknowledged = told(capsys, "incident", "ack", incident["id"][:6], "--by", "ada", "--note", "looking")
    assert "acknowledged" in acknowledged
    assert "ada (note: looking)" in acknowledged
    assert document(capsys, "incident", "ack", incident["id"], "--by", "bob")["acknowledged_by"] == "ada"

    shown = told(capsys, "incident", "show", incident["id"])
    assert "HINT: restore an older point" in shown
    assert "from the last proof: it happened after that" in shown

    found(ledger, Verdict.PASSED, minutes=10)
    assert told(capsys, "incident", "list") == "no incident is open\n"
    closed = document(capsys, "incident", "show", incident["id"])
    assert [each["name"] for each in closed["history"]] == ["opened", "acknowledged", "verified"]
    assert closed["verified_by"] == "E0010.0"
    assert document(capsys, "incident", "list", "--all", "--target", "postgres/other")["incidents"] == []
    assert len(document(capsys, "incident", "list", "--all", "--since", "1h")["incidents"]) == 1
    told(capsys, "incident", "ack", incident["id"], status=2)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["show", "zz"], "no incident 'zz'"),
        (["ack", "zz"], "no incident 'zz'"),
        (["show", "i"], "more than one incident begins with 'i'"),
        (["list", "--since", "yesterday"], "neither a duration nor a moment"),
    ],
)
def test_wrong_usage(ledger: Ledger, capsys: Capture, argv: list[str], message: str) -> None:
    found(ledger, Verdict.FAILED, minutes=200)
    found(ledger, Verdict.PASSED, minutes=150)
    found(ledger, Verdict.FAILED, minutes=20)
    assert run(["incident", *argv]) == 2
    assert message in capsys.readouterr().err
    assert message in document(capsys, "incident", *argv, status=2)["error"]["message"]


def test_status_names_the_open_incident_and_the_forecast(ledger: Ledger, capsys: Capture) -> None:
    found(ledger, Verdict.FAILED, minutes=20)
    shown = told(capsys, "status", status=1)
    assert "forecast  not known: 0 restores were measured" in shown
    (target,) = document(capsys, "status", status=1)["targets"]
    (incident,) = target["incidents"]
    assert f"incident  ✗ {incident['id']} validation exact, open for 20m" in shown
    assert (target["forecast"]["rto_seconds"], target["forecast"]["samples"]) == (None, 0)

    for number in range(9):
        at = 5.0 + number * 24 * 60
        found(
            ledger,
            Verdict.PASSED,
            minutes=at,
            measurements={"rto_seconds": 60.0 - number, "bytes_restored": 1e9},
        )
    shown = told(capsys, "status", status=3)
    assert "incident" not in shown
    assert "forecast  RTO 5" in shown or "forecast  RTO 1m" in shown


def test_what_is_open_elsewhere_is_shown_too(ledger: Ledger, capsys: Capture) -> None:
    at = utc_now()
    claims = (Claim("daemon_alive", Verdict.FAILED, "it is silent"),)
    ledger.record(Exercise("W1", "ccobs/dagster", "watch", Verdict.FAILED, "silent", at, at, claims))
    assert "ccobs/dagster watch daemon_alive" in told(capsys, "status", status=3)
    assert document(capsys, "status", status=3)["incidents_elsewhere"][0]["target"] == "ccobs/dagster"


def test_a_forecast_is_an_exercise(ledger: Ledger, capsys: Capture) -> None:
    (made,) = document(capsys, "forecast", status=3)["exercises"]
    assert made["claims"][0] == {
        "name": "rto_will_hold",
        "verdict": "UNKNOWN",
        "reason": "it cannot be told yet: 0 restores were measured, and a forecast takes 8",
    }
    assert "rto_will_hold" in told(capsys, "forecast", "postgres/observatory", status=3)
    told(capsys, "forecast", "postgres/other", status=2)
    assert told(capsys, "incident", "list") == "no incident is open\n"
