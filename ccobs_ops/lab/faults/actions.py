"""What a fault consists of: small steps that can be written down, done and undone.

Everything that undoing needs is on disk before anything is done, so a fault can be healed after any crash.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ccobs_ops.lab.faults.buckets import DeleteBucket, ExtraBucket, SetRetention, SetTags, SetVersioning
from ccobs_ops.lab.faults.step import KeptObject, Step
from ccobs_ops.lab.faults.steps import CrashWhileSyncing, DropNewestVersion, PutObject, StartProxy
from ccobs_ops.lab.faults.steps_etcd import MoveLeader, RaiseAlarm
from ccobs_ops.lab.faults.steps_terraform import CrashProvider, ReplaceObject
from ccobs_ops.lab.plan import write_private
from ccobs_ops.lab.s3 import client

if TYPE_CHECKING:
    from ccobs_ops.lab.lab import Lab


class DeleteObject(Step):
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


class FlipBit(Step):
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


class TruncateObject(Step):
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


class StopService(Step):
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


class RestartService(Step):
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


class CreateFile(Step):
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


class ReplaceFile(Step):
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


Action = Annotated[
    DeleteObject
    | FlipBit
    | TruncateObject
    | StopService
    | RestartService
    | CreateFile
    | ReplaceFile
    | RaiseAlarm
    | MoveLeader
    | CrashProvider
    | ReplaceObject
    | SetVersioning
    | SetRetention
    | SetTags
    | DeleteBucket
    | ExtraBucket
    | PutObject
    | DropNewestVersion
    | CrashWhileSyncing
    | StartProxy,
    Field(discriminator="kind"),
]

__all__ = [
    "Action",
    "CrashProvider",
    "CrashWhileSyncing",
    "CreateFile",
    "DeleteObject",
    "DropNewestVersion",
    "FlipBit",
    "KeptObject",
    "MoveLeader",
    "PutObject",
    "RaiseAlarm",
    "ReplaceFile",
    "ReplaceObject",
    "RestartService",
    "StartProxy",
    "StopService",
    "TruncateObject",
]
