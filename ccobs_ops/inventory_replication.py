"""Inventory of cross-region replication: pairs of a store and its replica, and the rules that explain differences."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from ccobs_ops.inventory_native import Native
from ccobs_ops.inventory_types import Duration, Model, Size

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]


class Rules(Model):
    """What the replicator was told to carry; whatever it was told to leave out is explained, not reported as lost.

    Prefixes are relative to the stores' prefixes, as keys are.
    """

    prefixes: tuple[str, ...] = ()
    exclude_prefixes: tuple[str, ...] = ()
    storage_classes: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    delete_markers: bool = True
    versions: Literal["current", "all"] = "current"


class Exports(Model):
    """Where the exports of both sides are: files of S3 Inventory, or of S3 Metadata as Parquet.

    Each side is a local path or glob, or `STORE:KEY` of a manifest.json.
    """

    source: str
    replica: str
    format: Literal["auto", "csv", "parquet", "metadata"] = "auto"
    memory: Size = 3 * 1024**3
    columns: tuple[str, ...] = ()


class ReplicationCanary(Model):
    """The small object written to the source on a clock and watched for in the replica."""

    prefix: str = "ccobs-canary/"
    interval: Duration = timedelta(seconds=30)
    size: Size = 1024
    timeout: Duration = timedelta(minutes=15)
    keep: Duration = timedelta(hours=1)
    window: Duration = timedelta(hours=1)


class Repair(Model):
    """How a repair may work: bounded in bytes and requests a second, objects at a time, and objects in all."""

    max_rate: Size = 64 * 1024**2
    max_requests: int = Field(default=100, ge=1, le=10_000)
    concurrency: int = Field(default=4, ge=1, le=64)
    max_objects: int = Field(default=100_000, ge=1)
    automatic: bool = False


class ReplicationPair(Model):
    """One store and the store that is to be its copy."""

    source: str
    replica: str
    prefix: str = ""
    rules: Rules = Rules()
    rpo: Duration = timedelta(minutes=15)
    hash_sample: Ratio = 0.001
    hash_limit: Size = 1024**3
    concurrency: int = Field(default=16, ge=1, le=256)
    mode: Literal["list", "inventory"] = "list"
    exports: Exports | None = None
    canary: ReplicationCanary = ReplicationCanary()
    repair: Repair = Repair()
    native: Native = Native()
    comparison_age: Duration = timedelta(hours=26)
    allow: tuple[Literal["repair"], ...] = ()
    owners: tuple[str, ...] = ()
    tags: dict[str, str] = {}

    @property
    def canary_prefix(self) -> str:
        """Where its canaries lie, below the prefix of either store."""
        return self.prefix + self.canary.prefix
