"""What every step of a fault builds on: its base class, and a copy of an object that can be put back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab.s3 import client

if TYPE_CHECKING:
    from ccobs_ops.lab.lab import Lab

_CARRIED = ("ContentType", "ContentEncoding", "ContentDisposition", "ContentLanguage", "CacheControl")


class Step(BaseModel):
    """One step: frozen, and every key of its file is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KeptObject(Step):
    """A copy of one object: its bytes in `file` (below the fault's folder), and all that is stored with them."""

    region: str
    bucket: str
    key: str
    file: str
    bytes: int
    metadata: dict[str, str]
    headers: dict[str, str]
    checksum: str | None

    @property
    def location(self) -> str:
        """Where it lies, for messages."""
        return f"s3://{self.bucket}/{self.key} in {self.region}"

    @classmethod
    def take(cls, lab: Lab, folder: Path, region: str, bucket: str, key: str) -> KeptObject:
        """Copy the object into `folder`; raises OpsError when the store does not give it."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        name = f"object-{len(list(folder.glob('object-*')))}"
        try:
            answer = client(lab.plan, region).get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
            body: bytes = answer["Body"].read()
        except (BotoCoreError, ClientError) as error:
            raise OpsError(
                f"s3://{bucket}/{key} in {region} cannot be read: {error}", hint="see ccobs-ops lab status"
            ) from error
        (folder / name).write_bytes(body)
        algorithms = ("SHA256", "SHA1", "CRC32C", "CRC32", "CRC64NVME")
        return cls(
            region=region,
            bucket=bucket,
            key=key,
            file=name,
            bytes=len(body),
            metadata=answer.get("Metadata", {}),
            headers={name: answer[name] for name in _CARRIED if answer.get(name)},
            checksum=next((name for name in algorithms if answer.get(f"Checksum{name}")), None),
        )

    def put(self, lab: Lab, body: bytes) -> None:
        """Store `body` under this key with the same metadata; raises OpsError when the store does not take it."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        extra: dict[str, Any] = dict(self.headers)
        if self.checksum is not None:
            extra["ChecksumAlgorithm"] = self.checksum
        try:
            client(lab.plan, self.region).put_object(
                Bucket=self.bucket, Key=self.key, Body=body, Metadata=self.metadata, **extra
            )
        except (BotoCoreError, ClientError) as error:
            raise OpsError(
                f"{self.location} cannot be stored: {error}", hint="see ccobs-ops lab status"
            ) from error
