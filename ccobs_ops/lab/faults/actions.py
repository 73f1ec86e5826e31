"""What a fault consists of: small steps that can be written down, done and undone.

Everything that undoing needs is on disk before anything is done, so a fault can be healed after any crash.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab.faults.buckets import DeleteBucket, ExtraBucket, SetRetention, SetTags, SetVersioning
from ccobs_ops.lab.s3 import client

if TYPE_CHECKING:
    from ccobs_ops.lab.lab import Lab

_CARRIED = ("ContentType", "ContentEncoding", "ContentDisposition", "ContentLanguage", "CacheControl")


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeptObject(_Step):
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


class DeleteObject(_Step):
    """Delete one stored object."""

    kind: Literal["delete_object"] = "delete_object"
    kept: KeptObject

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"deleted {self.kept.location} ({self.kept.bytes} bytes)"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Delete it."""
        client(lab.plan, self.kept.region).delete_object(Bucket=self.kept.bucket, Key=self.kept.key)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Put the same bytes and metadata back."""
        self.kept.put(lab, (folder / self.kept.file).read_bytes())


class FlipBit(_Step):
    """Change one bit of one stored object; size, key and metadata stay, and the store's own checksum agrees."""

    kind: Literal["flip_bit"] = "flip_bit"
    kept: KeptObject
    byte: int
    bit: int

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"flipped bit {self.bit} of byte {self.byte} (of {self.kept.bytes}) of {self.kept.location}"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Store the object again with the bit flipped; the copy that was kept stays as it was."""
        body = bytearray((folder / self.kept.file).read_bytes())
        body[self.byte] ^= 1 << self.bit
        self.kept.put(lab, bytes(body))

    def undo(self, lab: Lab, folder: Path) -> None:
        """Put the same bytes and metadata back."""
        self.kept.put(lab, (folder / self.kept.file).read_bytes())


class StopService(_Step):
    """End a service of the lab: gracefully, or by kill -9."""

    kind: Literal["stop_service"] = "stop_service"
    service: str
    kill: bool

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"{'killed (-9)' if self.kill else 'stopped'} the service {self.service}"

    def apply(self, lab: Lab, folder: Path) -> None:
        """End it."""
        (lab.kill_service if self.kill else lab.stop_service)(self.service)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Start it again on the same ports and data."""
        lab.start_service(self.service)


class CreateFile(_Step):
    """Create an empty control file that one of our processes looks at."""

    kind: Literal["create_file"] = "create_file"
    path: Path

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"created {self.path}"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Create it, in folders that are private."""
        for parent in reversed(self.path.parents):
            if not parent.exists():
                parent.mkdir(mode=0o700)
        self.path.touch()

    def undo(self, lab: Lab, folder: Path) -> None:
        """Remove it."""
        self.path.unlink(missing_ok=True)


class CrashProvider(_Step):
    """Make the Terraform provider end when it reads a bucket, for as long as a control file is there."""

    kind: Literal["crash_provider"] = "crash_provider"
    path: Path

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"created {self.path}: the provider ends when it reads a bucket"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Create the file."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch()

    def undo(self, lab: Lab, folder: Path) -> None:
        """Remove it, and start the provider afresh instead of waiting for its supervisor."""
        self.path.unlink(missing_ok=True)
        if lab.runs("terraform"):
            lab.restart_service("terraform")


class ReplaceFile(_Step):
    """Write another text into one of the lab's private files."""

    kind: Literal["replace_file"] = "replace_file"
    path: Path
    before: str
    after: str

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"replaced what is in {self.path}"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Write the other text; mode and owner stay."""
        self.path.write_text(self.after)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Write the old text."""
        self.path.write_text(self.before)


class ReplaceObject(_Step):
    """Store other bytes under a key; `kept` is what was there, None where there was nothing."""

    kind: Literal["replace_object"] = "replace_object"
    region: str
    bucket: str
    key: str
    text: str
    kept: KeptObject | None

    def describe(self) -> str:
        """What this breaks, exactly."""
        return (
            f"stored {len(self.text.encode())} other bytes as s3://{self.bucket}/{self.key} in {self.region}"
        )

    def apply(self, lab: Lab, folder: Path) -> None:
        """Store them."""
        client(lab.plan, self.region).put_object(Bucket=self.bucket, Key=self.key, Body=self.text.encode())

    def undo(self, lab: Lab, folder: Path) -> None:
        """Put back what was there, or delete the object."""
        if self.kept is None:
            client(lab.plan, self.region).delete_object(Bucket=self.bucket, Key=self.key)
        else:
            self.kept.put(lab, (folder / self.kept.file).read_bytes())


Action = Annotated[
    DeleteObject
    | FlipBit
    | StopService
    | CreateFile
    | CrashProvider
    | ReplaceFile
    | ReplaceObject
    | SetVersioning
    | SetRetention
    | SetTags
    | DeleteBucket
    | ExtraBucket,
    Field(discriminator="kind"),
]
