"""The Terraform roots of the inventory: what is scanned for drift, what is ignored, what may be repaired, and how."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

from pydantic import Field

from ccobs_ops.inventory_types import Credentials, Cron, Duration, Model, Name, Objectives, SecretRef

AccountKind = Literal["s3_bucket", "rds_instance", "rds_cluster", "kms_key", "iam_role"]


class IgnoreRule(Model):
    """Drift that is known and not reported as such until `expires`. It changes no plan, only what a scan says.

    `address` is an address, or a pattern of one (`aws_instance.web*`, `module.cache.*`); `attribute` a dotted path or
    pattern (`tags.*`), the whole resource without it. What recovery rests on is silenced only with `covers_recovery`.
    """

    address: str = Field(min_length=1)
    attribute: str | None = None
    owner: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    expires: date
    covers_recovery: bool = False


class Freeze(Model):
    """A window in which nothing is repaired: it begins whenever `starts` (cron, UTC) says and takes `lasts`."""

    starts: Cron
    lasts: Duration
    reason: str = Field(min_length=1)


class Remediation(Model):
    """What a repair may do. Nothing, unless the root's `allow` names `remediate` or `accept`."""

    automatic: bool = False
    approval: bool = True
    approval_expires: Duration = timedelta(hours=4)
    max_changes: int = Field(default=5, ge=1, le=1000)
    types: tuple[str, ...] = ()
    freeze: tuple[Freeze, ...] = ()
    grace: Duration = timedelta(hours=1)
    max_flips: int = Field(default=3, ge=1, le=100)
    flip_window: Duration = timedelta(days=7)
    validated_by: dict[str, str] = {}
    validated_within: Duration = timedelta(hours=26)
    deadline: Duration = timedelta(minutes=30)


class Account(Model):
    """The cloud account that a root lives in: looked through for what no state knows, and asked who changed what."""

    region: str = "us-east-1"
    endpoint: str | None = Field(default=None, pattern=r"^https?://")
    credentials: Credentials = Credentials()
    kinds: tuple[AccountKind, ...] = ("s3_bucket", "rds_instance", "rds_cluster", "kms_key", "iam_role")
    types: dict[str, AccountKind] = {}
    also_managed_by: tuple[Name, ...] = ()
    exclude: tuple[str, ...] = ()
    min_coverage: float = Field(default=1.0, ge=0, le=1)
    requests_per_second: float = Field(default=5.0, gt=0, le=100)
    cloudtrail: bool = True
    timeout: Duration = timedelta(seconds=30)


class TerraformRoot(Model):
    """One Terraform root module and workspace; the target is called `terraform/NAME`."""

    dir: str
    workspace: str = "default"
    binary: str | None = None
    var_files: tuple[str, ...] = ()
    variables: dict[str, SecretRef] = {}
    backend_config: dict[str, str] = {}
    backend_config_files: tuple[str, ...] = ()
    environment: dict[str, SecretRef] = {}
    settings: dict[str, str] = {}
    pass_environment: tuple[str, ...] = ()
    parallelism: int = Field(default=10, ge=1, le=256)
    lock: bool = False
    lock_timeout: Duration = timedelta(seconds=60)
    deadline: Duration = timedelta(minutes=10)
    role: Literal["primary", "dr"] = "primary"
    parity_with: Name | None = None
    ignore: tuple[IgnoreRule, ...] = ()
    impact_rules: tuple[str, ...] = ()
    remediation: Remediation = Remediation()
    allow: tuple[Literal["remediate", "accept"], ...] = ()
    account: Account | None = None
    objectives: Objectives = Objectives()
    owners: tuple[str, ...] = ()
    tags: dict[str, str] = {}
