"""What is in the account and in no state: S3 buckets, RDS instances and clusters, KMS keys, IAM roles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ccobs_ops.core.terraform.change import Change, Unread
from ccobs_ops.core.terraform.plan import PlanDocument


@dataclass(frozen=True, slots=True)
class Inventoried:
    """What was found in one account and region, and what could not be listed."""

    changes: tuple[Change, ...]
    unread: tuple[Unread, ...]
    seen: int


def find_unmanaged(
    client: Callable[[str], Any],
    documents: Iterable[PlanDocument],
    *,
    kinds: Iterable[str],
    also: Mapping[str, str] | None = None,
    sleep: Callable[[float], None],
    timer: Callable[[], float],
) -> Inventoried:
    """List the account by `client(service)` (boto3 clients: s3, rds, kms, iam) and report what none of `documents` holds.

    `documents` are plans of *all* roots of the account. `kinds`: `s3_bucket`, `rds_instance`, `rds_cluster`, `kms_key`,
    `iam_role`. `also` maps further resource types to a kind, for example `{"lab_bucket": "s3_bucket"}`. At most a few
    calls a second are made; a kind that cannot be listed is `unread`, the others are still reported.
    """
    raise NotImplementedError
