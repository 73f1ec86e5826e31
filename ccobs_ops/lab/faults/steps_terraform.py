"""Steps of the Terraform faults: a provider that crashes, a state that is not what it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ccobs_ops.lab.faults.step import KeptObject, Step
from ccobs_ops.lab.s3 import client

if TYPE_CHECKING:
    from ccobs_ops.lab.lab import Lab


class CrashProvider(Step):
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


class ReplaceObject(Step):
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
