"""Faults in what is stored: WAL segments, timeline history, backups."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.postgres import layout
from ccobs_ops.lab.faults.actions import Action, DeleteObject, FlipBit, KeptObject
from ccobs_ops.lab.faults.base import Site
from ccobs_ops.lab.plan import BUCKET, TARGET
from ccobs_ops.lab.s3 import client
from ccobs_ops.lab.services.postgres import ask

REGION = "us"
PREFIX = f"{TARGET}/"
MIDDLE = 3
"""A gap needs a segment on either side of it."""
WAIT_SECONDS = 40.0
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Stored:
    """One object of the archive; `key` relative to the archive's prefix."""

    key: str
    modified: datetime


def wal_gap(site: Site) -> tuple[Action, ...]:
    """Every object of one finished segment that replay from the newest backup needs."""
    return tuple(DeleteObject(kept=_keep(site, key)) for key in _needed_segment(site))


def wal_corrupt(site: Site) -> tuple[Action, ...]:
    """One bit of each object of one finished segment that replay from the newest backup needs."""
    return tuple(_flip(site, key) for key in _needed_segment(site))


def backup_corrupt(site: Site) -> tuple[Action, ...]:
    """One bit of one part of the newest backup."""
    return (_flip(site, site.rng.choice(_parts(site))),)


def backup_missing(site: Site) -> tuple[Action, ...]:
    """One part of the newest backup."""
    return (DeleteObject(kept=_keep(site, site.rng.choice(_parts(site)))),)


def manifest_missing(site: Site) -> tuple[Action, ...]:
    """The manifest of the newest backup."""
    key = layout.manifest_key(_newest_backup(site))
    if key not in [stored.key for stored in _list(site, key)]:
        raise OpsError(f"s3://{BUCKET}/{PREFIX}{key} is not there", hint="take a backup first")
    return (DeleteObject(kept=_keep(site, key)),)


def timeline_history_missing(site: Site) -> tuple[Action, ...]:
    """The newest timeline's history file. A cluster on timeline 1 has none, so it is promoted first, for real."""
    if "agent" in site.lab.plan.services and not site.lab.runs("agent"):
        raise OpsError(
            "the agent is not running: no timeline history is shipped", hint="heal archiver-stopped first"
        )
    timeline, problem = ask(site.lab.plan, "SELECT timeline_id FROM pg_control_checkpoint()")
    if problem:
        raise OpsError(problem, hint="see ccobs-ops lab status")
    if timeline == 1:
        timeline = site.lab.promote()
    key = layout.history_key(timeline)
    deadline = time.monotonic() + WAIT_SECONDS
    while not any(stored.key == key for stored in _list(site, key)):
        if time.monotonic() > deadline:
            raise OpsError(
                f"the history of timeline {timeline} was not shipped within {WAIT_SECONDS:.0f} s",
                hint=f"see whether the agent runs: {site.lab.plan.log('agent')}",
            )
        time.sleep(POLL_SECONDS)
    return (DeleteObject(kept=_keep(site, key)),)


def _needed_segment(site: Site) -> list[str]:
    """Keys of one finished segment's objects, with a finished segment before and after it.

    Segments stored after the newest backup are preferred: every restore to a later moment replays them. While the agent
    runs, PostgreSQL is made to finish more of them if there are too few.
    """
    segments = _finished(site, since=_newest_backup_time(site))
    deadline = time.monotonic() + WAIT_SECONDS
    while len(segments) < MIDDLE and site.lab.runs("agent") and time.monotonic() < deadline:
        ask(site.lab.plan, "SELECT pg_logical_emit_message(true, 'lab', 'fill')")
        ask(
            site.lab.plan,
            "SELECT pg_logical_emit_message(true, 'lab', 'a switch right after a switch does nothing')",
        )
        ask(site.lab.plan, "SELECT pg_switch_wal()")
        time.sleep(POLL_SECONDS)
        segments = _finished(site, since=_newest_backup_time(site))
    if len(segments) < MIDDLE:
        segments = _finished(site, since=None)
    if len(segments) < MIDDLE:
        raise OpsError(
            f"only {len(segments)} finished WAL segments are stored below s3://{BUCKET}/{PREFIX}wal/",
            hint="wait until the agent has shipped at least three",
        )
    return segments[site.rng.choice(sorted(segments)[1:-1])]


def _finished(site: Site, *, since: datetime | None) -> dict[str, list[str]]:
    """Keys of the finished segments of the newest timeline, by segment; `since` leaves out what was stored earlier."""
    found: dict[str, list[str]] = {}
    for stored in _list(site, "wal/"):
        parsed = layout.parse_wal_key(stored.key)
        if parsed is not None and not parsed.partial and (since is None or stored.modified > since):
            found.setdefault(parsed.name, []).append(stored.key)
    newest = max((name[:8] for name in found), default="")
    return {name: keys for name, keys in found.items() if name[:8] == newest}


def _newest_backup_time(site: Site) -> datetime | None:
    return max((stored.modified for stored in _list(site, "catalogue/")), default=None)


def _newest_backup(site: Site) -> str:
    names = [stored.key.removeprefix("catalogue/") for stored in _list(site, "catalogue/")]
    backups = sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))
    if not backups:
        raise OpsError(f"there is no backup below s3://{BUCKET}/{PREFIX}", hint="take one first")
    return backups[-1]


def _parts(site: Site) -> list[str]:
    backup = _newest_backup(site)
    parts = sorted(stored.key for stored in _list(site, f"backups/{backup}/part-"))
    if not parts:
        raise OpsError(f"backup {backup} has no part that is whole", hint="heal what is broken first")
    return parts


def _flip(site: Site, key: str) -> FlipBit:
    kept = _keep(site, key)
    if kept.bytes == 0:
        raise OpsError(f"{kept.location} is empty: it has no bit to flip", hint="try another --seed")
    return FlipBit(kept=kept, byte=site.rng.randrange(kept.bytes), bit=site.rng.randrange(8))


def _keep(site: Site, key: str) -> KeptObject:
    return KeptObject.take(site.lab, site.folder, REGION, BUCKET, PREFIX + key)


def _list(site: Site, prefix: str) -> list[_Stored]:
    """Objects whose key starts with `prefix`, without those that another fault has broken."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    pages = client(site.lab.plan, REGION).get_paginator("list_objects_v2")
    try:
        rows = [
            row
            for page in pages.paginate(Bucket=BUCKET, Prefix=PREFIX + prefix)
            for row in page.get("Contents", ())
        ]
    except (BotoCoreError, ClientError) as error:
        raise OpsError(
            f"s3://{BUCKET}/{PREFIX} cannot be listed: {error}", hint="see ccobs-ops lab status"
        ) from error
    return [
        _Stored(row["Key"].removeprefix(PREFIX), row["LastModified"])
        for row in rows
        if row["Key"] not in site.spoiled
    ]
