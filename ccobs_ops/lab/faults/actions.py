"""What a fault consists of: small steps that can be written down, done and undone.

Everything that undoing needs is on disk before anything is done, so a fault can be healed after any crash.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.etcd.client import ALARMS
from ccobs_ops.lab.plan import ETCD_MEMBERS, write_private
from ccobs_ops.lab.s3 import client
from ccobs_ops.lab.services import etcd

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


class TruncateObject(_Step):
    """Cut one stored object off; key and metadata stay, and the store's own checksum agrees."""

    kind: Literal["truncate_object"] = "truncate_object"
    kept: KeptObject
    length: int

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"cut {self.kept.location} off after {self.length} of {self.kept.bytes} bytes"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Store its beginning; the copy that was kept stays as it was."""
        self.kept.put(lab, (folder / self.kept.file).read_bytes()[: self.length])

    def undo(self, lab: Lab, folder: Path) -> None:
        """Put the same bytes and metadata back."""
        self.kept.put(lab, (folder / self.kept.file).read_bytes())


class ReplaceFile(_Step):
    """Put another text into one of the lab's own files; what was there is `kept`, below the fault's folder."""

    kind: Literal["replace_file"] = "replace_file"
    path: Path
    kept: str
    fresh: str

    @classmethod
    def take(cls, folder: Path, path: Path, text: str) -> ReplaceFile:
        """Keep what `path` holds, and `text`, in `folder`, both private: they may be keys."""
        kept, fresh = f"kept-{path.name}", f"fresh-{path.name}"
        write_private(folder / kept, path.read_text())
        write_private(folder / fresh, text)
        return cls(path=path, kept=kept, fresh=fresh)

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"replaced {self.path}"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Put the new text there."""
        self.path.write_text((folder / self.fresh).read_text())

    def undo(self, lab: Lab, folder: Path) -> None:
        """Put the old text back."""
        self.path.write_text((folder / self.kept).read_text())


class RestartService(_Step):
    """End a service gracefully and start it again, so that its connections are made anew."""

    kind: Literal["restart_service"] = "restart_service"
    service: str

    def describe(self) -> str:
        """What this does, exactly."""
        return f"restarted the service {self.service}"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Restart it."""
        lab.restart_service(self.service)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Nothing is left to be undone."""


class RaiseAlarm(_Step):
    """Raise an alarm of etcd for one member, by the request with which a member does it itself."""

    kind: Literal["raise_alarm"] = "raise_alarm"
    member: str
    alarm: int

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"raised the alarm {ALARMS[self.alarm]} for {self.member}"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Raise it."""
        self._set(lab, on=True)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Disarm it."""
        self._set(lab, on=False)

    def _set(self, lab: Lab, *, on: bool) -> None:
        with etcd.client(lab.plan, *ETCD_MEMBERS) as client:
            number = next(each.id for each in client.members() if each.name == self.member)
            client.set_alarm(number, self.alarm, on=on)


Action = Annotated[
    DeleteObject
    | FlipBit
    | TruncateObject
    | StopService
    | CreateFile
    | ReplaceFile
    | RestartService
    | RaiseAlarm,
    Field(discriminator="kind"),
]
