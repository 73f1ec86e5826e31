"""The objects of a replicated pair as one layer of a drill: every key as it was at a moment, a sample of them read in full.

Bytes are not copied: what is restored is shown to be there, version by version, in the store that it would be served from. A
version is matched to the moment by the store's own times, which have whole seconds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError, UnknownError
from ccobs_ops.core.exercise import Exercise, Recorder, Severity, failed, passed, rfc3339, unknown
from ccobs_ops.core.rehearsal import CAPABILITY, Rehearsal
from ccobs_ops.core.replication.arrivals import Arrivals
from ccobs_ops.core.replication.difference import Seen
from ccobs_ops.core.replication.lister import Lister
from ccobs_ops.core.replication.versions import groups
from ccobs_ops.core.storage import md5_hex
from ccobs_ops.core.units import format_seconds

SAMPLE = 50
"""Objects that are read in full, drawn by chance: one in fifty that is damaged is then found with 63 %."""
_LARGEST = 64 * 1024 * 1024
"""Larger objects are not drawn: one is held in memory."""
_NAMED = 5


@dataclass(slots=True)
class Tally:
    """What a store holds of a moment."""

    objects: int = 0
    bytes: int = 0
    later: int = 0
    deleted: int = 0
    lost: list[str] = field(default_factory=list[str])
    drawn: list[tuple[str, Seen]] = field(default_factory=list[tuple[str, Seen]])
    canary: tuple[str, Seen] | None = None


def rehearse_objects(
    ctx: Context, name: str, *, store: str, at: datetime | None, rehearsal: Rehearsal
) -> Exercise:
    """Show that the objects of pair `name` can be had from `store` as they were `at` a moment (now without it).

    Claims `restored` (every key that is there has a version of that moment, or none was written over), `content` (a sample
    was read and is what was stored), `rpo` where canaries tell it. Recorded as `drill_restore` of `replication/NAME`.
    """
    pair = ctx.inventory.replication[name]

    def body(rec: Recorder) -> str:
        began = ctx.timer()
        side = Lister(
            ctx.inventory,
            store,
            pair.prefix,
            pair.concurrency,
            clock=ctx.clock,
            timer=ctx.timer,
            sleep=ctx.sleep,
        )
        ctx.progress.begin("list")
        with rec.phase("list"):
            tally = survey(side, at, pair.canary_prefix)
        rec.details |= {"store": store, "target": rfc3339(at) if at else "the newest"}
        _restored(rec, tally, side, at)
        rec.measurements |= {"objects": float(tally.objects), "object_bytes": float(tally.bytes)}
        _rpo(ctx, rec, tally, name, store, at, rehearsal.lost_at)
        rec.measurements["rto_seconds"] = ctx.timer() - began
        rehearsal.ready(rec)
        ctx.progress.begin("read")
        with rec.phase("read") as meter:
            _content(ctx, rec, side, tally, meter.add)
        rehearsal.proven(rec, None)
        return f"{tally.objects} objects, {len(tally.drawn)} of them read"

    return attempt(ctx, f"replication/{name}", CAPABILITY, "restored", body)


def survey(side: Lister, at: datetime | None, canary_prefix: str) -> Tally:
    """Every key below the side's prefix, as it was `at` a moment; one listing, in constant memory but for the sample."""
    tally = Tally()
    dice = random.Random()
    for key, found in groups(side):
        version = found[0] if at is None else next((each for each in found if _time(each) <= at), None)
        if version is None:
            tally.later += 1
            # without versions, what was written later may have replaced something that nobody can bring back
            if any(each.version_id in ("", "null") for each in found):
                tally.lost.append(key)
        elif version.delete_marker:
            tally.deleted += 1
        elif key.startswith(canary_prefix):
            if tally.canary is None or _time(version) >= _time(tally.canary[1]):
                tally.canary = (key, version)
        else:
            tally.objects += 1
            tally.bytes += version.bytes
            if version.bytes > _LARGEST:
                continue
            if len(tally.drawn) < SAMPLE:
                tally.drawn.append((key, version))
            elif (place := dice.randrange(tally.objects)) < SAMPLE:
                tally.drawn[place] = (key, version)
    return tally


