"""Inventory of what a replicator says about itself: looked at beside our own comparison, never instead."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from ccobs_ops.inventory_types import Credentials, Duration, Model

Url = Annotated[str, Field(pattern=r"^https?://")]


class AwsAccess(Model):
    """Where AWS' own APIs are asked. Without anything: AWS, by the default chain."""

    region: str = "us-east-1"
    replica_region: str = "eu-central-1"
    endpoint: Url | None = None
    credentials: Credentials = Credentials()


class S3Native(Model):
    """The bucket's replication configuration, and `ReplicationStatus` of that many of its objects."""

    sample: int = Field(default=25, ge=1, le=1000)


class CloudWatchNative(Model):
    """The replication metrics that S3 publishes for one rule."""

    rule: str
    window: Duration = timedelta(minutes=30)


class EcrNative(Model):
    """Replication of container images: the newest so many of each repository."""

    repositories: tuple[str, ...] = Field(min_length=1)
    images: int = Field(default=20, ge=1, le=1000)


class RdsNative(Model):
    """Automated backups that are replicated to the other region, and copies of snapshots there."""

    instances: tuple[str, ...] = Field(min_length=1)
    snapshots: bool = False


class BackupNative(Model):
    """Copy jobs of AWS Backup into a vault of the other region."""

    destination_vault: str
    window: Duration = timedelta(hours=26)


class FilerSyncNative(Model):
    """The metrics page of SeaweedFS' filer.sync."""

    metrics: Url


class Native(Model):
    """Which native signals are looked at. What is left out is not asked."""

    aws: AwsAccess = AwsAccess()
    s3: S3Native | None = None
    cloudwatch: CloudWatchNative | None = None
    ecr: EcrNative | None = None
    rds: RdsNative | None = None
    backup: BackupNative | None = None
    filer_sync: FilerSyncNative | None = None
