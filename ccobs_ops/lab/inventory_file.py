"""The inventory that a lab writes: the same file that an operator would write, checked by the same models."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from ccobs_ops.inventory import Inventory
from ccobs_ops.lab import wheels
from ccobs_ops.lab.drills import VAULT_STORE, drills
from ccobs_ops.lab.plan import (
    ARTIFACTS,
    BUCKET,
    DATABASE,
    ETCD_MEMBERS,
    ETCD_TARGET,
    NAME,
    PAIRS,
    REGIONS,
    TARGET,
    VAULT_BUCKET,
    Plan,
)
from ccobs_ops.lab.s3 import aws_region
from ccobs_ops.lab.services.pager import URL
from ccobs_ops.lab.terraform import estate

_HEADER = """\
# Written by `ccobs-ops lab up`; removed by `ccobs-ops lab down`. Secrets are files below secrets/, mode 0600.
"""

_SETTLED = "created_at < :cutoff"
"""Rows that were certainly committed by then: the application's transactions last 8 s at most, `settle` is 10 s."""

CHECKS: tuple[dict[str, Any], ...] = (
    {
        "name": "no_orphaned_messages",
        "sql": "SELECT count(*) FROM messages m LEFT JOIN conversations c ON c.id = m.conversation_id"
        " WHERE c.id IS NULL",
        "expect": 0,
    },
    {
        "name": "messages_present",
        "sql": f"SELECT count(*) FROM messages WHERE {_SETTLED}",
        "compare": True,
    },
    {
        "name": "tool_calls_unchanged",
        "sql": "SELECT coalesce(sum(CAST(hashtextextended(concat_ws('|', id, message_id, tool, arguments, duration_ms,"
        f" succeeded), 0) AS numeric)), 0) FROM tool_calls WHERE {_SETTLED}",
        "compare": True,
    },
)


def write_inventory(plan: Plan) -> None:
    """Write `plan.inventory`. What the models refuse raises pydantic's ValidationError: a defect of the lab."""
    document = build(plan)
    Inventory.model_validate(document)
    fresh = plan.inventory.with_suffix(".yaml.new")
    fresh.write_text(_HEADER + yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True))
    fresh.replace(plan.inventory)


def build(plan: Plan) -> dict[str, Any]:
    """The inventory of `plan` as it is written."""
    document: dict[str, Any] = {
        "version": 1,
        "environment": "lab",
        "owners": ["team:observatory"],
        "tags": {"estate": "lab"},
        "stores": {region: _store(plan, region) for region in REGIONS if region in plan.services},
    }
    if "postgres" in plan.services and document["stores"]:
        document["postgres"] = {NAME: _postgres(plan, store=next(iter(document["stores"])))}
    if "terraform" in plan.services:
        document["terraform"] = estate.inventory(plan)
    if set(ETCD_MEMBERS) <= set(plan.services) and document["stores"]:
        document["etcd"] = {NAME: _etcd(plan, store=next(iter(document["stores"])))}
    if set(REGIONS) <= set(plan.services):
        document["stores"] |= {
            f"{region}_artifacts": _store(plan, region, bucket=ARTIFACTS) for region in REGIONS
        }
        document["replication"] = {name: _pair(plan, name) for name in PAIRS}
    if "vault" in plan.services:
        lock = {"mode": "COMPLIANCE", "retain": "1d"}
        document["stores"][VAULT_STORE] = _store(plan, "eu", bucket=VAULT_BUCKET) | {"object_lock": lock}
    if found := drills(plan, document):
        document["drills"] = found
    if "pager" in plan.services:
        pager = {"apprise": f"file:secrets/{URL}", "timeout": "5s"}
        document["alerts"] = {"channels": {"pager": pager}, "storm": {"size": 20, "window": "1m"}}
    return document | _loop(plan)


