"""What is in the account and in no state: S3 buckets, RDS instances and clusters, KMS keys, IAM roles.

Everything is listed page by page and at a bounded rate: an account's control plane is shared with what runs in it. What AWS
itself owns (service-linked roles, AWS-managed keys, keys that are pending deletion) is nobody's to manage and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.terraform.change import Change, DriftClass, Unread
from ccobs_ops.core.terraform.plan import PlanDocument
from ccobs_ops.core.terraform.rules import IDENTIFIED, load_rules

PER_SECOND = 5.0
_AWS_PATHS = ("/aws-service-role/", "/aws-reserved/")
_DYING = ("PendingDeletion", "PendingReplicaDeletion")
_KIND_OF = {
    "aws_s3_bucket": "s3_bucket",
    "aws_db_instance": "rds_instance",
    "aws_rds_cluster_instance": "rds_instance",
    "aws_docdb_cluster_instance": "rds_instance",
    "aws_neptune_cluster_instance": "rds_instance",
    "aws_rds_cluster": "rds_cluster",
    "aws_docdb_cluster": "rds_cluster",
    "aws_neptune_cluster": "rds_cluster",
    "aws_kms_key": "kms_key",
    "aws_kms_external_key": "kms_key",
    "aws_kms_replica_key": "kms_key",
    "aws_kms_replica_external_key": "kms_key",
    "aws_iam_role": "iam_role",
}


@dataclass(frozen=True, slots=True)
class Inventoried:
    """What was found in one account and region, and what could not be listed. `seen` counts all that was looked at."""

    changes: tuple[Change, ...]
    unread: tuple[Unread, ...]
    seen: int


@dataclass(frozen=True, slots=True)
class _Found:
    name: str
    arn: str
    made: datetime | None


class _Pace:
    """Lets at most so many calls a second pass."""

    def __init__(self, per_second: float, sleep: Callable[[float], None], timer: Callable[[], float]) -> None:
        self._gap = 1 / per_second
        self._sleep = sleep
        self._timer = timer
        self._next = 0.0

    def __call__(self) -> None:
        now = self._timer()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._gap


def find_unmanaged(
    client: Callable[[str], Any],
    documents: Iterable[PlanDocument],
    *,
    kinds: Iterable[str],
    also: Mapping[str, str] | None = None,
    per_second: float = PER_SECOND,
    sleep: Callable[[float], None],
    timer: Callable[[], float],
) -> Inventoried:
    """List the account by `client(service)` (boto3 clients: s3, rds, kms, iam) and report what none of `documents` holds.

    `documents` are plans of *all* roots of the account. `kinds`: `s3_bucket`, `rds_instance`, `rds_cluster`, `kms_key`,
    `iam_role`. `also` maps further resource types to a kind, for example `{"lab_bucket": "s3_bucket"}`. At most
    `per_second` calls a second are made. A kind that cannot be listed to its end is `unread`; what was seen of it
    is still reported.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - only where an account is looked at

    pace = _Pace(per_second, sleep, timer)
    held = _held(documents, dict(also or {}))
    changes: list[Change] = []
    unread: list[Unread] = []
    seen = 0
    for kind in kinds:
        service, type_name, listing = _LISTINGS[kind]
        known = held.get(kind, frozenset())
        try:
            for found in listing(client(service), pace, known):
                seen += 1
                if found.name not in known and found.arn not in known:
                    changes.append(_change(kind, type_name, found))
        except (ClientError, BotoCoreError) as error:
            unread.append(_unread(kind, service, error))
    return Inventoried(tuple(changes), tuple(unread), seen)


def _held(documents: Iterable[PlanDocument], also: dict[str, str]) -> dict[str, frozenset[str]]:
    """By kind every name under which the states hold an object of it."""
    kinds = _KIND_OF | also
    found: dict[str, set[str]] = {}
    for document in documents:
        for held in document.held:
            if held.type in kinds:
                names = (*IDENTIFIED.get(held.type, ("bucket", "identifier", "name", "id")), "arn")
                values = (held.get(name) for name in names)
                found.setdefault(kinds[held.type], set()).update(
                    value for value in values if isinstance(value, str) and value
                )
    return {kind: frozenset(names) for kind, names in found.items()}


