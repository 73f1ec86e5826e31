"""Faults between the regions: the replicator, the replica's objects, the way to the replica."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab.faults.actions import (
    Action,
    CrashWhileSyncing,
    CreateFile,
    DeleteObject,
    DropNewestVersion,
    FlipBit,
    PutObject,
    StartProxy,
)
from ccobs_ops.lab.faults.base import Site
from ccobs_ops.lab.faults.services import stop_running
from ccobs_ops.lab.faults.step import KeptObject
from ccobs_ops.lab.plan import ARTIFACTS, PAIRS
from ccobs_ops.lab.ports import free_base
from ccobs_ops.lab.s3 import client

REPLICA = "eu"
SETTLED = timedelta(seconds=5)
"""Objects younger than this may still change; they are left alone."""
LEFT_ALONE = ("ccobs-canary/", ".partial")
SLOW_DOWN_RATIO = 0.3
SKEW_SECONDS = 420
"""Signed requests are refused from a quarter of an hour on, so a worse clock would not get that far."""
WEDGE_BYTES = 200_000


def stopped(site: Site) -> tuple[Action, ...]:
    """The replicator and its supervisor are stopped."""
    return (stop_running(site, "filer-sync", kill=False),)


def wedged(site: Site) -> tuple[Action, ...]:
    """The replica gets kill -9 in the middle and comes back; the replicator never carries on. Its supervisor looks on."""
    for service in ("filer-sync", REPLICA):
        stop_running(site, service, kill=True)
    prefix = f"wedge-{site.rng.randrange(10**6):06d}/"
    crash = CrashWhileSyncing(bucket=ARTIFACTS, prefix=prefix, bytes=WEDGE_BYTES)
    return (CreateFile(path=site.lab.plan.replicator_hold), crash)


def deleted(site: Site) -> tuple[Action, ...]:
    """One object of the replica."""
    return (DeleteObject(kept=_keep(site)),)


def corrupted(site: Site) -> tuple[Action, ...]:
    """One bit of one object of the replica; the store's own checksum agrees with the new bytes."""
    kept = _keep(site)
    return (FlipBit(kept=kept, byte=site.rng.randrange(kept.bytes), bit=site.rng.randrange(8)),)


def extra(site: Site) -> tuple[Action, ...]:
    """One object that the source never had."""
    body = site.rng.randbytes(site.rng.randrange(100, 2000))
    (site.folder / "stray").write_bytes(body)
    key = f"{_common_folder(site)}stray-{site.rng.randrange(10**6):06d}.bin"
    return (PutObject(region=REPLICA, bucket=_bucket(site), key=key, file="stray", bytes=len(body)),)


def stale(site: Site) -> tuple[Action, ...]:
    """The newest version of one object whose older one differs: what was carried over twice has two that agree."""
    bucket = _bucket(site)
    pages = client(site.lab.plan, REPLICA).get_paginator("list_object_versions").paginate(Bucket=bucket)
    versions: dict[str, list[dict[str, Any]]] = {}  # of each key the newest first, as S3 lists them
    for row in (row for page in pages for row in page.get("Versions", ())):
        versions.setdefault(row["Key"], []).append(row)
    several = sorted(
        key
        for key, found in versions.items()
        if len(found) > 1
        and found[0]["IsLatest"]
        and found[0]["ETag"] != found[1]["ETag"]
        and _may_be_broken(site, key)
    )
    if not several:
        raise OpsError(
            f"no object of s3://{bucket} in {REPLICA} has two versions that differ",
            hint="write one of them again",
        )
    key = site.rng.choice(several)
    kept = KeptObject.take(site.lab, site.folder, REPLICA, bucket, key)
    return (DropNewestVersion(kept=kept, version_id=versions[key][0]["VersionId"]),)


def throttled(site: Site) -> tuple[Action, ...]:
    """A proxy before the replica refuses three requests of ten."""
    return (
        _proxy(
            site,
            REPLICA,
            ("--slow-down", str(SLOW_DOWN_RATIO)),
            "answers 503 SlowDown to three requests of ten",
        ),
    )


def down(site: Site) -> tuple[Action, ...]:
    """The replica's servers get kill -9."""
    return (stop_running(site, REPLICA, kill=True),)


def skewed(site: Site) -> tuple[Action, ...]:
    """A proxy before a region moves every time that it tells."""
    what = f"tells times {SKEW_SECONDS} s ahead"
    return (_proxy(site, site.target, ("--skew", str(SKEW_SECONDS)), what),)


def _proxy(site: Site, region: str, arguments: tuple[str, ...], what: str) -> StartProxy:
    if not site.lab.runs(region):
        raise OpsError(f"the service {region} is not running", hint="see ccobs-ops lab status")
    endpoint = f"http://127.0.0.1:{site.lab.plan.s3_port(region)}\n"
    if endpoint not in site.lab.plan.inventory.read_text():
        raise OpsError(f"there is a proxy before {region} already", hint="heal the fault that put it there")
    return StartProxy(region=region, port=free_base((0,)), arguments=arguments, what=what)


def _bucket(site: Site) -> str:
    return PAIRS[site.target.partition("/")[2]]


def _may_be_broken(site: Site, key: str) -> bool:
    return key not in site.spoiled and not any(part in key for part in LEFT_ALONE)


def _settled(site: Site) -> list[str]:
    """Keys of plain objects that both sides have with the same bytes, and that nobody is about to change.

    What is put back is stored in one piece, so a multipart object would not be the same again.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    bucket, before = _bucket(site), datetime.now(UTC) - SETTLED
    sides: list[dict[str, tuple[str, int]]] = []
    try:
        for region in ("us", REPLICA):
            pages = client(site.lab.plan, region).get_paginator("list_objects_v2").paginate(Bucket=bucket)
            sides.append(
                {
                    row["Key"]: (row["ETag"], row["Size"])
                    for page in pages
                    for row in page.get("Contents", ())
                    if row["Size"] and row["LastModified"] < before and "-" not in row["ETag"]
                }
            )
    except (BotoCoreError, ClientError) as error:
        raise OpsError(f"s3://{bucket} cannot be listed: {error}", hint="see ccobs-ops lab status") from error
    source, replica = sides
    return sorted(
        key for key, seen in replica.items() if source.get(key) == seen and _may_be_broken(site, key)
    )


def _choose(site: Site) -> str:
    """One settled key. A lab that has just come up is given a moment to replicate something."""
    deadline = time.monotonic() + 20.0
    while not (keys := _settled(site)):
        if time.monotonic() > deadline:
            raise OpsError(
                f"s3://{_bucket(site)} has no settled object in both regions",
                hint="take a backup first, or break it at replication/artifacts",
            )
        time.sleep(0.5)
    return site.rng.choice(keys)


def _keep(site: Site) -> KeptObject:
    return KeptObject.take(site.lab, site.folder, REPLICA, _bucket(site), _choose(site))


def _common_folder(site: Site) -> str:
    return f"{_choose(site).rpartition('/')[0]}/".lstrip("/")
