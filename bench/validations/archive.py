"""The archive as its documented layout says it is, read without any of the product's code."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench.validations.witness import lsn_number
from ccobs_ops.lab import Lab
from ccobs_ops.lab.plan import BUCKET
from ccobs_ops.lab.s3 import client

PREFIX = "postgres/observatory/"
SEGMENT_BYTES = 16 * 1024 * 1024
_SEGMENT = re.compile(r"wal/[0-9A-F]{8}/([0-9A-F]{24})(-[0-9a-f]{32}|\.partial)\.zst$")
_HISTORY = re.compile(r"wal/([0-9A-F]{8}\.history)\.zst$")


@dataclass(frozen=True, slots=True)
class Backup:
    """One entry of the catalogue, and the keys of its objects."""

    id: str
    parent: str | None
    start_lsn: int
    stop_lsn: int
    stopped_at: datetime
    parts: tuple[str, ...]
    manifest: str
    catalogue: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What a listing shows: backups oldest first, keys of WAL by file name (a finished segment before a running one)."""

    backups: tuple[Backup, ...]
    finished: dict[str, str]
    partial: dict[str, str]
    histories: dict[str, str]

    def chain(self, backup: Backup) -> list[Backup]:
        """The full backup first, `backup` last."""
        known = {one.id: one for one in self.backups}
        links = [backup]
        while (parent := links[-1].parent) is not None:
            links.append(known[parent])
        return links[::-1]


class Bucket:
    """The lab's bucket, below the target's prefix."""

    def __init__(self, lab: Lab) -> None:
        self._s3 = client(lab.plan, "us")

    def get(self, key: str) -> bytes:
        """The bytes of an object."""
        return self._s3.get_object(Bucket=BUCKET, Key=PREFIX + key)["Body"].read()

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        self._s3.put_object(Bucket=BUCKET, Key=PREFIX + key, Body=data)

    def delete(self, key: str) -> None:
        """Delete an object."""
        self._s3.delete_object(Bucket=BUCKET, Key=PREFIX + key)

    def keys(self, prefix: str) -> list[str]:
        """Keys below `prefix`, in order."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX + prefix)
        return [row["Key"].removeprefix(PREFIX) for page in pages for row in page.get("Contents", ())]

    def read(self) -> Contents:
        """Everything, from the catalogue and a listing."""
        finished: dict[str, str] = {}
        partial: dict[str, str] = {}
        histories: dict[str, str] = {}
        for key in self.keys("wal/"):
            if match := _SEGMENT.search(key):
                (partial if match[2] == ".partial" else finished)[match[1]] = key
            elif match := _HISTORY.search(key):
                histories[match[1]] = key
        backups = [_backup(key, json.loads(self.get(key))) for key in self.keys("catalogue/")]
        return Contents(tuple(sorted(backups, key=lambda b: b.stopped_at)), finished, partial, histories)


def _backup(key: str, entry: dict[str, Any]) -> Backup:
    return Backup(
        id=entry["id"],
        parent=entry["parent"],
        start_lsn=lsn_number(entry["start_lsn"]),
        stop_lsn=lsn_number(entry["stop_lsn"]),
        stopped_at=datetime.fromisoformat(entry["stopped_at"]),
        parts=tuple(row[0] for row in entry["parts"]),
        manifest=entry["manifest"][0],
        catalogue=key,
    )
