"""A lab with replication seen through the core's own functions, while somebody keeps writing to the source."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.replication import report
from ccobs_ops.core.replication.compare import compare
from ccobs_ops.core.replication.difference import HARMLESS, Difference
from ccobs_ops.inventory_load import load
from ccobs_ops.lab import Lab
from ccobs_ops.lab.plan import ARTIFACTS, BUCKET
from ccobs_ops.lab.s3 import client
from tests.lab_support import take_down_and_check
from tests.postgres_support import wait_for

RPO = 4.0
"""Seconds that the pairs of these labs promise."""
BUCKETS = {"backups": BUCKET, "artifacts": ARTIFACTS}


@dataclass
class Regions:
    """A running lab, its clients, and a writer that never rests."""

    lab: Lab
    writer_stop: threading.Event = field(default_factory=threading.Event)
    written: int = 0

    @property
    def us(self) -> Any:
        return client(self.lab.plan, "us")

    @property
    def eu(self) -> Any:
        return client(self.lab.plan, "eu")

    @contextlib.contextmanager
    def context(self) -> Iterator[Context]:
        """As a command would get it: the inventory is read anew."""
        inventory = load(self.lab.inventory_path)
        with Ledger.of(inventory) as ledger:
            yield Context(inventory, ledger)

    def compare(self, pair: str, **options: Any) -> tuple[Exercise, dict[str, set[str]]]:
        """A comparison, and the keys of each kind of difference that time and rules do not explain."""
        with self.context() as ctx:
            exercise = compare(ctx, pair, **options)
            if exercise.verdict is Verdict.UNKNOWN and "differences" not in exercise.details:
                return exercise, {}
            found: dict[str, set[str]] = {}
            for each in self.differences(ctx, pair):
                if each.kind not in HARMLESS:
                    found.setdefault(each.kind.value, set()).add(each.key)
        return exercise, found

    def differences(self, ctx: Context, pair: str) -> list[Difference]:
        """All that the newest comparison wrote down."""
        newest = report.newest(ctx.inventory, pair)
        assert newest is not None
        return list(newest.differences())

    def keys(self, region: str, pair: str) -> dict[str, tuple[str, int]]:
        """Key, ETag and size, without canaries, as a plain listing has it."""
        pages = client(self.lab.plan, region).get_paginator("list_objects_v2")
        return {
            row["Key"]: (row["ETag"], row["Size"])
            for page in pages.paginate(Bucket=BUCKETS[pair])
            for row in page.get("Contents", ())
            if not row["Key"].startswith(("ccobs-canary/", "busy/"))
        }

    def settle(self, seconds: float = 60) -> None:
        """Wait until both pairs are the same on both sides."""

        def same() -> bool:
            return all(self.keys("us", pair) == self.keys("eu", pair) for pair in BUCKETS)

        wait_for(same, seconds, "both regions to hold the same")

    def keep_writing(self) -> None:
        """New objects, replaced objects, deletions: a few each second, in both buckets."""
        rng, s3 = Random(7), self.us
        while not self.writer_stop.wait(0.1):
            bucket = rng.choice(list(BUCKETS.values()))
            key = f"busy/{rng.randrange(40):03d}.partial"  # the faults leave such keys alone
            with contextlib.suppress(Exception):
                if bucket == BUCKET and rng.random() < 0.2:
                    s3.delete_object(Bucket=bucket, Key=key)
                else:
                    s3.put_object(Bucket=bucket, Key=key, Body=rng.randbytes(rng.randrange(1, 5000)))
                self.written += 1


def hurry(lab: Lab, *, rpo: str, interval: str) -> None:
    """Shorter promises than a lab's own, so that tests wait less; whoever has read the inventory is started again."""
    text = lab.inventory_path.read_text().replace("rpo: 10s\n    hash", f"rpo: {rpo}\n    hash")
    lab.inventory_path.write_text(text.replace("interval: 5s", f"interval: {interval}"))
    if lab.runs("replication-agent"):
        lab.restart_service("replication-agent")


@contextlib.contextmanager
def regions_in(directory: Path, *services: str) -> Iterator[Regions]:
    """A lab of these services with some objects and a busy writer; down again, and checked, when the block is left."""
    try:
        regions = Regions(Lab.up(directory, services=list(services)))
        hurry(regions.lab, rpo=f"{RPO:g}s", interval="2s")
        rng = Random(1)
        for number in range(30):
            regions.us.put_object(
                Bucket=BUCKET, Key=f"samples/{number:03d}.bin", Body=rng.randbytes(rng.randrange(1, 20_000))
            )
        writer = threading.Thread(target=regions.keep_writing, name="busy")
        writer.start()
        try:
            regions.settle()
            yield regions
        finally:
            regions.writer_stop.set()
            writer.join(timeout=60)
    finally:
        take_down_and_check(directory)


def multipart(s3: Any, key: str, sizes: list[int], rng: Random) -> str:
    upload = s3.create_multipart_upload(
        Bucket=BUCKET, Key=key, Metadata={"kind": "multi"}, ContentType="application/x-tar"
    )["UploadId"]
    parts = []
    for number, size in enumerate(sizes, start=1):
        answer = s3.upload_part(
            Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=rng.randbytes(size)
        )
        parts.append({"ETag": answer["ETag"], "PartNumber": number})
    done = s3.complete_multipart_upload(
        Bucket=BUCKET, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
    )
    return done["ETag"]


def state(s3: Any, key: str) -> dict[str, Any]:
    """All that is stored with an object, and its bytes."""
    answer = s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
    kept = ("ETag", "ContentType", "CacheControl", "ContentEncoding", "Metadata", "ChecksumSHA256")
    tags = s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
    return {name: answer.get(name) for name in kept} | {
        "body": answer["Body"].read(),
        "tags": sorted((tag["Key"], tag["Value"]) for tag in tags),
    }
