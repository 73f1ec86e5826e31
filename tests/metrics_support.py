"""A ledger with something of everything, for what reads the exporter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ccobs_ops.core.alerts import outbox
from ccobs_ops.core.exercise import Claim, Exercise, Phase, Verdict
from ccobs_ops.core.ledger import Canary, Ledger
from tests.alerts_support import happened, incident, keep

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
INVENTORY = """\
version: 1
environment: lab
ledger: {ledger}
stores: {{us: {{bucket: backups}}, eu: {{bucket: copies}}}}
postgres:
  observatory: {{dsn: host=db, store: us}}
  reports: {{dsn: host=db2, store: us}}
etcd: {{control: {{endpoints: ['http://etcd:2379'], store: us}}}}
replication: {{backups: {{source: us, replica: eu}}}}
terraform: {{production: {{dir: iac}}}}
alerts: {{channels: {{chat: {{apprise: env:CHAT}}}}}}
"""


def exercise(target: str, capability: str, verdict: Verdict, minutes: float, **changes: object) -> Exercise:
    at = NOON + timedelta(minutes=minutes)
    made = Exercise(
        id=f"{target}-{capability}-{minutes}",
        target=target,
        capability=capability,
        verdict=verdict,
        reason="as found",
        started_at=at - timedelta(seconds=90),
        finished_at=at,
        claims=(Claim("exact", verdict, "as found"),),
    )
    return replace(made, **changes)


def fill(ledger: Ledger, minutes: float = 1) -> None:
    """Something of everything."""
    measured = {
        "rto_seconds": 9.0,
        "rpo_seconds": 1.0,
        "lag_max_seconds": 1.0,
        "x_bytes": 5.0,
        "y_ratio": 0.5,
        "n": 2.0,
    }
    for target, capability in (
        ("postgres/observatory", "validation"),
        ("postgres/observatory", "backup"),
        ("etcd/control", "restore_drill"),
        ("replication/backups", "canary"),
        ("terraform/production", "drift"),
        ("ccobs/alerts", "watch"),
    ):
        phases = (Phase("fetch", 1.0, 10),)
        drift = {"drift_critical": 0.0} if capability == "drift" else {}
        ledger.record(
            exercise(
                target, capability, Verdict.PASSED, minutes, phases=phases, measurements=measured | drift
            )
        )
    if minutes != 1:
        return
    ledger.beat("postgres/observatory", "wal", NOON)
    ledger.record_canary(Canary("postgres/observatory", 7, 1, NOON, 1, 2))
    keep(ledger, happened("opened", incident()))
    with ledger.writing() as connection:
        outbox.add_channel(connection, "chat", heartbeat_on=None)
        outbox.change_channel(connection, "chat", delivered_at=NOON)
