"""The inventory: the YAML file that names everything protected, as frozen models.

It holds no secret, only where one is (`env:NAME`, `file:PATH`, `secretsmanager:ARN`). Unknown keys are
refused. `inventory_load.load` reads it and raises `InventoryError` with *every* problem, each with file, line and key;
nothing here opens a connection or reads a secret.
"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr

from ccobs_ops.core.units import parse_duration, parse_size


def _duration(value: Any) -> Any:
    if isinstance(value, int | float):
        raise ValueError(f"a duration needs a unit; write {value}s if you mean seconds")
    return parse_duration(value) if isinstance(value, str) else value


def _size(value: Any) -> Any:
    return parse_size(value) if isinstance(value, str) else value


def _reference(value: str) -> str:
    scheme, _, rest = value.partition(":")
    if scheme not in ("env", "file", "secretsmanager") or not rest:
        raise ValueError(
            "a secret is named, never written; use env:NAME, file:PATH (mode 0600) or secretsmanager:ARN"
        )
    return value


def _cron(value: str) -> str:
    from croniter import croniter  # noqa: PLC0415 - costs start-up time where no inventory is read

    if len(value.split()) != 5 or not croniter.is_valid(value):
        raise ValueError(f"{value!r} is no cron expression; five fields, for example '0 2 * * *'")
    return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("a duration must be longer than nothing")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_positive)]
Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
SecretRef = Annotated[str, AfterValidator(_reference)]
Cron = Annotated[str, AfterValidator(_cron)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Model(BaseModel):
    """Base of every inventory model: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


class Credentials(Model):
    """Where an access key is found. Without any, the AWS default chain (role, profile, environment) is used."""

    access_key: SecretRef | None = None
    secret_key: SecretRef | None = None
    session_token: SecretRef | None = None


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


class Objectives(Model):
    """What a target promises."""

    rto: Duration = timedelta(minutes=30)
    rpo: Duration = timedelta(minutes=1)
    backup_age: Duration = timedelta(hours=26)
    backup_duration: Duration = timedelta(minutes=5)
    time_to_detect: Duration = timedelta(minutes=15)


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
