"""One object of one side, asked for by itself: what HEAD says, its tags, its older versions, a hash of its bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.replication.difference import Seen
from ccobs_ops.core.replication.lister import Lister

_ALGORITHMS = ("SHA256", "SHA1", "CRC64NVME", "CRC32C", "CRC32")
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Head:
    """What HEAD says; `seen` is None where there is no such object.

    `asked_at` is the moment by the store's own clock, `ahead` by how much that clock was ahead of ours when the answer came
    (within a second: a Date header has whole seconds only).
    """

    seen: Seen | None
    asked_at: datetime
    ahead: timedelta
    encrypted: bool = False
    deleted: bool = False
    checksums: dict[str, str] = field(default_factory=dict)


def head(side: Lister, key: str, version_id: str = "") -> Head:
    """Look at one object. Raises UnknownError when the store does not answer."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    request = {"Bucket": side.config.bucket, "Key": side.full(key)}
    if version_id:
        request["VersionId"] = version_id
    try:
        answer = side.call("head_object", **request, ChecksumMode="ENABLED")
    except ClientError as error:
        meta = error.response.get("ResponseMetadata", {})
        if meta.get("HTTPStatusCode") in (404, 405):
            headers = meta.get("HTTPHeaders", {})
            gone = headers.get("x-amz-delete-marker") == "true"
            return Head(None, *_date(headers, side), deleted=gone)
        raise _unknown(side, key, error) from error
    except BotoCoreError as error:
        raise _unknown(side, key, error) from error
    encrypted = (
        answer.get("ServerSideEncryption", "").startswith("aws:kms") or "SSECustomerAlgorithm" in answer
    )
    kind = answer.get("ChecksumType", "")
    return Head(
        Seen(
            answer["ContentLength"],
            answer["ETag"].strip('"'),
            answer["LastModified"],
            answer.get("VersionId", ""),
            answer.get("StorageClass", ""),
        ),
        *_date(answer["ResponseMetadata"]["HTTPHeaders"], side),
        encrypted=encrypted or _keyed(side),
        checksums={
            f"{name} {kind}".strip(): answer[f"Checksum{name}"]
            for name in _ALGORITHMS
            if f"Checksum{name}" in answer
        },
    )


def same_content(one: Head, two: Head) -> bool | None:
    """Whether two objects of one size hold the same bytes, as far as ETags and native checksums tell; None: they do not.

    An ETag is the MD5 of a plain object that is not encrypted with a key (Amazon S3 API reference, "Object"); of a multipart
    object it ends in the number of parts and depends on their sizes, and with SSE-KMS or SSE-C it is no digest. Two that are
    equal are taken for equal content all the same: a replicator that copies them is what the sample is for.
    """
    if one.seen is None or two.seen is None:
        return None
    if one.seen.etag == two.seen.etag:
        return True
    for name in one.checksums.keys() & two.checksums.keys():
        first, second = one.checksums[name], two.checksums[name]
        if first == second:
            return True
        if "-" not in first and "-" not in second:
            return False
    if any(each.encrypted or len(each.seen.etag) != 32 for each in (one, two) if each.seen):
        return None
    return False


def tags(side: Lister, key: str) -> dict[str, str]:
    """The object's tags."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        answer = side.call("get_object_tagging", Bucket=side.config.bucket, Key=side.full(key))
    except (ClientError, BotoCoreError) as error:
        raise _unknown(side, key, error) from error
    return {each["Key"]: each["Value"] for each in answer["TagSet"]}


def versions(side: Lister, key: str) -> list[Seen]:
    """The versions and delete markers of one key, newest first; none where the store keeps or tells none."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    full = side.full(key)
    try:
        answer = side.call("list_object_versions", Bucket=side.config.bucket, Prefix=full, MaxKeys=100)
    except (ClientError, BotoCoreError):
        return []
    found = [
        Seen(each.get("Size", 0), each.get("ETag", "").strip('"'), each["LastModified"], each["VersionId"])
        for each in answer.get("Versions", ())
        if each["Key"] == full and each["VersionId"] != "null"
    ]
    found += [
        Seen(0, "", each["LastModified"], each["VersionId"], delete_marker=True)
        for each in answer.get("DeleteMarkers", ())
        if each["Key"] == full
    ]
    newest = {
        each["VersionId"]
        for name in ("Versions", "DeleteMarkers")
        for each in answer.get(name, ())
        if each["Key"] == full and each.get("IsLatest")
    }
    return sorted(found, key=lambda each: (each.version_id in newest, each.modified), reverse=True)


def digest(side: Lister, key: str) -> tuple[str, str]:
    """The ETag of the object and the SHA-256 of its bytes, read to the end.

    Raises FileNotFoundError when it is not there, OSError when it is there and cannot be read, UnknownError otherwise.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    found = hashlib.sha256()
    try:
        answer: Any = side.call("get_object", Bucket=side.config.bucket, Key=side.full(key))
        while block := answer["Body"].read(_BLOCK):
            found.update(block)
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status == 404:
            raise FileNotFoundError(key) from error
        if status in (500, 501) and head(side, key).seen is not None:
            raise OSError(f"it is there and cannot be read: the store answers {status}") from error
        raise _unknown(side, key, error) from error
    except (BotoCoreError, HTTPError) as error:
        raise _unknown(side, key, error) from error
    return answer["ETag"].strip('"'), found.hexdigest()


def _keyed(side: Lister) -> bool:
    return side.config.encryption is not None and side.config.encryption.mode == "aws:kms"


def _date(headers: dict[str, str], side: Lister) -> tuple[datetime, timedelta]:
    """The moment of an answer that has just come by the store's clock, and how far that is ahead of ours."""
    here = side.here()
    try:
        told = parsedate_to_datetime(headers["date"])
    except (KeyError, TypeError, ValueError):
        told = side.now()
    return told, told - here


def _unknown(side: Lister, key: str, error: Exception) -> UnknownError:
    return UnknownError(
        f"s3://{side.config.bucket}/{side.full(key)} (store {side.store!r}) could not be looked at: "
        f"{str(error).splitlines()[0]}",
        hint="see whether the store's endpoint answers from this host; then repeat with --resume",
    )
