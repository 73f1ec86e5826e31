"""RDS: automated backups replicated to the other region, and copies of manual snapshots there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ccobs_ops.core.replication.native.signal import Signal
from ccobs_ops.core.units import format_seconds


@dataclass(frozen=True, slots=True)
class RdsReplication:
    """In sync by its word: every instance's automated backup is `replicating`, restorable to within `rpo`."""

    source: Any
    replica: Any
    instances: tuple[str, ...]
    snapshots: bool
    rpo: timedelta
    clock: Callable[[], datetime]
    name: str = "rds replication"

    def ask(self, suspects: Sequence[str]) -> Signal:
        """Ask the replica's region, and the source's for the snapshots that ought to be copied."""
        bad: list[str] = []
        measurements: dict[str, float] = {}
        rows = [
            row
            for page in self.replica.get_paginator("describe_db_instance_automated_backups").paginate()
            for row in page.get("DBInstanceAutomatedBackups", ())
        ]
        for instance in self.instances:
            mine = [row for row in rows if row.get("DBInstanceIdentifier") == instance]
            if not mine:
                bad.append(f"{instance} has no automated backup in the replica's region")
                continue
            status = str(mine[0].get("Status", ""))
            latest = mine[0].get("RestoreWindow", {}).get("LatestTime")
            if status.lower() != "replicating":
                bad.append(f"{instance} is {status or 'without a status'}")
            if latest is not None:
                age = (self.clock() - latest).total_seconds()
                known = measurements.get("native_restorable_age_seconds", 0.0)
                measurements["native_restorable_age_seconds"] = max(age, known)
                if age > self.rpo.total_seconds():
                    bad.append(f"{instance} can be restored to {format_seconds(age)} ago at best")
        if self.snapshots:
            missing = self._uncopied()
            measurements["native_snapshots_missing"] = float(len(missing))
            bad += [f"snapshot {arn.rpartition(':')[2]} has no finished copy" for arn in missing]
        if bad:
            return Signal(self.name, False, "; ".join(bad), tuple(bad), measurements)
        told = f"{len(self.instances)} instances replicate their backups" + (
            ", every snapshot has a copy" if self.snapshots else ""
        )
        return Signal(self.name, True, told, (), measurements)

    def _uncopied(self) -> list[str]:
        copies = {
            str(row.get("SourceDBSnapshotIdentifier", ""))
            for row in self._snapshots(self.replica)
            if row.get("Status") == "available"
        }
        own = [
            row for row in self._snapshots(self.source) if row.get("DBInstanceIdentifier") in self.instances
        ]
        return [row["DBSnapshotArn"] for row in own if row["DBSnapshotArn"] not in copies]

    def _snapshots(self, client: Any) -> list[dict[str, Any]]:
        pages = client.get_paginator("describe_db_snapshots").paginate(SnapshotType="manual")
        return [row for page in pages for row in page.get("DBSnapshots", ())]
