"""Copy one object from the source to the replica as it is: bytes, part sizes, headers, metadata, tags, checksum algorithm.

| step | bound to | so that |
|---|---|---|
| read | the source's ETag (If-Match) | an object that is replaced meanwhile is not copied in half |
| write | the replica's ETag (If-Match), or nothing there (If-None-Match) | nothing newer is overwritten |
| parts | the source's part sizes | the ETag of a multipart object is the same on both sides |

Where both stores are at one endpoint (or both at AWS) the stores copy by themselves and no byte passes through here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlencode

from ccobs_ops.core.errors import OpsError, UnknownError
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.scratch import scratch
from ccobs_ops.core.storage import client_of, session

if TYPE_CHECKING:
    from ccobs_ops.core.replication.pace import Pace
    from ccobs_ops.inventory import Inventory, Store

IN_MEMORY = 8 * 1024 * 1024
LARGEST_COPY = 5 * 1024**3
"""CopyObject and a single PUT take no more (Amazon S3 user guide, "Copying objects")."""
_BLOCK = 1024 * 1024
_KEPT_HEADERS = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "Expires",
    "WebsiteRedirectLocation",
    "StorageClass",
    "ObjectLockMode",
    "ObjectLockRetainUntilDate",
    "ObjectLockLegalHoldStatus",
)
_ALGORITHMS = ("SHA256", "SHA1", "CRC64NVME", "CRC32C", "CRC32")
_TAKEN = frozenset({409, 412})


class ChangedError(OpsError):
    """One side is not as the comparison saw it: nothing was written."""


@dataclass(frozen=True, slots=True)
class End:
    """One side of a copy: a client that may write where it is the replica's, and where the keys lie."""

    client: Any
    config: Store

    @classmethod
    def open(cls, inventory: Inventory, store: str) -> End:
        """The store called `store`, with its own credentials (not the read-only ones)."""
        config = inventory.stores[store]
        return cls(client_of(session(config, config.credentials, inventory.path.parent), config), config)

    def place(self, key: str) -> dict[str, str]:
        """Bucket and key as S3 knows them; `key` is relative to the store's prefix."""
        prefix = self.config.prefix.strip("/")
        return {"Bucket": self.config.bucket, "Key": f"{prefix}/{key}" if prefix else key}


@dataclass(frozen=True, slots=True)
class Original:
    """The source's object: what HEAD says, and its tags. `parts` are the sizes of its parts, none for a plain object."""

    etag: str
    bytes: int
    head: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict[str, str])
    parts: tuple[int, ...] = ()

    @property
    def algorithm(self) -> str | None:
        """The native checksum that it is stored with."""
        return next((name for name in _ALGORITHMS if f"Checksum{name}" in self.head), None)

    def settings(self, replica: Store) -> dict[str, Any]:
        """What a PUT or a multipart upload has to be given besides the bytes."""
        found: dict[str, Any] = {name: self.head[name] for name in _KEPT_HEADERS if self.head.get(name)}
        if self.head.get("Metadata"):
            found["Metadata"] = self.head["Metadata"]
        if self.tags:
            found["Tagging"] = urlencode(self.tags)
        if self.algorithm is not None:
            found["ChecksumAlgorithm"] = self.algorithm
        if replica.encryption is not None:
            found["ServerSideEncryption"] = replica.encryption.mode
            if replica.encryption.kms_key:
                found["SSEKMSKeyId"] = replica.encryption.kms_key
        return found


