"""S3: small and middling objects, checked on the way up and on the way down.

| layer | who checks | what it catches |
|---|---|---|
| upload | the store, against our SHA-256 (`x-amz-checksum-sha256`) | bytes changed on the way |
| upload | we, against the ETag it answers | another object stored than the one sent |
| listing | we, ETag against the MD5 on record | an object replaced or rewritten later |
| download | we, MD5 on record, then zstd's own frame checksum | bytes changed at rest or on the way |

Backups are cut into parts (see `core/postgres/layout.py`), so an object is small enough to be held, retried and named as a
whole. boto3 was measured against obstore for this and chosen; docs/adr/0003 has the figures.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from ccobs_ops.core.errors import DamagedError, OpsError, UnknownError
from ccobs_ops.core.guard import Permit
from ccobs_ops.core.memory import return_large_buffers

if TYPE_CHECKING:
    from ccobs_ops.inventory import Credentials, Inventory, Store

BLOCK = 1024 * 1024
ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as a listing shows it. `etag` is without quotes; `modified` aware UTC."""

    key: str
    bytes: int
    etag: str
    modified: datetime


class MissingObjectError(DamagedError):
    """The store answered, and says that the object is not there."""


def md5_hex(data: bytes | memoryview) -> str:
    """MD5 as S3 uses it for the ETag of a plain object: against accidents, not against attackers."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class ObjectStore:
    """One store of the inventory. Keys are relative to the store's prefix. Thread-safe.

    Raises UnknownError when the store cannot be asked, MissingObjectError when it answers that there is no such object
    and DamagedError when what it holds is not what was stored.
    """

    def __init__(self, client: Any, config: Store, name: str) -> None:
        self._client = client
        self._config = config
        self.name = name

    @classmethod
    def open(cls, inventory: Inventory, name: str, *, read_only: bool = False) -> ObjectStore:
        """The store called `name`; with `read_only` through its read-only credentials, if the inventory has them."""
        config = inventory.stores[name]
        credentials = config.read_only if read_only and config.read_only is not None else config.credentials
        return cls(_client(config, credentials, inventory.path.parent), config, name)

    @property
    def concurrency(self) -> int:
        """How many requests run side by side."""
        return self._config.concurrency

    def locate(self, key: str) -> str:
        """`s3://bucket/prefix/key`, for messages."""
        return f"s3://{self._config.bucket}/{self._full(key)}"

    def put(
        self,
        key: str,
        data: bytes | Path,
        *,
        md5: str | None = None,
        metadata: Mapping[str, str] | None = None,
        lock: bool = False,
    ) -> StoredObject:
        """Store `data` (bytes, or a file) under `key` and check what the store says it took.

        `md5` is that of `data`, where the caller has it. `lock` applies the store's object-lock retention, if the
        inventory sets one.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        digest = md5 or (md5_hex(data) if isinstance(data, bytes) else _md5_file(data))
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        extra: dict[str, Any] = {}
        if self._config.encryption is not None:
            extra["ServerSideEncryption"] = self._config.encryption.mode
            if self._config.encryption.kms_key:
                extra["SSEKMSKeyId"] = self._config.encryption.kms_key
        if lock and self._config.object_lock is not None:
            extra["ObjectLockMode"] = self._config.object_lock.mode
            extra["ObjectLockRetainUntilDate"] = datetime.now(UTC) + self._config.object_lock.retain
        try:
            if isinstance(data, bytes):
                answer = self._put(key, data, metadata, extra)
            else:
                with data.open("rb") as file:
                    answer = self._put(key, file, metadata, extra)
        except (ClientError, BotoCoreError) as error:
            raise self._translate(error, key, "could not be stored") from error
        etag = answer["ETag"].strip('"')
        if self._comparable(etag) and etag != digest:
            raise DamagedError(
                f"the store took other bytes than were sent for {self.locate(key)}: ETag {etag}, sent {digest}",
                code="upload_mismatch",
                subject=self.locate(key),
                hint="look for a proxy or a store that rewrites uploads",
            )
        return StoredObject(key, size, etag, datetime.now(UTC))

    def _put(
        self, key: str, body: bytes | IO[bytes], metadata: Mapping[str, str] | None, extra: dict[str, Any]
    ) -> dict[str, Any]:
        return self._client.put_object(
            Bucket=self._config.bucket,
            Key=self._full(key),
            Body=body,
            Metadata=dict(metadata or {}),
            ChecksumAlgorithm="SHA256",
            **extra,
        )

    def get(self, key: str, *, md5: str | None = None, limit: int = 1 << 30) -> bytes:
        """The whole object, at most `limit` bytes, whose MD5 must be `md5` if given."""
        blocks: list[bytes] = []
        total = 0
        for block in self.stream(key):
            total += len(block)
            if total > limit:
                raise DamagedError(
                    f"{self.locate(key)} is larger than the {limit} bytes that it may have",
                    code="object_oversized",
                    subject=self.locate(key),
                )
            blocks.append(block)
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        if md5 is not None and (found := md5_hex(data)) != md5:
            raise DamagedError(
                f"{self.locate(key)} is not what was stored: MD5 {found}, on record {md5}",
                code="object_corrupt",
                subject=self.locate(key),
                hint="restore the object from its other region or an older version; until then use another backup",
            )
        return data

    def stream(self, key: str, *, block: int = BLOCK) -> Iterator[bytes]:
        """The object in blocks of at most `block` bytes.

        A connection that breaks is resumed from where it broke, bound to the version that was begun (If-Match), as often
        as the store's `attempts`.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        done, attempt, etag = 0, 0, ""
        while True:
            request = self._asked(key)
            if done:
                request |= {"Range": f"bytes={done}-", "IfMatch": etag}
            try:
                answer = self._client.get_object(**request)
            except (ClientError, BotoCoreError) as error:  # botocore has already tried as often as it may
                raise self._translate(error, key, "could not be read") from error
            self._accept(key, answer)
            etag, body, expected = answer["ETag"], answer["Body"], done + answer["ContentLength"]
            try:
                while data := body.read(block):
                    done += len(data)
                    yield data
                if done == expected:
                    return
            except (BotoCoreError, HTTPError, OSError) as error:
                attempt += 1
                if attempt >= self._config.attempts:
                    raise self._translate(error, key, "could not be read") from error
                time.sleep(min(0.2 * 2**attempt, 5.0))
            else:
                attempt += 1
                if attempt >= self._config.attempts:
                    raise UnknownError(f"{self.locate(key)} ended after {done} of {expected} bytes")

    def _asked(self, key: str) -> dict[str, Any]:
        """What a GET of `key` asks for."""
        return {"Bucket": self._config.bucket, "Key": self._full(key)}

    def _accept(self, key: str, answer: dict[str, Any]) -> None:
        """Look at the head of an answer before its body is used; raises OpsError to refuse it."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object below `prefix`, in key order."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        root = self._full("")
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._config.bucket, Prefix=self._full(prefix)
            )
            for page in pages:
                for row in page.get("Contents", ()):
                    yield StoredObject(
                        row["Key"].removeprefix(root),
                        row["Size"],
                        row["ETag"].strip('"'),
                        row["LastModified"],
                    )
        except (ClientError, BotoCoreError) as error:
            raise self._translate(error, prefix, "could not be listed") from error

    def delete(self, key: str, permit: Permit) -> None:
        """Delete one object; `permit` shows that the guard allowed it."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        if not permit.action:
            raise ValueError("a permit must name its action")
        try:
            self._client.delete_object(Bucket=self._config.bucket, Key=self._full(key))
        except (ClientError, BotoCoreError) as error:
            raise self._translate(error, key, "could not be deleted") from error

    def locked_until(self, key: str) -> datetime | None:
        """Until when the store lets nobody remove the object; None where it is not locked."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            found = self._client.head_object(Bucket=self._config.bucket, Key=self._full(key))
        except (ClientError, BotoCoreError) as error:
            raise self._translate(error, key, "could not be looked at") from error
        return found.get("ObjectLockRetainUntilDate")

    def etag_matches(self, stored: StoredObject, md5: str) -> bool | None:
        """Whether a listing's ETag agrees with the MD5 on record; None where an ETag says nothing (SSE-KMS, multipart)."""
        return stored.etag == md5 if self._comparable(stored.etag) else None

    def _comparable(self, etag: str) -> bool:
        encrypted = self._config.encryption is not None and self._config.encryption.mode == "aws:kms"
        return not encrypted and len(etag) == 32

    def _full(self, key: str) -> str:
        prefix = self._config.prefix.strip("/")
        return f"{prefix}/{key}" if prefix else key

    def _translate(self, error: Exception, key: str, what: str) -> OpsError:
        from botocore.exceptions import ClientError, NoCredentialsError  # noqa: PLC0415

        where = f"{self.locate(key)} (store {self.name!r})"
        if isinstance(error, ClientError):
            code = error.response.get("Error", {}).get("Code", "")
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in ("NoSuchKey", "404") or (status == 404 and code != "NoSuchBucket"):
                return MissingObjectError(
                    f"{self.locate(key)} is missing",
                    code="object_missing",
                    subject=self.locate(key),
                    hint="bring it back from the other region or an older version, or take a new backup",
                )
            if code == "NoSuchBucket":
                return UnknownError(
                    f"{where} {what}: there is no such bucket",
                    hint="create the bucket or correct the inventory",
                )
            if status in (401, 403) or code in (
                "AccessDenied",
                "InvalidAccessKeyId",
                "SignatureDoesNotMatch",
            ):
                return UnknownError(
                    f"{where} {what}: access denied ({code or status})",
                    hint="check the credentials that the inventory names and the bucket's policy",
                )
            if what == "could not be read" and status >= 500 and self._listed(key):
                return DamagedError(
                    f"{self.locate(key)} is listed but cannot be read: the store answers {status}",
                    code="object_unreadable",
                    subject=self.locate(key),
                    hint="the store has lost or damaged the object's data; use its copy in the other region",
                )
            return UnknownError(f"{where} {what}: {code or 'error'} {status}")
        if isinstance(error, NoCredentialsError):
            return UnknownError(
                f"{where} {what}: no credentials were found", hint="name them under the store's `credentials`"
            )
        return UnknownError(
            f"{where} {what}: {_brief(error)}", hint="see whether the store's endpoint answers from this host"
        )

    def _listed(self, key: str) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            answer = self._client.list_objects_v2(
                Bucket=self._config.bucket, Prefix=self._full(key), MaxKeys=1
            )
        except (ClientError, BotoCoreError):
            return False
        return any(row["Key"] == self._full(key) for row in answer.get("Contents", ()))


