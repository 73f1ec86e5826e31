"""The drills that a lab's inventory has: one of each scenario that its services allow."""

from __future__ import annotations

from typing import Any

from ccobs_ops.lab.plan import ETCD_TARGET, TARGET, Plan
from ccobs_ops.lab.s3 import aws_region

VAULT_STORE = "vault"
OBJECTS = "replication/artifacts"
PROMISES = {
    "ransomware": "26h",
    "etcd_quorum_loss": "75m",
    "region_loss": "75m",
    "control_plane_and_data": "75m",
}
"""The RPO of drills that go back to a backup or a snapshot; the others' is five minutes."""
_ROWS: dict[str, Any] = {
    "name": "messages",
    "target": TARGET,
    "sql": "SELECT count(*) > 0 FROM messages",
    "expect": True,
}
_ORPHANS: dict[str, Any] = {
    "name": "no_orphans",
    "target": TARGET,
    "sql": "SELECT count(*) FROM messages m LEFT JOIN conversations c ON c.id = m.conversation_id WHERE c.id IS NULL",
    "expect": 0,
}
_HEALTH: dict[str, Any] = {
    "name": "etcd_health",
    "target": ETCD_TARGET,
    "path": "/health",
    "contains": '"health":"true"',
}


def drills(plan: Plan, document: dict[str, Any]) -> dict[str, Any]:
    """The drills for the targets that `document` has; `document` is the rest of the inventory."""
    database = "postgres" in document and "agent" in plan.services
    cluster = "etcd" in document
    regions = "replication" in document
    found: dict[str, Any] = {}
    if database:
        found["accidental_delete"] = {
            "scenario": "accidental-delete",
            "targets": [{"target": TARGET}],
            "table": "public.messages",
            "probes": [_ROWS],
        }
        found["database_loss"] = {
            "scenario": "database-loss",
            "targets": [{"target": TARGET}],
            "probes": [_ROWS, _ORPHANS],
        }
    if cluster:
        found["etcd_quorum_loss"] = {
            "scenario": "etcd-quorum-loss",
            "targets": [{"target": ETCD_TARGET}],
            "probes": [_HEALTH],
        }
    if database and VAULT_STORE in document["stores"]:
        found["ransomware"] = {
            "scenario": "ransomware",
            "targets": [{"target": TARGET, "store": VAULT_STORE}],
            "probes": [_ROWS],
            "drift": [],
        }
    if database and cluster and regions:
        found["region_loss"] = {
            "scenario": "region-loss",
            "lost_region": aws_region("us"),
            "targets": [
                {"target": TARGET, "store": "eu"},
                {"target": ETCD_TARGET, "store": "eu"},
                {"target": OBJECTS},
            ],
            "probes": [_ROWS, _HEALTH],
            "drift": [],  # the states of the roots lie in the lost region
        }
        found["control_plane_and_data"] = {
            "scenario": "control-plane-and-data",
            "targets": [
                {"target": TARGET},
                {"target": ETCD_TARGET, "needs": [TARGET]},
                {"target": OBJECTS, "store": "us_artifacts"},
            ],
            "probes": [_ROWS, _ORPHANS, _HEALTH],
        }
    return {
        name: drill
        | {"objectives": {"rto": "2m", "rpo": PROMISES.get(name, "5m")}, "owners": ["team:observatory"]}
        for name, drill in found.items()
    }
