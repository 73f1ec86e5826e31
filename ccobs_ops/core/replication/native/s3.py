"""S3's own replication: the bucket's configuration, and `ReplicationStatus` of objects.

An object's status is COMPLETED, PENDING or FAILED in the source and REPLICA in the destination; an object that no rule
covers has none (Amazon S3 user guide, "Getting replication status information").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ccobs_ops.core.replication.native.signal import Signal

_ASKED_SUSPECTS = 25


@dataclass(frozen=True, slots=True)
class S3Replication:
    """Asks the source bucket. `bucket` and `prefix` as S3 knows them."""

    client: Any
    bucket: str
    prefix: str
    sample: int
    name: str = "s3 replication"

    def ask(self, suspects: Sequence[str]) -> Signal:
        """The configuration, then the status of the suspects, and of a sample where there is none."""
        from botocore.exceptions import ClientError  # noqa: PLC0415

        try:
            configuration = self.client.get_bucket_replication(Bucket=self.bucket)["ReplicationConfiguration"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ReplicationConfigurationNotFoundError":
                return Signal(self.name, False, f"the bucket {self.bucket} has no replication configuration")
            raise
        rules = [rule for rule in configuration.get("Rules", ()) if rule.get("Status") == "Enabled"]
        if not rules:
            return Signal(self.name, False, f"no replication rule of {self.bucket} is enabled")
        keys = list(suspects[:_ASKED_SUSPECTS]) or self._sample()
        statuses: dict[str, str] = {}
        for key in keys:
            try:
                found = self.client.head_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                    continue
                raise
            statuses[key] = _plain(str(found.get("ReplicationStatus", "")).upper())
        return self._told(rules, statuses, bool(suspects))

    def _sample(self) -> list[str]:
        page = self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=self.sample)
        return [row["Key"] for row in page.get("Contents", ())]

    def _told(self, rules: Sequence[Any], statuses: dict[str, str], suspected: bool) -> Signal:
        counts = Counter(statuses.values())
        measurements = {
            "native_rules_enabled": float(len(rules)),
            **{
                f"native_objects_{status.lower()}": float(count) for status, count in counts.items() if status
            },
        }
        which = "objects that differ" if suspected else "objects looked at"
        told = ", ".join(
            f"{count} {status or 'without a status'}" for status, count in sorted(counts.items())
        )
        message = f"{len(rules)} rules enabled; of {len(statuses)} {which}: {told or 'none'}"
        completed = tuple(key for key, status in statuses.items() if status == "COMPLETED")
        if suspected:
            # one that is called completed and is not there is a contradiction, whatever the others are
            return Signal(self.name, bool(completed) if statuses else None, message, completed, measurements)
        if not statuses or set(counts) == {""}:
            return Signal(self.name, None, message, (), measurements)
        return Signal(
            self.name, not counts["FAILED"] and not counts["PENDING"], message, completed, measurements
        )


def _plain(status: str) -> str:
    """`COMPLETE`, as the header has it, and `COMPLETED`, as the documentation has it, are one."""
    return "COMPLETED" if status.startswith("COMPLETE") else status