def in_order(
    items: Iterator[ItemT], work: Callable[[ItemT], ResultT], *, workers: int, ahead: int
) -> Generator[ResultT]:
    """Do `work` on `items` in threads and yield the results in the items' order, at most `ahead` of them in flight.

    Bounded memory: an item is taken only when there is room. The first error is raised where its result would have
    come; everything in flight is then finished or dropped before the error leaves.
    """
    return_large_buffers()
    pending: list[Future[ResultT]] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="store") as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) >= ahead:
                    yield pending.pop(0).result()
            while pending:
                yield pending.pop(0).result()
        finally:
            for future in pending:
                future.cancel()


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _md5_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def session(config: Store, credentials: Credentials, base: Path) -> Any:
    """A boto3 session with a store's region and the keys that `credentials` name, else those of the AWS chain."""
    import boto3  # noqa: PLC0415 - 0.2 s that most commands do not need

    from ccobs_ops.core.secrets import resolve  # noqa: PLC0415

    def secret(reference: str | None) -> str | None:
        return resolve(reference, base=base) if reference else None

    return boto3.Session(
        region_name=config.region,
        aws_access_key_id=secret(credentials.access_key),
        aws_secret_access_key=secret(credentials.secret_key),
        aws_session_token=secret(credentials.session_token),
    )


def _client(config: Store, credentials: Credentials, base: Path) -> Any:
    return client_of(session(config, credentials, base), config)


def client_of(session: Any, config: Store) -> Any:
    """An S3 client of `session` for the store `config`: its endpoint, timeouts, attempts and pool."""
    from botocore.config import Config  # noqa: PLC0415

    return session.client(
        "s3",
        endpoint_url=config.endpoint,
        config=Config(
            connect_timeout=min(config.timeout, timedelta(seconds=5)).total_seconds(),
            read_timeout=config.timeout.total_seconds(),
            retries={"mode": "standard", "total_max_attempts": config.attempts},
            max_pool_connections=config.concurrency + 2,
            response_checksum_validation="when_required",  # what we read has an MD5 or a checksum of our own on record
            s3={
                "addressing_style": "path"
                if config.endpoint and config.addressing == "auto"
                else config.addressing
            },
        ),
    )
