"""Steps of faults that change buckets by hand, as somebody in the console would."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab.s3 import client

if TYPE_CHECKING:
    from ccobs_ops.lab.lab import Lab


class _BucketStep(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str
    bucket: str

    @property
    def _where(self) -> str:
        return f"bucket {self.bucket} in {self.region}"

    @contextmanager
    def _s3(self, lab: Lab) -> Iterator[Any]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            yield client(lab.plan, self.region)
        except (BotoCoreError, ClientError) as error:
            raise OpsError(f"{self._where}: {error}", hint="see ccobs-ops lab status") from error


class SetVersioning(_BucketStep):
    """Switch a bucket's versioning."""

    kind: Literal["set_versioning"] = "set_versioning"
    before: bool
    after: bool

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"{'enabled' if self.after else 'suspended'} versioning of {self._where}"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Switch it."""
        self._set(lab, self.after)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Switch it back."""
        self._set(lab, self.before)

    def _set(self, lab: Lab, on: bool) -> None:
        status = {"Status": "Enabled" if on else "Suspended"}
        with self._s3(lab) as s3:
            s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration=status)


class SetRetention(_BucketStep):
    """Change for how many days objects are retained."""

    kind: Literal["set_retention"] = "set_retention"
    before: int
    after: int

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"set the retention of {self._where} from {self.before} to {self.after} days"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Change it."""
        self._set(lab, self.after)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Change it back."""
        self._set(lab, self.before)

    def _set(self, lab: Lab, days: int) -> None:
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": days}}
        with self._s3(lab) as s3:
            s3.put_object_lock_configuration(
                Bucket=self.bucket,
                ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
            )


class SetTags(_BucketStep):
    """Replace a bucket's tags."""

    kind: Literal["set_tags"] = "set_tags"
    before: dict[str, str]
    after: dict[str, str]

    def describe(self) -> str:
        """What this breaks, exactly."""
        gone = ", ".join(f"{name}={value}" for name, value in self.before.items() if name not in self.after)
        return f"took the tag {gone} from {self._where}"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Replace them."""
        self._set(lab, self.after)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Put the old ones back."""
        self._set(lab, self.before)

    def _set(self, lab: Lab, tags: dict[str, str]) -> None:
        with self._s3(lab) as s3:
            put_tags(s3, self.bucket, tags)


class DeleteBucket(_BucketStep):
    """Delete an empty bucket."""

    kind: Literal["delete_bucket"] = "delete_bucket"
    versioning: bool
    tags: dict[str, str]

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"deleted {self._where}"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Delete it."""
        with self._s3(lab) as s3:
            s3.delete_bucket(Bucket=self.bucket)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Create it again as it was, unless a repair has done so."""
        with self._s3(lab) as s3:
            if _there(s3, self.bucket):
                return
            s3.create_bucket(Bucket=self.bucket)
            if self.versioning:
                s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
            put_tags(s3, self.bucket, self.tags)


class ExtraBucket(_BucketStep):
    """Create a bucket that nobody manages."""

    kind: Literal["extra_bucket"] = "extra_bucket"

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"created {self._where}"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Create it."""
        with self._s3(lab) as s3:
            s3.create_bucket(Bucket=self.bucket)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Delete it."""
        with self._s3(lab) as s3:
            if _there(s3, self.bucket):
                s3.delete_bucket(Bucket=self.bucket)


def put_tags(s3: Any, bucket: str, tags: dict[str, str]) -> None:
    """Replace the tags of `bucket`; raises botocore's errors."""
    change: Callable[..., Any] = s3.put_bucket_tagging if tags else s3.delete_bucket_tagging
    rows = [{"Key": name, "Value": value} for name, value in tags.items()]
    change(Bucket=bucket, **({"Tagging": {"TagSet": rows}} if tags else {}))


def _there(s3: Any, bucket: str) -> bool:
    from botocore.exceptions import ClientError  # noqa: PLC0415

    with contextlib.suppress(ClientError):
        s3.head_bucket(Bucket=bucket)
        return True
    return False
