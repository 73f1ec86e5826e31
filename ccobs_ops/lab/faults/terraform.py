"""Faults in what Terraform manages: drift by hand, and what keeps a scan from reading."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab.faults.actions import Action, CrashProvider, KeptObject, ReplaceFile, ReplaceObject
from ccobs_ops.lab.faults.base import Site
from ccobs_ops.lab.faults.buckets import (
    DeleteBucket,
    ExtraBucket,
    SetRetention,
    SetTags,
    SetVersioning,
)
from ccobs_ops.lab.plan import STATE_BUCKET
from ccobs_ops.lab.s3 import client
from ccobs_ops.lab.terraform import estate

REGION = {"production": "us", "dr": "eu", "staging": "us"}
SUFFIX = {"production": "", "dr": "-dr", "staging": ""}
LOCK_ID = "9f1c7c0a-5d0e-4d0b-8a53-6f1f3f7d2c11"


def _root(site: Site) -> str:
    return site.target.partition("/")[2]


def _bucket(site: Site, name: str) -> tuple[str, str]:
    root = _root(site)
    return REGION[root], f"observatory-{name}{SUFFIX[root]}"


def drift_change(site: Site) -> tuple[Action, ...]:
    """Versioning of the bucket of uploads is suspended, by hand."""
    region, bucket = _bucket(site, "uploads")
    status = client(site.lab.plan, region).get_bucket_versioning(Bucket=bucket).get("Status")
    if status != "Enabled":
        raise OpsError(f"versioning of {bucket} is not on", hint="heal the lab first")
    return (SetVersioning(region=region, bucket=bucket, before=True, after=False),)


def drift_delete(site: Site) -> tuple[Action, ...]:
    """The bucket of uploads is deleted, by hand. It is empty in a lab; a repair creates it again."""
    region, bucket = _bucket(site, "uploads")
    s3 = client(site.lab.plan, region)
    tags = {row["Key"]: row["Value"] for row in s3.get_bucket_tagging(Bucket=bucket)["TagSet"]}
    return (DeleteBucket(region=region, bucket=bucket, versioning=True, tags=tags),)


def drift_retention(site: Site) -> tuple[Action, ...]:
    """The retention of the vault is lowered to 7 days, by hand."""
    region, bucket = _bucket(site, "vault")
    found = client(site.lab.plan, region).get_object_lock_configuration(Bucket=bucket)
    days = found["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]["Days"]
    return (SetRetention(region=region, bucket=bucket, before=days, after=7),)


def drift_untag(site: Site) -> tuple[Action, ...]:
    """The tag that backups select by is taken from the vault, by hand."""
    region, bucket = _bucket(site, "vault")
    rows = client(site.lab.plan, region).get_bucket_tagging(Bucket=bucket)["TagSet"]
    tags = {row["Key"]: row["Value"] for row in rows}
    after = {name: value for name, value in tags.items() if name != "backup"}
    return (SetTags(region=region, bucket=bucket, before=tags, after=after),)


def drift_unmanaged(site: Site) -> tuple[Action, ...]:
    """A bucket is created that no root knows."""
    return (ExtraBucket(region="us", bucket=f"observatory-adhoc-{site.rng.randrange(1000):03d}"),)


def state_locked(site: Site) -> tuple[Action, ...]:
    """A lock is left on the state, as an apply leaves it that was killed."""
    info = {
        "ID": LOCK_ID,
        "Operation": "OperationTypeApply",
        "Info": "",
        "Who": "somebody@laptop",
        "Version": "1.15.5",
        "Created": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "Path": f"{STATE_BUCKET}/{estate.state_key(_root(site))}",
    }
    key = f"{estate.state_key(_root(site))}.tflock"
    return (ReplaceObject(region="us", bucket=STATE_BUCKET, key=key, text=json.dumps(info), kept=None),)


def state_corrupt(site: Site) -> tuple[Action, ...]:
    """The state's object is cut off in the middle."""
    key = estate.state_key(_root(site))
    kept = KeptObject.take(site.lab, site.folder, "us", STATE_BUCKET, key)
    text = (site.folder / kept.file).read_text()
    return (ReplaceObject(region="us", bucket=STATE_BUCKET, key=key, text=text[: len(text) // 2], kept=kept),)


def provider_crash(site: Site) -> tuple[Action, ...]:
    """The provider ends whenever it is asked to read a bucket."""
    return (CrashProvider(path=site.lab.plan.state_dir / "terraform" / "provider.crash"),)


def credentials_expired(site: Site) -> tuple[Action, ...]:
    """The S3 keys that Terraform is given are not accepted any more."""
    path = site.lab.plan.secret_file("us_terraform_secret_key")
    return (ReplaceFile.take(site.folder, path, "expired00000000000000000000000000\n"),)
