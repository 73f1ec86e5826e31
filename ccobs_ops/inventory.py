"""The inventory: the YAML file that names everything protected, as frozen models.

It holds no secret, only where one is (`env:NAME`, `file:PATH`, `secretsmanager:ARN`). Unknown keys are
refused. `inventory_load.load` reads it and raises `InventoryError` with *every* problem, each with file, line and key;
nothing here opens a connection or reads a secret.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Literal

from pydantic import Field, PrivateAttr

from ccobs_ops.inventory_alerts import Alerts
from ccobs_ops.inventory_drills import Drill
from ccobs_ops.inventory_etcd import Etcd
from ccobs_ops.inventory_evidence import Evidence, Report
from ccobs_ops.inventory_incidents import Incidents
from ccobs_ops.inventory_remediation import Remediation, Watch
from ccobs_ops.inventory_replication import ReplicationPair
from ccobs_ops.inventory_terraform import TerraformRoot
from ccobs_ops.inventory_types import (
    Credentials,
    Cron,
    Duration,
    Model,
    Name,
    Objectives,
    SecretRef,
    Size,
)

__all__ = ["Credentials", "Cron", "Duration", "Inventory", "Model", "Name", "Objectives", "SecretRef", "Size"]


class Encryption(Model):
    """Server-side encryption of what is stored."""

    mode: Literal["AES256", "aws:kms"]
    kms_key: str | None = None


class ObjectLock(Model):
    """Retention that the store itself enforces, so that nobody deletes a backup before its time."""

    mode: Literal["GOVERNANCE", "COMPLIANCE"]
    retain: Duration


class Store(Model):
    """One S3 bucket and prefix."""

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    prefix: str = ""
    region: str = "us-east-1"
    endpoint: str | None = Field(default=None, pattern=r"^https?://")
    addressing: Literal["auto", "path", "virtual"] = "auto"
    credentials: Credentials = Credentials()
    read_only: Credentials | None = None
    encryption: Encryption | None = None
    object_lock: ObjectLock | None = None
    timeout: Duration = timedelta(seconds=30)
    attempts: int = Field(default=5, ge=1, le=20)
    concurrency: int = Field(default=8, ge=1, le=64)


class Archive(Model):
    """How the agent streams and ships WAL."""

    slot: Name | None = None
    spool: str | None = None
    spool_limit: Size = 4 * 1024**3
    partial_interval: Duration = timedelta(seconds=5)
    compression_level: int = Field(default=3, ge=1, le=19)


class Canary(Model):
    """The small row committed on a clock, recorded outside the database."""

    database: str | None = None
    table_schema: Name = "ccobs"
    interval: Duration = timedelta(seconds=1)


class Backup(Model):
    """How base backups are taken."""

    compression_level: int = Field(default=3, ge=1, le=19)
    part_size: Size = 16 * 1024**2
    checkpoint: Literal["fast", "spread"] = "fast"
    max_rate: Size | None = None
    manifest_checksums: Literal["CRC32C", "SHA224", "SHA256", "SHA384", "SHA512"] = "CRC32C"
    deadline: Duration = timedelta(hours=12)
    full_every: int = Field(default=1, ge=1, le=60)


class Retention(Model):
    """What is kept: at least `backups` full backups, and all that restoring anywhere in `window` needs."""

    backups: int = Field(default=7, ge=1)
    window: Duration = timedelta(days=30)


class Sandbox(Model):
    """Where a restore is started to be proven."""

    dir: str | None = None
    run_as: str | None = None
    ttl: Duration = timedelta(hours=4)
    memory: Size = 512 * 1024**2
    role: str = "postgres"
    replay_libraries: tuple[str, ...] = ()


class Validation(Model):
    """Which proofs a validation makes; one that is switched off is not claimed."""

    checksums: bool = True
    amcheck: bool = True
    logical_read: bool = True
    promote: bool = True
    since: date = date(2026, 1, 1)


class DataCheck(Model):
    """One SQL check: the query gives one value that must equal `expect`, or the same value on production.

    `:cutoff` in a compared query stands for the moment that the copy was restored to, less `settle`: a row is compared
    only if it was written that long before, since a transaction that was still open then may have committed later.
    """

    name: Name
    sql: str
    database: str | None = None
    expect: str | int | float | bool | None = None
    compare: bool = False
    settle: Duration = timedelta(seconds=10)


class Postgres(Model):
    """One PostgreSQL cluster (its instance, all databases in it)."""

    dsn: str
    password: SecretRef | None = None
    bin_dir: str | None = None
    store: str
    prefix: str | None = None
    archive: Archive = Archive()
    canary: Canary = Canary()
    backup: Backup = Backup()
    retention: Retention = Retention()
    objectives: Objectives = Objectives()
    sandbox: Sandbox = Sandbox()
    validation: Validation = Validation()
    checks: tuple[DataCheck, ...] = ()
    allow: tuple[Literal["retention"], ...] = ()
    owners: tuple[str, ...] = ()
    tags: dict[str, str] = {}


class Schedules(Model):
    """When Dagster runs what, in UTC."""

    nightly_validation: Cron = "0 2 * * *"
    terraform_scan: Cron = "*/10 * * * *"
    etcd_health: Cron = "*/5 * * * *"
    replication_sweep: Cron = "20 * * * *"
    recovery_report: Cron = "0 6 * * *"


class Inventory(Model):
    """Everything protected, and how."""

    version: Literal[1]
    environment: Literal["lab", "example", "development", "staging", "production"]
    ledger: str | None = None
    state_dir: str | None = None
    owners: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    schedules: Schedules = Schedules()
    stores: dict[Name, Store] = {}
    postgres: dict[Name, Postgres] = {}
    terraform: dict[Name, TerraformRoot] = {}
    etcd: dict[Name, Etcd] = {}
    replication: dict[Name, ReplicationPair] = {}
    evidence: Evidence = Evidence()
    report: Report = Report()
    incidents: Incidents = Incidents()
    remediation: Remediation = Remediation()
    watch: Watch = Watch()
    alerts: Alerts = Alerts()
    drills: dict[Name, Drill] = {}

    _path: Path = PrivateAttr(default=Path("inventory.yaml"))

    @property
    def path(self) -> Path:
        """The file that this came from; relative paths in it are relative to its folder."""
        return self._path

    def resolve(self, name: str) -> Path:
        """`name` as an absolute path, relative to the inventory's folder."""
        return (self._path.parent / name).resolve()

    @property
    def state(self) -> Path:
        """The folder for what this host keeps between runs: spools, sandboxes. Private (0700)."""
        return self.resolve(self.state_dir or ".ccobs")

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy URL of the ledger, or a secret reference to one; SQLite beside the inventory by default."""
        return self.ledger or f"sqlite:///{self.resolve('ledger.db')}"
