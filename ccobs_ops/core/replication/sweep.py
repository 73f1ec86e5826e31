"""Which part of a pair is compared in the day: one folder after the other, so that each is looked at again and again.

The whole is compared at night. A part's comparison is an exercise of its own (capability `sweep`), since a part that is good
says nothing of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.storage import client_of, session

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context

_DEEPEST = 4
"""How many folders with nothing beside them are entered."""


def part(ctx: Context, name: str) -> str:
    """The prefix, below the pair's own, whose turn it is; "" where the source has no folders.

    The source's folders are asked for (their first thousand), and taken in turns: the one that follows the last sweep on
    record, however often the schedule runs. Raises UnknownError when the source does not answer.
    """
    pair = ctx.inventory.replication[name]
    store = ctx.inventory.stores[pair.source]
    client = client_of(session(store, store.read_only or store.credentials, ctx.inventory.path.parent), store)
    base = f"{store.prefix.strip('/')}/" if store.prefix.strip("/") else ""
    found = ""
    for _ in range(_DEEPEST):
        folders, objects = _folders(client, store.bucket, base + pair.prefix + found)
        below = [folder.removeprefix(base + pair.prefix) for folder in folders]
        below = [
            each
            for each in below
            if not (pair.prefix + each).startswith(pair.canary_prefix.rstrip("/") + "/")
        ]
        if not below:
            return found
        if len(below) > 1 or objects:
            last = _last(ctx, name)
            return next((each for each in below if each > last), below[0])
        found = below[0]
    return found


def _last(ctx: Context, name: str) -> str:
    """The prefix, below the pair's own, that was swept last; "" where none was."""
    done = ctx.ledger.latest(f"replication/{name}", "sweep")
    return (
        ""
        if done is None
        else str(done.details.get("prefix") or "").removeprefix(ctx.inventory.replication[name].prefix)
    )


def _folders(client: Any, bucket: str, prefix: str) -> tuple[list[str], bool]:
    """The folders right below `prefix`, and whether objects lie beside them."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, Delimiter="/", MaxKeys=1000)
    except (BotoCoreError, ClientError) as error:
        raise UnknownError(
            f"s3://{bucket}/{prefix} cannot be listed: {REDACT(' '.join(str(error).split())[:200])}",
            hint="see whether the store answers",
        ) from error
    return sorted(row["Prefix"] for row in page.get("CommonPrefixes", ())), bool(page.get("Contents"))
