"""A store as it was at a moment, through its immutable versions alone: what is left after everything else was destroyed.

Whoever deletes an object or writes over it puts a new version or a delete marker on top; a version under object lock stays
below it until its retention ends. Every byte that is read here comes from a version that was written by that moment, and
whose lock the store itself states in the very answer that carries the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ccobs_ops.core.errors import DamagedError, RefusedError
from ccobs_ops.core.exercise import Clock, rfc3339
from ccobs_ops.core.storage import MissingObjectError, ObjectStore, StoredObject

CODE = "not_immutable"
_RUNNING = ".partial."
"""The running WAL segment is written over every few seconds: it is never locked."""


@dataclass(frozen=True, slots=True)
class _Version:
    id: str
    stored: StoredObject


class LockedStore(ObjectStore):
    """`store` as it was at the moment `as_of`. Reads only what is under object lock beyond the present; writes nothing."""

    def __init__(self, store: ObjectStore, *, as_of: datetime, clock: Clock) -> None:
        super().__init__(store._client, store._config, store.name)  # pyright: ignore[reportPrivateUsage]
        self._as_of = as_of
        self._clock = clock
        self._known: dict[str, _Version] = {}
        self.soonest: datetime | None = None
        """When the first lock of what was read ends."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object that was there at the moment, in key order."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            pages = self._client.get_paginator("list_object_versions").paginate(
                Bucket=self._config.bucket, Prefix=self._full(prefix)
            )
            newest: dict[str, tuple[datetime, _Version | None]] = {}
            for page in pages:
                for row in page.get("Versions", ()):
                    self._offer(newest, row, marker=False)
                for row in page.get("DeleteMarkers", ()):
                    self._offer(newest, row, marker=True)
        except (ClientError, BotoCoreError) as error:
            raise self._translate(error, prefix, "could not be listed") from error
        for key in sorted(newest):
            version = newest[key][1]
            if version is not None and _RUNNING not in key:
                self._known[key] = version
                yield version.stored

    def put(
        self,
        key: str,
        data: bytes | Path,
        *,
        md5: str | None = None,
        metadata: Mapping[str, str] | None = None,
        lock: bool = False,
    ) -> StoredObject:
        """Refused."""
        raise RefusedError(f"{self.locate(key)} is read as it was; nothing is written")

    def _offer(
        self, newest: dict[str, tuple[datetime, _Version | None]], row: dict[str, Any], *, marker: bool
    ) -> None:
        modified: datetime = row["LastModified"]
        if modified > self._as_of:
            return
        key = row["Key"].removeprefix(self._full(""))
        known = newest.get(key)
        if known is not None and known[0] > modified:
            return
        if known is not None and known[0] == modified and not row.get("IsLatest"):
            return  # within one tick of the store's clock only the newest of all is told apart
        stored = None if marker else StoredObject(key, row["Size"], row["ETag"].strip('"'), modified)
        newest[key] = (modified, _Version(row["VersionId"], stored) if stored else None)

    def _asked(self, key: str) -> dict[str, Any]:
        if key not in self._known:
            for _ in self.list(key):
                pass
        version = self._known.get(key)
        if version is None:
            where = self.locate(key)
            raise MissingObjectError(
                f"{where} was not there at {rfc3339(self._as_of)}",
                code="object_missing",
                subject=where,
                hint="choose another moment",
            )
        return super()._asked(key) | {"VersionId": version.id}

    def _accept(self, key: str, answer: dict[str, Any]) -> None:
        until: datetime | None = answer.get("ObjectLockRetainUntilDate")
        held = answer.get("ObjectLockLegalHoldStatus") == "ON"
        if not held and (until is None or not answer.get("ObjectLockMode") or until <= self._clock()):
            where = self.locate(key)
            why = f"its retention ended at {rfc3339(until)}" if until is not None else "it has no object lock"
            raise DamagedError(
                f"{where} is not immutable: {why}",
                code=CODE,
                subject=where,
                hint="keep backups in a bucket with object lock: `object_lock:` of the store in the inventory",
            )
        if until is not None:
            until = until.astimezone(UTC)
            self.soonest = until if self.soonest is None else min(self.soonest, until)