def original(source: End, key: str) -> Original | None:
    """The source's object as it is now, None when it is gone. Raises UnknownError when the store does not answer."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    place = source.place(key)
    try:
        head = source.client.head_object(**place, ChecksumMode="ENABLED")
        tags = source.client.get_object_tagging(**place).get("TagSet", ())
        etag, size = head["ETag"].strip('"'), int(head["ContentLength"])
        parts = _part_sizes(source, place, etag, size)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (404, 405):
            return None
        raise unreachable(error, source, key) from error
    except BotoCoreError as error:
        raise unreachable(error, source, key) from error
    return Original(etag, size, head, {each["Key"]: each["Value"] for each in tags}, parts)


def _part_sizes(source: End, place: dict[str, str], etag: str, size: int) -> tuple[int, ...]:
    """Sizes of the parts of a multipart object (its ETag ends in their number); () for a plain one.

    All parts but the last of an upload are usually of one size; the first one tells it, and the number of parts checks it.
    Otherwise each part is asked for.
    """
    _, dash, number = etag.partition("-")
    if not dash or not number.isdigit():
        return ()
    count = int(number)
    first = int(source.client.head_object(**place, PartNumber=1)["ContentLength"])
    if count == 1 and first == size:
        return (size,)
    if 0 < first < size and (size + first - 1) // first == count:
        return (*(first for _ in range(count - 1)), size - first * (count - 1))
    sizes = tuple(
        int(source.client.head_object(**place, PartNumber=part + 1)["ContentLength"]) for part in range(count)
    )
    if sum(sizes) != size:
        raise UnknownError(f"{place['Key']} has {count} parts whose sizes the store does not tell")
    return sizes


@dataclass(frozen=True, slots=True)
class Copier:
    """Copies objects one by one; thread-safe. `moved` is told the bytes that passed through here."""

    source: End
    replica: End
    bytes_pace: Pace
    request_pace: Pace
    moved: Callable[[int], None] = lambda _count: None

    @property
    def server_side(self) -> bool:
        """Whether the stores can copy without us: one endpoint, and the same credentials."""
        one, two = self.source.config, self.replica.config
        return one.endpoint == two.endpoint and one.credentials == two.credentials

    def copy(self, key: str, seen: Original, *, replaces: str | None) -> None:
        """Write `seen` to the replica under `key`, in place of the object with ETag `replaces` (None: of nothing).

        Raises ChangedError when either side is no longer as it was seen, UnknownError when a store does not answer.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": f'"{replaces}"'}
        try:
            if self.server_side and seen.bytes <= LARGEST_COPY and not seen.parts:
                self._copy_on_server(key, seen, condition)
            elif seen.parts:
                self._copy_parts(key, seen, condition)
            else:
                self._copy_plain(key, seen, condition)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _TAKEN:
                raise ChangedError("it changed while it was being copied; nothing was overwritten") from error
            raise unreachable(error, self.replica, key) from error
        except BotoCoreError as error:
            raise unreachable(error, self.replica, key) from error

    def _copy_on_server(self, key: str, seen: Original, condition: dict[str, str]) -> None:
        self.request_pace.take(1)
        settings = seen.settings(self.replica.config)
        if seen.algorithm is None:
            settings.pop("ChecksumAlgorithm", None)
        for copied in ("Metadata", "Tagging", *_KEPT_HEADERS[:7]):
            settings.pop(copied, None)  # the directives take them along
        self.replica.client.copy_object(
            **self.replica.place(key),
            CopySource=self.source.place(key),
            CopySourceIfMatch=f'"{seen.etag}"',
            MetadataDirective="COPY",
            TaggingDirective="COPY",
            **settings,
            **condition,
        )

    def _copy_plain(self, key: str, seen: Original, condition: dict[str, str]) -> None:
        settings = seen.settings(self.replica.config)
        if seen.algorithm is not None and f"Checksum{seen.algorithm}" in seen.head:
            settings[f"Checksum{seen.algorithm}"] = seen.head[f"Checksum{seen.algorithm}"]
        with self._body(key, seen, None) as body:
            self.request_pace.take(1)
            self.replica.client.put_object(**self.replica.place(key), Body=body, **settings, **condition)

    def _copy_parts(self, key: str, seen: Original, condition: dict[str, str]) -> None:
        place = self.replica.place(key)
        upload = self.replica.client.create_multipart_upload(**place, **seen.settings(self.replica.config))[
            "UploadId"
        ]
        try:
            done: list[dict[str, Any]] = []
            begin = 0
            for number, size in enumerate(seen.parts, start=1):
                done.append(self._copy_part(key, seen, upload, number, (begin, begin + size)))
                begin += size
            self.replica.client.complete_multipart_upload(
                **place, UploadId=upload, MultipartUpload={"Parts": done}, **condition
            )
        except BaseException:
            with contextlib.suppress(Exception):
                self.replica.client.abort_multipart_upload(**place, UploadId=upload)
            raise

    def _copy_part(
        self, key: str, seen: Original, upload: str, number: int, span: tuple[int, int]
    ) -> dict[str, Any]:
        place = self.replica.place(key)
        self.request_pace.take(1)
        if self.server_side:
            answer = self.replica.client.upload_part_copy(
                **place,
                UploadId=upload,
                PartNumber=number,
                CopySource=self.source.place(key),
                CopySourceIfMatch=f'"{seen.etag}"',
                CopySourceRange=f"bytes={span[0]}-{span[1] - 1}",
            )["CopyPartResult"]
        else:
            algorithm = {"ChecksumAlgorithm": seen.algorithm} if seen.algorithm else {}
            with self._body(key, seen, span) as body:
                answer = self.replica.client.upload_part(
                    **place, UploadId=upload, PartNumber=number, Body=body, **algorithm
                )
        names = [f"Checksum{name}" for name in _ALGORITHMS if f"Checksum{name}" in answer]
        return {"ETag": answer["ETag"], "PartNumber": number} | {name: answer[name] for name in names}

    @contextlib.contextmanager
    def _body(self, key: str, seen: Original, span: tuple[int, int] | None) -> Any:
        """The bytes of the source's object, or of one part of it: in memory, or in a private file where they are many."""
        size = seen.bytes if span is None else span[1] - span[0]
        ranged = {} if span is None or not size else {"Range": f"bytes={span[0]}-{span[1] - 1}"}
        self.request_pace.take(1)
        answer = self.source.client.get_object(**self.source.place(key), IfMatch=f'"{seen.etag}"', **ranged)
        if size <= IN_MEMORY:
            data = b"".join(self._blocks(answer["Body"], size))
            yield data
            return
        with scratch("repair") as folder:
            path = folder / "body"
            with path.open("wb") as file:
                for block in self._blocks(answer["Body"], size):
                    file.write(block)
            with path.open("rb") as reading:
                yield reading

    def _blocks(self, body: IO[bytes], size: int) -> Any:
        got = 0
        while block := body.read(_BLOCK):
            self.bytes_pace.take(len(block))
            self.moved(len(block))
            got += len(block)
            yield block
        if got != size:
            raise UnknownError(f"the source gave {got} of {size} bytes")


def unreachable(error: Exception, side: End, key: str) -> UnknownError:
    """The error of a store that did not do what it was asked."""
    place = side.place(key)
    told = REDACT(" ".join(str(error).split())[:200])
    return UnknownError(
        f"s3://{place['Bucket']}/{place['Key']}: {told}", hint="see whether the store answers, and its policy"
    )


__all__ = ["ChangedError", "Copier", "End", "Original", "original", "unreachable"]
