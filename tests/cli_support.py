"""What tests of the command line share: a folder with an inventory, and an exercise to show."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ccobs_ops.core.exercise import Claim, Exercise, Finding, Phase, Severity, Verdict

INVENTORY = """\
version: 1
environment: lab
stores: {us: {bucket: backups}}
postgres: {observatory: {dsn: host=db, store: us}, reports: {dsn: host=db2, store: us}}
"""
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CCOBS_INVENTORY", raising=False)
    monkeypatch.delenv("CCOBS_DEBUG", raising=False)
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    return tmp_path


def exercise(verdict: Verdict = Verdict.PASSED, capability: str = "validation") -> Exercise:
    return Exercise(
        id=f"20261123T120000Z-{capability}-{verdict}".lower(),
        target="postgres/observatory",
        capability=capability,
        verdict=verdict,
        reason="4182 of 4182 canaries present, none later",
        started_at=NOON,
        finished_at=NOON,
        claims=(
            Claim("exact", Verdict.PASSED, "4182 of 4182 canaries"),
            Claim("rto", Verdict.FAILED, "too slow"),
            Claim("data_checks", Verdict.UNKNOWN, "production did not answer"),
        ),
        phases=(Phase("fetch", 2.0, 3 * 1024**3), Phase("ready", 0.25)),
        measurements={
            "rto_seconds": 2000.0,
            "rpo_seconds": 0.9,
            "canaries_present": 4182.0,
            "bad": float("nan"),
        },
        findings=(
            Finding("wal_gap", Severity.CRITICAL, "0000000100000000000000A3", "missing [/bold]", "look"),
        ),
    )