def _time(version: Seen) -> datetime:
    """When it was written; one that does not say is taken for the oldest."""
    return version.modified or datetime.min.replace(tzinfo=UTC)


def _restored(rec: Recorder, tally: Tally, side: Lister, at: datetime | None) -> None:
    when = rfc3339(at) if at is not None else "now"
    for key in tally.lost[:_NAMED]:
        rec.find(
            "no_version",
            Severity.CRITICAL,
            f"s3://{side.config.bucket}/{side.full(key)}",
            f"{key} was written after {when}, and the bucket keeps no version of it from before",
            "keep versions in this bucket, so that it can go back to a moment",
        )
    if tally.lost:
        rec.claim(
            failed("restored", f"{len(tally.lost)} objects cannot be brought back to {when}: {tally.lost[0]}")
        )
    elif not tally.objects:
        rec.claim(failed("restored", f"{side.where} holds no object of {when}"))
    else:
        told = f"{tally.objects} objects of {when}; {tally.later} were written later, {tally.deleted} were deleted then"
        rec.claim(passed("restored", told))


def _content(ctx: Context, rec: Recorder, side: Lister, tally: Tally, moved: Any) -> None:
    wrong: list[str] = []
    compared = 0
    for key, version in tally.drawn:
        ctx.progress.advance(0)
        body = _read(side, key, version)
        moved(len(body))
        if len(body) != version.bytes or (len(version.etag) == 32 and md5_hex(body) != version.etag):
            wrong.append(key)
        compared += len(version.etag) == 32
    rec.measurements["objects_read"] = float(len(tally.drawn))
    for key in wrong[:_NAMED]:
        where = f"s3://{side.config.bucket}/{side.full(key)}"
        rec.find(
            "object_corrupt",
            Severity.CRITICAL,
            where,
            f"{where} is not what was stored",
            "take it from the other side of the pair",
        )
    if wrong:
        rec.claim(
            failed("content", f"{len(wrong)} of {len(tally.drawn)} sampled objects are not what was stored")
        )
    elif tally.drawn:
        told = f"{len(tally.drawn)} sampled objects were read in full, {compared} of them compared with their ETag"
        rec.claim(passed("content", told))
    else:
        rec.claim(unknown("content", "there was no object to read"))


def _read(side: Lister, key: str, version: Seen) -> bytes:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    request: dict[str, Any] = {"Bucket": side.config.bucket, "Key": side.full(key)}
    if version.version_id not in ("", "null"):
        request["VersionId"] = version.version_id
    where = f"s3://{side.config.bucket}/{side.full(key)}"
    try:
        return side.client.get_object(**request)["Body"].read()
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status in (404, 500):
            raise DamagedError(
                f"{where} is listed and cannot be read: the store answers {status}",
                code="object_unreadable",
                subject=where,
                hint="take it from the other side of the pair",
            ) from error
        raise UnknownError(f"{where} cannot be read: {str(error).splitlines()[0]}") from error
    except (BotoCoreError, HTTPError) as error:
        raise UnknownError(f"{where} cannot be read: {str(error).splitlines()[0]}") from error


def _rpo(
    ctx: Context,
    rec: Recorder,
    tally: Tally,
    name: str,
    store: str,
    at: datetime | None,
    lost_at: datetime,
) -> None:
    """Claim `rpo`: from the source's own versions the moment itself; from a replica, when its newest canary was written."""
    pair = ctx.inventory.replication[name]
    limit = pair.rpo.total_seconds()
    if store == pair.source:
        moment = at or lost_at
    elif tally.canary is None:
        rec.claim(unknown("rpo", "no canary is in the replica, so nothing tells how old it is"))
        return
    else:
        key, version = tally.canary
        written = {each.key: each.written_at for each in Arrivals(ctx.ledger, f"replication/{name}").stored()}
        moment = written.get(key, _time(version))
        if at is not None:
            moment = min(moment, at)
    lost = max(0.0, (lost_at - moment).total_seconds())
    rec.details["recovered_to"] = rfc3339(moment.astimezone(UTC))
    rec.measurements["rpo_seconds"] = lost
    told = f"what was written in the last {format_seconds(lost)} is lost, promised at most {format_seconds(limit)}"
    rec.claim(passed("rpo", told) if lost <= limit else failed("rpo", told))
