"""What a scan asks beyond its own root: the account (what no state knows, who changed what), and the primary of a dr root."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.exercise import Recorder
from ccobs_ops.core.terraform import cloudtrail, parity
from ccobs_ops.core.terraform.change import Change, Drift, Unread
from ccobs_ops.core.terraform.document import PlanDocument
from ccobs_ops.core.terraform.impact import ImpactRules
from ccobs_ops.core.terraform.observe import state_of
from ccobs_ops.core.terraform.root import Root, opened
from ccobs_ops.core.terraform.unmanaged import find_unmanaged

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.inventory_terraform import Account

LOOK_BACK = timedelta(days=7)
"""How far back CloudTrail is asked where no clean scan bounds it."""


def account_of(ctx: Context, root: Root, recorder: Recorder, drift: Drift, own: PlanDocument) -> Drift:
    """`drift` and what is in the root's account and in no state, if the inventory names an account."""
    account = root.config.account
    if account is None:
        return drift
    documents, unread = [own], list[Unread]()
    with recorder.phase("account"):
        for name in account.also_managed_by:
            try:
                with ExitStack() as stack:
                    documents.append(state_of(stack.enter_context(opened(ctx.inventory, name))))
            except OpsError as error:
                told = f"the state of terraform/{name}, which owns a part of the account, cannot be read: {error.message}"
                unread.append(Unread("account_state", f"terraform/{name}", told, error.hint))
        found = find_unmanaged(
            clients(ctx, account),
            documents,
            kinds=account.kinds,
            also=account.types,
            per_second=account.requests_per_second,
            sleep=ctx.sleep,
            timer=ctx.timer,
        )
    changes = tuple(change for change in found.changes if not _excluded(change, account.exclude))
    unread += found.unread
    if any(one.code == "account_state" for one in unread):
        changes = ()  # what another root's state holds cannot be told from what none does
    return replace(
        drift,
        changes=(*drift.changes, *changes),
        unread=(
            *drift.unread,
            *(replace(one, code=f"account_{one.code.removeprefix('account_')}") for one in unread),
        ),
        unmanaged=len(changes),
    )


def parity_of(
    ctx: Context, root: Root, recorder: Recorder, drift: Drift, own: PlanDocument, rules: ImpactRules
) -> Drift:
    """`drift` with the differences between a dr root and its primary that would break a failover, as notes."""
    primary = root.config.parity_with
    if primary is None:
        return drift
    try:
        with recorder.phase("parity"), opened(ctx.inventory, primary) as other:
            held = state_of(other)
            notes = parity.compare(own, held, name=root.name, primary_name=primary, rules=rules)
    except OpsError as error:
        missing = Unread("parity_not_compared", f"terraform/{primary}", error.message, error.hint)
        return replace(drift, unread=(*drift.unread, missing))
    return replace(drift, notes=(*drift.notes, *notes))


def blame(
    ctx: Context, root: Root, recorder: Recorder, drift: Drift, *, since: datetime | None, now: datetime
) -> Drift:
    """`drift` with who changed what, and when, where CloudTrail knows. It never makes a scan UNKNOWN."""
    account = root.config.account
    if account is None or not account.cloudtrail or not drift.open:
        return drift
    with recorder.phase("cloudtrail"):
        changes = cloudtrail.attribute(
            drift.changes,
            clients(ctx, account)("cloudtrail"),
            since=max(since or now - LOOK_BACK, now - LOOK_BACK),
            now=now,
            sleep=ctx.sleep,
            timer=ctx.timer,
        )
    return replace(drift, changes=changes)


def clients(ctx: Context, account: Account) -> Callable[[str], Any]:
    """boto3 clients for `account`, by service."""

    def client(service: str) -> Any:
        import boto3  # noqa: PLC0415 - half a second that a root without an account does not need
        from botocore.config import Config  # noqa: PLC0415

        from ccobs_ops.core.secrets import resolve  # noqa: PLC0415

        def secret(reference: str | None) -> str | None:
            return resolve(reference, base=ctx.inventory.path.parent) if reference else None

        return boto3.client(
            service,
            region_name=account.region,
            endpoint_url=account.endpoint,
            aws_access_key_id=secret(account.credentials.access_key),
            aws_secret_access_key=secret(account.credentials.secret_key),
            aws_session_token=secret(account.credentials.session_token),
            config=Config(
                connect_timeout=5,
                read_timeout=account.timeout.total_seconds(),
                retries={"mode": "standard", "total_max_attempts": 4},
                s3={"addressing_style": "path" if account.endpoint else "auto"},
            ),
        )

    return client


def _excluded(change: Change, patterns: tuple[str, ...]) -> bool:
    names = [change.address, *(value for _, value in change.identity)]
    return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in patterns)
