"""`ccobs-ops watch` and `remediate` on a ledger alone: what they say, and their exit statuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ccobs_ops.cli.main import run
from ccobs_ops.core.exercise import Claim, Exercise, Verdict, conclude
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import loads

TEXT = """
version: 1
environment: staging
stores: {us: {bucket: ccobs-backups}, eu: {bucket: ccobs-backups-eu}}
replication:
  backups: {source: us, replica: eu}
"""


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inventory:
    path = tmp_path / "inventory.yaml"
    path.write_text(TEXT)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return loads(TEXT, path)


def broken(inventory: Inventory) -> None:
    at = datetime.now(UTC)
    claims = (Claim("complete", Verdict.FAILED, "2 objects are missing"),)
    with Ledger.of(inventory) as ledger:
        ledger.record(
            Exercise(
                "c1",
                "replication/backups",
                "comparison",
                conclude(claims),
                "r",
                at - timedelta(seconds=1),
                at,
                claims,
            )
        )


def call(inventory: Inventory, *words: str) -> int:
    return run(["--inventory", str(inventory.path), *words])


def test_watch_says_that_no_agent_ever_ran(inventory: Inventory, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(inventory, "watch", "--json") == 3
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "UNKNOWN"
    assert {each["target"] for each in told["exercises"]} == {"ccobs/agents"}
    assert {each["name"] for each in told["transitions"]} == {"opened"}
    assert call(inventory, "watch", "--json") == 3
    assert json.loads(capsys.readouterr().out)["transitions"] == [], "no news"


def test_an_instance_of_dagster_that_is_not_there_is_unknown(
    inventory: Inventory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(inventory, "watch", "--dagster-home", str(tmp_path / "nowhere")) == 3
    assert "there is no Dagster instance in" in capsys.readouterr().out


def test_remediate_lists_what_is_due_and_why_the_rest_is_not(
    inventory: Inventory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(inventory, "remediate") == 0
    assert "no incident is open" in capsys.readouterr().out
    broken(inventory)
    assert call(inventory, "remediate") == 0
    told = capsys.readouterr().out
    assert "left to you" in told and "allow: [objects]" in told


def test_what_the_guard_refuses_is_refused(inventory: Inventory, capsys: pytest.CaptureFixture[str]) -> None:
    broken(inventory)
    assert call(inventory, "remediate", "--json") == 0
    identifier = json.loads(capsys.readouterr().out)["due"][0]["incident"]["id"]
    assert call(inventory, "remediate", identifier, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["outcome"], told["action"], told["target"]) == ("planned", "objects", "replication/backups")
    assert call(inventory, "remediate", identifier, "--confirm", "replication/other") == 2
    assert "is not confirmed" in capsys.readouterr().err
    assert call(inventory, "remediate", identifier, "--confirm", "replication/backups") == 2
    assert "the inventory does not allow objects" in capsys.readouterr().err
    assert call(inventory, "remediate", identifier, "--no-dry-run") == 2
    assert call(inventory, "remediate", "nothing-like-it") == 2
    assert "no incident is called" in capsys.readouterr().err
    with Ledger.of(inventory) as ledger:
        assert not ledger.exercises(capability="repair")


def test_the_breaker_is_reset_by_name_and_on_record(
    inventory: Inventory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(inventory, "remediate", "--reset-breaker", "replication/other") == 2
    assert call(inventory, "remediate", "--reset-breaker", "replication/backups") == 0
    with Ledger.of(inventory) as ledger:
        (event,) = ledger.events("replication/backups", "breaker_reset")
    assert event.details["by"]
