"""Ask every native source that a pair names, and hold what they say against what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ccobs_ops.core.exercise import Recorder, Severity, failed, passed, unknown
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.replication.native.aws import aws_client
from ccobs_ops.core.replication.native.backup import BackupCopies
from ccobs_ops.core.replication.native.cloudwatch import CloudWatch
from ccobs_ops.core.replication.native.ecr import EcrReplication
from ccobs_ops.core.replication.native.filer_sync import FilerSync
from ccobs_ops.core.replication.native.rds import RdsReplication
from ccobs_ops.core.replication.native.s3 import S3Replication
from ccobs_ops.core.replication.native.signal import Signal, Source

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context

OF_THE_BUCKET = frozenset({"s3 replication", "cloudwatch", "filer.sync"})
"""Sources that speak about the objects that were compared; the others contradict only themselves."""


def sources(ctx: Context, name: str) -> tuple[Source, ...]:
    """The native sources of the pair `name`, opened; nothing is asked yet. Raises OpsError for a secret that is not there."""
    pair = ctx.inventory.replication[name]
    native, access, base = pair.native, pair.native.aws, ctx.inventory.path.parent
    source, replica = (ctx.inventory.stores[each] for each in (pair.source, pair.replica))
    found: list[Source] = []
    if native.s3 is not None:
        from ccobs_ops.core.storage import client_of, session  # noqa: PLC0415

        client = client_of(session(source, source.read_only or source.credentials, base), source)
        prefix = "/".join(part for part in (source.prefix.strip("/"), pair.prefix) if part)
        found.append(S3Replication(client, source.bucket, prefix, native.s3.sample))
    if native.cloudwatch is not None:
        client = aws_client(access, "cloudwatch", base)
        asked = native.cloudwatch
        found.append(CloudWatch(client, source.bucket, replica.bucket, asked.rule, asked.window, ctx.clock))
    if native.ecr is not None:
        here, there = (
            aws_client(access, "ecr", base, region=region)
            for region in (access.region, access.replica_region)
        )
        found.append(
            EcrReplication(here, there, access.replica_region, native.ecr.repositories, native.ecr.images)
        )
    if native.rds is not None:
        here, there = (
            aws_client(access, "rds", base, region=region)
            for region in (access.region, access.replica_region)
        )
        found.append(
            RdsReplication(here, there, native.rds.instances, native.rds.snapshots, pair.rpo, ctx.clock)
        )
    if native.backup is not None:
        client = aws_client(access, "backup", base)
        found.append(BackupCopies(client, native.backup.destination_vault, native.backup.window, ctx.clock))
    if native.filer_sync is not None:
        found.append(FilerSync(native.filer_sync.metrics, pair.rpo.total_seconds()))
    return tuple(found)


def ask(found: Sequence[Source], suspects: Sequence[str]) -> tuple[Signal, ...]:
    """What each source says; one that cannot be asked says nothing (`in_sync` None) and why."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    signals: list[Signal] = []
    for source in found:
        try:
            signals.append(source.ask(suspects))
        except (BotoCoreError, ClientError, OSError) as error:
            told = REDACT(" ".join(str(error).split())[:200])
            signals.append(Signal(source.name, None, f"it cannot be asked: {told}"))
    return tuple(signals)


def contradict(rec: Recorder, signals: Sequence[Signal], *, differences: int) -> None:
    """Claim `contradiction`: what the replicator says agrees with what was found. No claim where nothing was asked.

    `differences` counts what is wrong in the comparison: missing, differing, stale. A source that says "in sync" while
    there are some is a finding `replication_contradiction`; one that calls something replicated which is not there is one
    by itself.
    """
    if not signals:
        return
    rec.details["native"] = [
        {"source": each.source, "in_sync": each.in_sync, "message": each.message} for each in signals
    ]
    contradictions: list[str] = []
    for each in signals:
        rec.measurements |= each.measurements
        of_bucket = each.source in OF_THE_BUCKET
        wrong = each.in_sync is True and (differences > 0 if of_bucket else bool(each.subjects))
        if wrong:
            what = f"{differences:,} differences were found" if of_bucket else "it does not hold"
            subject = each.subjects[0] if each.subjects else rec.target
            message = f"{each.source} says that it is in sync ({each.message}), and {what}"
            rec.find(
                "replication_contradiction",
                Severity.CRITICAL,
                subject,
                message,
                "the replicator will not bring what is missing: repair it, and see why it believes so",
            )
            contradictions.append(message)
        elif each.in_sync is False and not of_bucket:
            rec.find("native_not_in_sync", Severity.WARNING, each.source, f"{each.source}: {each.message}")
        elif each.in_sync is None:
            rec.find("native_silent", Severity.WARNING, each.source, f"{each.source}: {each.message}")
    if contradictions:
        rec.claim(failed("contradiction", contradictions[0]))
    elif all(each.in_sync is None for each in signals):
        rec.claim(unknown("contradiction", f"{signals[0].source}: {signals[0].message}"))
    else:
        told = "; ".join(f"{each.source}: {each.message}" for each in signals if each.in_sync is not None)
        rec.claim(passed("contradiction", told))
