"""Who changed it, and when: CloudTrail's `lookup_events`, where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ccobs_ops.core.terraform.change import Change


@dataclass(frozen=True, slots=True)
class Detection:
    """How long a change stood before it was seen, and from which moment that was counted.

    `basis` is `change` (CloudTrail says when) or `last_clean_scan`, an upper bound.
    """

    seconds: float
    basis: str


def attribute(
    changes: Iterable[Change],
    client: Any,
    *,
    since: datetime,
    now: datetime,
    sleep: Callable[[float], None],
    timer: Callable[[], float],
) -> tuple[Change, ...]:
    """`changes` with `who` and `when` where `client` (boto3 `cloudtrail`) knows; what it cannot tell stays None.

    Never raises for CloudTrail's sake: a trail that is away makes no scan UNKNOWN.
    """
    raise NotImplementedError


def detection(change: Change, *, now: datetime, last_clean: datetime | None) -> Detection | None:
    """The time to detect `change`; None if neither its moment nor a clean scan before it is known."""
    raise NotImplementedError
