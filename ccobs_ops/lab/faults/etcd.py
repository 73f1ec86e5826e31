"""Faults of etcd: in stored snapshots, in members, in the cluster's state, in certificates."""

from __future__ import annotations

from datetime import timedelta

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.etcd import layout
from ccobs_ops.lab.certificates import Pair, authority, issue
from ccobs_ops.lab.faults.actions import (
    Action,
    DeleteObject,
    FlipBit,
    KeptObject,
    MoveLeader,
    RaiseAlarm,
    ReplaceFile,
    RestartService,
    StopService,
    TruncateObject,
)
from ccobs_ops.lab.faults.base import Site
from ccobs_ops.lab.plan import BUCKET, ETCD_MEMBERS, ETCD_TARGET
from ccobs_ops.lab.s3 import client
from ccobs_ops.lab.services import etcd

REGION = "us"
PREFIX = f"{ETCD_TARGET}/"


def snapshot_truncated(site: Site) -> tuple[Action, ...]:
    """The last part of the newest snapshot is cut off somewhere."""
    kept = _keep(site, _parts(site)[-1])
    if kept.bytes < 2:
        raise OpsError(f"{kept.location} is too short to be cut", hint="take a new snapshot")
    return (TruncateObject(kept=kept, length=site.rng.randrange(1, kept.bytes)),)


def snapshot_bitflip(site: Site) -> tuple[Action, ...]:
    """One bit of one part of the newest snapshot."""
    kept = _keep(site, site.rng.choice(_parts(site)))
    return (FlipBit(kept=kept, byte=site.rng.randrange(kept.bytes), bit=site.rng.randrange(8)),)


def snapshot_missing(site: Site) -> tuple[Action, ...]:
    """One part of the newest snapshot."""
    return (DeleteObject(kept=_keep(site, site.rng.choice(_parts(site)))),)


def member_down(site: Site) -> tuple[Action, ...]:
    """One member gets kill -9; the other two are a quorum."""
    return (_kill(site, site.target if site.target in ETCD_MEMBERS else site.rng.choice(ETCD_MEMBERS)),)


def quorum_lost(site: Site) -> tuple[Action, ...]:
    """Two of three members get kill -9: the one that is left answers, and can decide nothing."""
    return tuple(_kill(site, name) for name in sorted(site.rng.sample(ETCD_MEMBERS, 2)))


def nospace(site: Site) -> tuple[Action, ...]:
    """The alarm that a member raises when its file reaches the quota: from then on the cluster refuses writes."""
    return (RaiseAlarm(member=site.rng.choice(ETCD_MEMBERS), alarm=1),)


def lagging(site: Site) -> tuple[Action, ...]:
    """One member is cut off from the others: they no longer trust its certificate, nor it theirs.

    It still answers clients, with what it had. etcd reads certificates anew for each connection; the other two are restarted
    one after the other so that the connections there are end. Each has the other for a leader meanwhile: one that comes back
    while the member cut off leads would find no leader, and one that follows it would elect no other.
    """
    first, second, member = ETCD_MEMBERS
    _running(site, *ETCD_MEMBERS)
    stranger = issue(authority("somebody else"), member)
    return (
        *_replace(site, f"{member}_peer", stranger),
        MoveLeader(member=second),
        RestartService(service=first),
        MoveLeader(member=first),
        RestartService(service=second),
    )


def certificate_expired(site: Site) -> tuple[Action, ...]:
    """One member shows clients a certificate that expired yesterday; it reads it anew for each connection."""
    member = site.target if site.target in ETCD_MEMBERS else site.rng.choice(ETCD_MEMBERS)
    plan = site.lab.plan
    expired = issue(etcd.ca(plan), member, age=timedelta(days=30), lifetime=timedelta(days=29))
    return _replace(site, f"{member}_server", expired)


def _replace(site: Site, name: str, pair: Pair) -> tuple[Action, ...]:
    plan = site.lab.plan
    return tuple(
        ReplaceFile.take(site.folder, plan.secret_file(f"{name}.{part}"), text)
        for part, text in (("crt", pair.cert), ("key", pair.key))
    )


def _kill(site: Site, name: str) -> StopService:
    _running(site, name)
    return StopService(service=name, kill=True)


def _running(site: Site, *names: str) -> None:
    for name in names:
        if not site.lab.runs(name):
            raise OpsError(f"the service {name} is not running", hint="see ccobs-ops lab status")


def _parts(site: Site) -> list[str]:
    """Keys of the newest snapshot's parts, in order, without those that another fault has broken."""
    catalogue = sorted(_list(site, "catalogue/"))
    if not catalogue:
        raise OpsError(f"there is no snapshot below s3://{BUCKET}/{PREFIX}", hint="take one first")
    newest = catalogue[-1].removeprefix("catalogue/").removesuffix(".json")
    parts = sorted(_list(site, layout.folder_key(newest)))
    if not parts:
        raise OpsError(f"snapshot {newest} has no part that is whole", hint="heal what is broken first")
    return parts


def _keep(site: Site, key: str) -> KeptObject:
    return KeptObject.take(site.lab, site.folder, REGION, BUCKET, PREFIX + key)


def _list(site: Site, prefix: str) -> list[str]:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    pages = client(site.lab.plan, REGION).get_paginator("list_objects_v2")
    try:
        rows = [
            row["Key"]
            for page in pages.paginate(Bucket=BUCKET, Prefix=PREFIX + prefix)
            for row in page.get("Contents", ())
        ]
    except (BotoCoreError, ClientError) as error:
        raise OpsError(
            f"s3://{BUCKET}/{PREFIX} cannot be listed: {error}", hint="see ccobs-ops lab status"
        ) from error
    return [key.removeprefix(PREFIX) for key in rows if key not in site.spoiled]
