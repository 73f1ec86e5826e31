"""A ledger of ninety eventful days: restores, drills, drift, lag, incidents; and text in it that means harm."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ccobs_ops.core import incidents
from ccobs_ops.core.evidence import keys
from ccobs_ops.core.exercise import (
    Exercise,
    Finding,
    Phase,
    Severity,
    Verdict,
    failed,
    passed,
    rfc3339,
    unknown,
)
from ccobs_ops.core.incident import Incident, State, Transition
from ccobs_ops.core.ledger import Ledger

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
DAYS = 90
HARM = "<script>alert(1)</script><img src=x onerror=alert(2)> & password=hunter2secret"
INVENTORY = """\
version: 1
environment: production
stores: {us: {bucket: backups}, eu: {bucket: copies}}
postgres:
  observatory: {dsn: host=db, store: us, objectives: {rto: 10m, rpo: 15s}}
  billing: {dsn: host=db2, store: us}
etcd:
  control: {endpoints: ['https://e1:2379'], store: us, objectives: {rto: 2m}}
replication:
  backups: {source: us, replica: eu, rpo: 30s}
terraform:
  network: {dir: network}
  storage: {dir: storage}
evidence: {key: "file:secrets/evidence.pem"}
"""


def write_inventory(folder: Path, text: str = INVENTORY) -> Path:
    """An inventory with its key, in `folder`."""
    path = folder / "inventory.yaml"
    path.write_text(text)
    for name in ("network", "storage"):
        (folder / name).mkdir(exist_ok=True)
    if not (folder / "secrets" / "evidence.pem").exists():
        keys.generate(folder / "secrets" / "evidence.pem")
    return path


def fill(ledger: Ledger, *, now: datetime = NOW, days: int = DAYS, seed: int = 7) -> None:
    """Ninety days of exercises, drills and incidents, the same for the same seed."""
    rng = random.Random(seed)
    for back in range(days, -1, -1):
        night = (now - timedelta(days=back)).replace(hour=2, minute=0)
        if night > now:
            continue
        _night(ledger, rng, night, back, days)
    for back, scenario in ((61, "database-loss"), (24, "control-plane-and-data"), (3, "region-loss")):
        ledger.record(drill(now - timedelta(days=back), scenario, broken=scenario == "database-loss"))
    _incidents(ledger, now)


def make(
    target: str,
    capability: str,
    at: datetime,
    verdict: Verdict = Verdict.PASSED,
    reason: str = "every claim holds",
    *,
    claim: str = "exact",
    **more: Any,
) -> Exercise:
    """An exercise that finished `at`."""
    say = {Verdict.PASSED: passed, Verdict.FAILED: failed, Verdict.UNKNOWN: unknown}[verdict]
    name = f"{at:%Y%m%dT%H%M%SZ}-{target}-{capability}".replace("/", "-")
    return Exercise(
        name,
        target,
        capability,
        verdict,
        reason,
        at - timedelta(seconds=20),
        at,
        claims=(say(claim, reason),),
        **more,
    )


def _night(ledger: Ledger, rng: random.Random, night: datetime, back: int, days: int) -> None:
    for name, base, grows in (("observatory", 95.0, 0.011), ("billing", 21.0, 0.001)):
        target = f"postgres/{name}"
        ledger.record(make(target, "backup", night + timedelta(minutes=5), claim="complete"))
        ledger.record(make(target, "window", night + timedelta(minutes=7), claim="no_wal_gap"))
        if name == "billing" and 40 < back < 47:
            continue  # nobody looked
        for days_ago in {0, rng.randrange(0, 20)}:
            _restore(ledger, rng, target, night, days_ago, base * (1 + grows * (days - back)), back)
    ledger.record(make("etcd/control", "snapshot", night + timedelta(minutes=3), claim="complete"))
    ledger.record(make("etcd/control", "health", night + timedelta(minutes=4), claim="members"))
    restored = {"rto_seconds": rng.uniform(6, 9), "rpo_seconds": rng.uniform(600, 3000)}
    ledger.record(make("etcd/control", "restore_drill", night + timedelta(minutes=15), measurements=restored))
    lost = back in (33, 34)
    lag = rng.uniform(0.8, 3.0) * (20 if lost else 1)
    lags = {"lag_p50_seconds": lag / 3, "lag_p95_seconds": lag, "lag_max_seconds": lag * 1.4}
    verdict, why = (
        (Verdict.FAILED, "the replica is behind") if lost else (Verdict.PASSED, "every canary came")
    )
    at = night + timedelta(minutes=30)
    ledger.record(make("replication/backups", "canary", at, verdict, why, claim="lag", measurements=lags))
    ledger.record(make("replication/backups", "comparison", at, verdict, why, claim="complete"))
    for root in ("network", "storage"):
        drifted = root == "storage" and back < 3
        ledger.record(
            make(
                f"terraform/{root}",
                "drift",
                night + timedelta(minutes=40),
                Verdict.FAILED if drifted else Verdict.PASSED,
                "1 change weakens recovery" if drifted else "no drift",
                claim="no_drift",
                details={"changes": [_change(night)]} if drifted else {"changes": []},
                measurements={"drift_open": float(drifted), "drift_critical": float(drifted)},
            )
        )


def _restore(
    ledger: Ledger, rng: random.Random, target: str, night: datetime, days_ago: int, base: float, back: int
) -> None:
    at = night + timedelta(minutes=12 + days_ago)
    point = night - timedelta(days=days_ago, minutes=3)
    phases = (Phase("fetch", base * 0.7, int(base * 100e6)), Phase("replay", base * 0.2), Phase("ready", 0.4))
    if back in (17, 18) and target.endswith("observatory"):
        why = HARM if back == 17 else "3 canaries are missing"
        finding = Finding("exact_broken", Severity.CRITICAL, target, why, HARM)
        ledger.record(make(target, "validation", at, Verdict.FAILED, why, findings=(finding,), phases=phases,
                           details={"recovered_to": rfc3339(point)}, measurements={"rto_seconds": base}))  # fmt: skip
        return
    if back == 52:
        ledger.record(make(target, "validation", at, Verdict.UNKNOWN, "the store did not answer",
                           details={"day": point.date().isoformat()}))  # fmt: skip
        return
    ledger.record(
        make(
            target,
            "validation",
            at,
            reason="restored",
            details={"recovered_to": rfc3339(point)},
            phases=phases,
            measurements={
                "rto_seconds": base * rng.uniform(0.93, 1.1),
                "rpo_seconds": rng.uniform(0.3, 4.0),
                "bytes_restored": base * 100e6,
            },
        )
    )


def _change(night: datetime) -> dict[str, Any]:
    return {
        "address": "aws_s3_bucket_versioning.artifacts",
        "severity": "critical",
        "message": f"versioning was switched off: deleted objects do not come back {HARM}",
        "open": True,
        "first_seen": rfc3339(night),
    }


def drill(at: datetime, scenario: str, *, broken: bool = False) -> Exercise:
    """A drill as docs/json.md describes it; a broken one stops after its second restore."""
    rows: list[tuple[str, str, str, list[str], float | None, float | None, str]] = [
        ("precheck", "drill", "precheck", [], 0.0, 4.0, "PASSED"),
        ("restore_etcd_control", "etcd/control", "restore", ["precheck"], 4.0, 15.5, "PASSED"),
        ("restore_postgres_billing", "postgres/billing", "restore", ["precheck"], 4.0, 34.0, "PASSED"),
        (
            "restore_postgres_observatory",
            "postgres/observatory",
            "restore",
            ["precheck"],
            4.0,
            131.0,
            "PASSED",
        ),
        ("verify", "drill", "verify", ["restore_postgres_observatory"], 131.0, 149.0, "PASSED"),
        ("probe", "drill", "probe", ["verify"], 149.0, 152.4, "PASSED"),
        ("drift", "terraform/network", "drift", ["probe"], 152.4, 166.0, "PASSED"),
        ("cleanup", "drill", "cleanup", [], 166.0, 171.0, "PASSED"),
    ]
    if broken:
        rows[3] = (*rows[3][:5], 80.0, "FAILED")
        rows[4:7] = [(*row[:4], None, None, "UNKNOWN") for row in rows[4:7]]
        rows[7] = (*rows[7][:4], 80.0, 86.0, "PASSED")
    path = ["precheck", "restore_postgres_observatory", "verify", "probe"]
    details = {
        "scenario": scenario,
        "operator": "ada",
        "reason": "quarterly drill",
        "declared_at": rfc3339(at),
        "steps": [
            {"name": name, "target": target, "kind": kind, "needs": needs, "started_seconds": begun,
             "finished_seconds": ended, "verdict": verdict, "reason": "done" if begun is not None else "not reached",
             "exercise": None}
            for name, target, kind, needs, begun, ended, verdict in rows
        ],
        "critical_path": [] if broken else path,
        "rto_seconds": None if broken else 152.4,
        "rpo_seconds": None if broken else 3.2,
        "recovery_point": None if broken else rfc3339(at - timedelta(seconds=3.2)),
    }  # fmt: skip
    return make(
        "drill/whole_estate",
        "drill",
        at + timedelta(seconds=171),
        Verdict.FAILED if broken else Verdict.PASSED,
        "a backup could not be read" if broken else "service ready after 2m 32s, 3.20 s lost",
        claim="ready",
        details=details,
        measurements={} if broken else {"rto_seconds": 152.4, "rpo_seconds": 3.2},
    )


def _incidents(ledger: Ledger, now: datetime) -> None:
    told = (
        ("postgres/observatory", "validation", "exact", 18, 26.0, HARM, "canary"),
        ("replication/backups", "canary", "lag", 34, 40.0, "the replica is behind", "canary"),
        ("postgres/billing", "validation", "exact", 52, 24.0, "the store did not answer", "last_passed"),
        ("terraform/storage", "drift", "no_drift", 2, None, "1 change weakens recovery", "cloudtrail"),
    )
    for number, (target, capability, claim, back, hours, reason, source) in enumerate(told):
        detected = (now - timedelta(days=back)).replace(hour=2, minute=12)
        opened = Incident(
            id=f"{detected:%Y%m%dT%H%M%SZ}-{number:04x}",
            target=target,
            capability=capability,
            claim=claim,
            kind=Verdict.UNKNOWN if "answer" in reason else Verdict.FAILED,
            state=State.OPEN,
            severity=Severity.CRITICAL,
            reason=reason,
            hint="",
            occurred_at=detected - timedelta(minutes=9),
            occurred_from=source,
            detected_at=detected,
            opened_by=f"E{number}",
        )
        with ledger.writing() as connection:
            incidents.keep(connection, Transition("opened", f"E{number}", detected, opened))
            if hours is not None:
                done = detected + timedelta(hours=hours)
                closed = replace(opened, state=State.CLOSED, verified_at=done, verified_by=f"F{number}")
                incidents.keep(connection, Transition("verified", f"F{number}", done, closed))