def _loop(plan: Plan) -> dict[str, Any]:
    """What the loop may repair: everything, and agents are started again as a service manager would."""
    agents = {
        "agent": [TARGET],
        "etcd-agent": [ETCD_TARGET],
        "replication-agent": [f"replication/{name}" for name in PAIRS],
    }
    path = f"PYTHONPATH={plan.python_environment()['PYTHONPATH']}"
    targets = {
        target: {
            "restart": ["env", path, *plan.python("ccobs_ops.lab.restart", str(plan.directory), service)]
        }
        for service, of in agents.items()
        if service in plan.services
        for target in of
    }
    allow = ["backup", "snapshot", "slot", "objects", "plan", "restart"]
    return {
        "watch": {"interval": "10s", "agent_silence": "30s", "daemon_silence": "3m", "schedule_grace": "2m"},
        "remediation": {"allow": allow, "backoff": "10s", "backoff_most": "5m", "targets": targets},
    }


def _pair(plan: Plan, name: str) -> dict[str, Any]:
    suffix = "" if PAIRS[name] == BUCKET else f"_{name}"
    pair: dict[str, Any] = {
        "source": f"us{suffix}",
        "replica": f"eu{suffix}",
        "rpo": "10s",
        "hash_sample": 0.05,
        "concurrency": 4,
        "canary": {"interval": "5s", "timeout": "2m", "keep": "5m", "window": "1m"},
        "allow": ["repair"],
    }
    if "filer-sync" in plan.services:
        pair["native"] = {"filer_sync": {"metrics": plan.replicator_metrics}}
    return pair


def _store(plan: Plan, region: str, *, bucket: str = BUCKET) -> dict[str, Any]:
    def credentials(right: str) -> dict[str, str]:
        return {part: f"file:secrets/{region}_{right}{part}" for part in ("access_key", "secret_key")}

    return {
        "bucket": bucket,
        "region": aws_region(region),
        "endpoint": f"http://127.0.0.1:{plan.s3_port(region)}",
        "addressing": "path",
        "timeout": "5s",
        "credentials": credentials(""),
        "read_only": credentials("read_only_"),
    }


def _etcd(plan: Plan, *, store: str) -> dict[str, Any]:
    return {
        "endpoints": [plan.etcd_url(name) for name in ETCD_MEMBERS],
        "tls": {
            "ca": "secrets/etcd_ca.crt",
            "cert": "secrets/etcd_client.crt",
            "key": "file:secrets/etcd_client.key",
        },
        "timeout": "5s",
        "bin_dir": str(wheels.etcd()),
        "store": store,
        "quota": "4GiB",
        "member_flags": [
            f"--{flag}={plan.secrets_dir}/{{name}}_{kind}.{part}"
            for flag, kind, part in (
                ("cert-file", "server", "crt"),
                ("key-file", "server", "key"),
                ("peer-cert-file", "peer", "crt"),
                ("peer-key-file", "peer", "key"),
            )
        ]
        + [f"--{flag}={plan.secrets_dir}/etcd_ca.crt" for flag in ("trusted-ca-file", "peer-trusted-ca-file")]
        + ["--client-cert-auth", "--peer-client-cert-auth"],
        "objectives": {"rto": "15m", "rpo": "75m", "backup_age": "2h", "time_to_detect": "15m"},
        "sandbox": {"ttl": "1h"},
        "allow": ["retention", "defragment"],
    }


def _postgres(plan: Plan, *, store: str) -> dict[str, Any]:
    sandbox: dict[str, Any] = {"dir": str(plan.sandbox), "ttl": "1h"}
    if plan.run_as:
        sandbox["run_as"] = plan.run_as
    return {
        "dsn": f"host=127.0.0.1 port={plan.ports['postgres']} user=ccobs dbname={DATABASE}",
        "password": "file:secrets/postgres_password",
        "bin_dir": str(plan.bin_dir),
        "store": store,
        "archive": {"partial_interval": "1s"},
        "canary": {"interval": "1s"},
        "validation": {"since": (datetime.now(UTC).date() - timedelta(days=13)).isoformat()},
        "objectives": {
            "rto": "30m",
            "rpo": "10s",
            "backup_age": "26h",
            "backup_duration": "5m",
            "time_to_detect": "15m",
        },
        "sandbox": sandbox,
        "checks": list(CHECKS),
        "allow": ["retention"],
    }