def _pages(client: Any, operation: str, pace: _Pace, **options: Any) -> Iterator[dict[str, Any]]:
    pages = iter(client.get_paginator(operation).paginate(**options))
    while True:
        pace()
        page = next(pages, None)
        if page is None:
            return
        yield page


def _buckets(client: Any, pace: _Pace, known: frozenset[str]) -> Iterator[_Found]:
    for page in _pages(client, "list_buckets", pace, PaginationConfig={"PageSize": 1000}):
        for row in page.get("Buckets") or ():
            yield _Found(row["Name"], f"arn:aws:s3:::{row['Name']}", row.get("CreationDate"))


def _instances(client: Any, pace: _Pace, known: frozenset[str]) -> Iterator[_Found]:
    for page in _pages(client, "describe_db_instances", pace):
        for row in page.get("DBInstances") or ():
            yield _Found(
                row["DBInstanceIdentifier"], row.get("DBInstanceArn", ""), row.get("InstanceCreateTime")
            )


def _clusters(client: Any, pace: _Pace, known: frozenset[str]) -> Iterator[_Found]:
    for page in _pages(client, "describe_db_clusters", pace):
        for row in page.get("DBClusters") or ():
            yield _Found(
                row["DBClusterIdentifier"], row.get("DBClusterArn", ""), row.get("ClusterCreateTime")
            )


def _keys(client: Any, pace: _Pace, known: frozenset[str]) -> Iterator[_Found]:
    for page in _pages(client, "list_keys", pace):
        for row in page.get("Keys") or ():
            if row["KeyId"] in known:
                yield _Found(row["KeyId"], row.get("KeyArn", ""), None)
                continue
            pace()
            about = client.describe_key(KeyId=row["KeyId"])["KeyMetadata"]
            if about.get("KeyManager") != "AWS" and about.get("KeyState") not in _DYING:
                yield _Found(row["KeyId"], about.get("Arn", ""), about.get("CreationDate"))


def _roles(client: Any, pace: _Pace, known: frozenset[str]) -> Iterator[_Found]:
    for page in _pages(client, "list_roles", pace):
        for row in page.get("Roles") or ():
            if not row.get("Path", "/").startswith(_AWS_PATHS):
                yield _Found(row["RoleName"], row.get("Arn", ""), row.get("CreateDate"))


_LISTINGS: Mapping[str, tuple[str, str, Callable[[Any, _Pace, frozenset[str]], Iterator[_Found]]]] = {
    "s3_bucket": ("s3", "aws_s3_bucket", _buckets),
    "rds_instance": ("rds", "aws_db_instance", _instances),
    "rds_cluster": ("rds", "aws_rds_cluster", _clusters),
    "kms_key": ("kms", "aws_kms_key", _keys),
    "iam_role": ("iam", "aws_iam_role", _roles),
}


def _change(kind: str, type_name: str, found: _Found) -> Change:
    return Change(
        address=f"{kind}/{found.name}",
        type=type_name,
        provider="account",
        drift_class=DriftClass.UNMANAGED,
        severity=load_rules().severity(type_name, DriftClass.UNMANAGED),
        message=f"the {kind.replace('_', ' ')} {found.name} is in the account and in no state",
        identity=(("name", found.name), ("arn", found.arn)) if found.arn else (("name", found.name),),
        when=found.made,
    )


def _unread(kind: str, service: str, error: Exception) -> Unread:
    response: Any = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code", "an error") if isinstance(response, dict) else ""
    told = f"{service} answered {code}" if code else REDACT(str(error))
    return Unread(
        f"{kind}_unread",
        kind,
        f"the account's {kind.replace('_', ' ')}s cannot be listed: {told}",
        f"allow the credentials of the account to list {service}, and see whether its endpoint answers",
    )
