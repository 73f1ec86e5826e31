"""ECR: what it says of each image's replication, and whether the replica's registry has that digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ccobs_ops.core.replication.native.signal import Signal


@dataclass(frozen=True, slots=True)
class EcrReplication:
    """The newest `images` of each repository. In sync by its word: every one COMPLETE for the replica's region."""

    source: Any
    replica: Any
    replica_region: str
    repositories: tuple[str, ...]
    images: int
    name: str = "ecr replication"

    def ask(self, suspects: Sequence[str]) -> Signal:
        """`subjects` are images that are called COMPLETE and are not in the replica's registry: a contradiction in itself."""
        open_: list[str] = []
        lost: list[str] = []
        asked = 0
        for repository in self.repositories:
            present = self._digests(self.replica, repository, None)
            for digest in self._digests(self.source, repository, self.images):
                asked += 1
                status = self._status(repository, digest)
                if status != "COMPLETE":
                    open_.append(f"{repository}@{digest}")
                elif digest not in present:
                    lost.append(f"{repository}@{digest}")
        measurements = {
            "native_images": float(asked),
            "native_images_open": float(len(open_)),
            "native_images_lost": float(len(lost)),
        }
        if not asked:
            return Signal(self.name, None, "the repositories have no image", (), measurements)
        told = f"{asked - len(open_)} of {asked} images are called replicated to {self.replica_region}"
        if lost:
            told += f", and {len(lost)} of these are not there"
        elif open_:
            told += f"; the first that is not: {open_[0]}"
        return Signal(self.name, not open_ or bool(lost), told, tuple(lost), measurements)

    def _status(self, repository: str, digest: str) -> str:
        answer = self.source.describe_image_replication_status(
            repositoryName=repository, imageId={"imageDigest": digest}
        )
        for each in answer.get("replicationStatuses", ()):
            if each.get("region") == self.replica_region:
                return str(each.get("status", ""))
        return ""

    def _digests(self, client: Any, repository: str, newest: int | None) -> list[str]:
        from botocore.exceptions import ClientError  # noqa: PLC0415

        found: list[tuple[str, str]] = []
        try:
            for page in client.get_paginator("describe_images").paginate(repositoryName=repository):
                found += [
                    (str(row.get("imagePushedAt", "")), row["imageDigest"]) for row in page["imageDetails"]
                ]
        except ClientError as error:
            if error.response["Error"]["Code"] != "RepositoryNotFoundException":
                raise
        return [digest for _, digest in sorted(found, reverse=True)[:newest]]
