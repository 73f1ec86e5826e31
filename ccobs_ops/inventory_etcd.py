"""Inventory of etcd clusters: how each is reached, where its snapshots go, and what is promised of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ccobs_ops.inventory_etcd_kubernetes import EtcdKubernetes, EtcdMaterial
from ccobs_ops.inventory_types import Cron, Duration, Model, Objectives, SecretRef, Size


def _endpoint(value: str) -> str:
    scheme, _, rest = value.partition("://")
    host, colon, port = rest.rstrip("/").rpartition(":")
    if scheme not in ("http", "https") or not colon or not host or not port.isdigit():
        raise ValueError(f"{value!r} is no endpoint; write for example https://10.0.0.1:2379")
    if "@" in host or "/" in host:
        raise ValueError(
            "an endpoint is scheme, host and port only; user and password have keys of their own"
        )
    return f"{scheme}://{host}:{port}"


Endpoint = Annotated[str, AfterValidator(_endpoint)]
Share = Annotated[float, Field(gt=0, le=1)]


class EtcdTls(Model):
    """How the servers are trusted and who we are to them. `ca` and `cert` are PEM files, `key` is a secret."""

    ca: str | None = None
    cert: str | None = None
    key: SecretRef | None = None
    server_name: str | None = None


class EtcdObjectives(Objectives):
    """What an etcd cluster promises: what is lost is what was written since the last snapshot."""

    rpo: Duration = timedelta(minutes=75)
    backup_age: Duration = timedelta(hours=2)
    drill_age: Duration = timedelta(hours=26)


class EtcdCanary(Model):
    """The small keys written on a clock. `keep` of them are reused in turn, so that they take no room."""

    prefix: str = Field(default="/ccobs/canary/", pattern=r"^[^\s*]+/$")
    interval: Duration = timedelta(seconds=1)
    keep: int = Field(default=600, ge=10, le=100_000)


class EtcdSnapshot(Model):
    """How snapshots are taken. A member that is more than `max_lag` raft entries behind gives none."""

    compression_level: int = Field(default=3, ge=1, le=19)
    part_size: Size = 16 * 1024**2
    deadline: Duration = timedelta(hours=1)
    max_lag: int = Field(default=1000, ge=0)


class EtcdRetention(Model):
    """What is kept: at least `snapshots`, and all that restoring to anywhere in `window` needs."""

    snapshots: int = Field(default=24, ge=1)
    window: Duration = timedelta(days=7)


class EtcdHealth(Model):
    """From where on something is a finding. Ratios are of the quota, and of the file that is free."""

    max_lag: int = Field(default=1000, ge=0)
    quota_ratio: Share = 0.8
    fragmentation_ratio: Share = 0.5
    certificate_left: Duration = timedelta(days=21)
    hash: bool = True


class EtcdDrill(Model):
    """How a snapshot is proven: in a cluster of `members`, `sample` keys of it read one by one."""

    members: Literal[1, 3] = 1
    sample: int = Field(default=200, ge=0, le=100_000)


class EtcdSandbox(Model):
    """Where a snapshot is started to be proven."""

    dir: str | None = None
    ttl: Duration = timedelta(hours=2)


class Etcd(Model):
    """One etcd cluster."""

    access: Literal["direct", "kubernetes"] = "direct"
    kubernetes: EtcdKubernetes | None = None
    endpoints: tuple[Endpoint, ...] = ()
    tls: EtcdTls | None = None
    user: str | None = None
    password: SecretRef | None = None
    timeout: Duration = timedelta(seconds=10)
    bin_dir: str | None = None
    store: str
    prefix: str | None = None
    schedule: Cron = "0 * * * *"
    count_prefixes: tuple[str, ...] = ("/registry/",)
    quota: Size = 2 * 1024**3
    member_flags: tuple[str, ...] = ()
    snapshot: EtcdSnapshot = EtcdSnapshot()
    health: EtcdHealth = EtcdHealth()
    canary: EtcdCanary = EtcdCanary()
    retention: EtcdRetention = EtcdRetention()
    drill: EtcdDrill = EtcdDrill()
    sandbox: EtcdSandbox = EtcdSandbox()
    material: EtcdMaterial | None = None
    objectives: EtcdObjectives = EtcdObjectives()
    allow: tuple[Literal["retention", "defragment"], ...] = ()
    owners: tuple[str, ...] = ()
    tags: dict[str, str] = {}
