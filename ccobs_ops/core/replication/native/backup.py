"""AWS Backup: the copy jobs into a vault of the other region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ccobs_ops.core.replication.native.signal import Signal

_OPEN = frozenset({"CREATED", "RUNNING"})


@dataclass(frozen=True, slots=True)
class BackupCopies:
    """In sync by its word: the newest copy job of every resource within `window` is COMPLETED."""

    client: Any
    vault: str
    window: timedelta
    clock: Callable[[], datetime]
    name: str = "aws backup copies"

    def ask(self, suspects: Sequence[str]) -> Signal:
        """Ask the source's region, page by page."""
        request: dict[str, Any] = {
            "ByDestinationVaultArn": self.vault,
            "ByCreatedAfter": self.clock() - self.window,
        }
        newest: dict[str, dict[str, Any]] = {}
        while True:
            answer = self.client.list_copy_jobs(**request)
            for job in answer.get("CopyJobs", ()):
                resource = str(job.get("ResourceArn", ""))
                known = newest.get(resource)
                if known is None or job["CreationDate"] > known["CreationDate"]:
                    newest[resource] = job
            if not answer.get("NextToken"):
                break
            request["NextToken"] = answer["NextToken"]
        bad = {name: job for name, job in newest.items() if job.get("State") not in _OPEN | {"COMPLETED"}}
        open_ = [name for name, job in newest.items() if job.get("State") in _OPEN]
        measurements = {
            "native_copy_jobs": float(len(newest)),
            "native_copy_jobs_failed": float(len(bad)),
            "native_copy_jobs_open": float(len(open_)),
        }
        if not newest:
            return Signal(self.name, False, "no copy job in that time", (), measurements)
        if bad:
            name, job = next(iter(bad.items()))
            why = f"{job.get('State')} {job.get('StatusMessage', '')}".strip()
            told = f"{len(bad)} copy jobs did not complete, the first: {name}: {why}"
            return Signal(self.name, False, told, tuple(bad), measurements)
        told = f"{len(newest) - len(open_)} of {len(newest)} resources have a completed copy"
        return Signal(self.name, not open_, told, tuple(open_), measurements)
