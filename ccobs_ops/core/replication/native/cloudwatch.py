"""CloudWatch: the metrics that S3 publishes for a replication rule with metrics or Replication Time Control switched on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ccobs_ops.core.replication.native.signal import Signal
from ccobs_ops.core.units import format_bytes, format_seconds

_METRICS = {
    "ReplicationLatency": "native_latency_seconds",
    "BytesPendingReplication": "native_pending_bytes",
    "OperationsPendingReplication": "native_pending_operations",
    "OperationsFailedReplication": "native_failed_operations",
}
_PERIOD_SECONDS = 60


@dataclass(frozen=True, slots=True)
class CloudWatch:
    """The newest point of each metric within `window`."""

    client: Any
    source_bucket: str
    replica_bucket: str
    rule: str
    window: timedelta
    clock: Callable[[], datetime]
    name: str = "cloudwatch"

    def ask(self, suspects: Sequence[str]) -> Signal:
        """In sync: nothing pending and nothing failed."""
        now = self.clock()
        answer = self.client.get_metric_data(
            StartTime=now - self.window,
            EndTime=now,
            ScanBy="TimestampDescending",
            MetricDataQueries=[
                {
                    "Id": f"m{number}",
                    "MetricStat": {
                        "Metric": {
                            "Namespace": "AWS/S3",
                            "MetricName": metric,
                            "Dimensions": [
                                {"Name": "SourceBucket", "Value": self.source_bucket},
                                {"Name": "DestinationBucket", "Value": self.replica_bucket},
                                {"Name": "RuleId", "Value": self.rule},
                            ],
                        },
                        "Period": _PERIOD_SECONDS,
                        "Stat": "Sum" if metric == "OperationsFailedReplication" else "Maximum",
                    },
                }
                for number, metric in enumerate(_METRICS)
            ],
        )
        names = list(_METRICS.values())
        found: dict[str, float] = {}
        for result in answer["MetricDataResults"]:
            if result.get("Values"):
                name = names[int(result["Id"][1:])]
                values = result["Values"]
                found[name] = sum(values) if name == "native_failed_operations" else values[0]
        if "native_pending_operations" not in found and "native_pending_bytes" not in found:
            told = f"no replication metrics of rule {self.rule} in the last {format_seconds(self.window.total_seconds())}"
            return Signal(self.name, None, told, (), found)
        pending = found.get("native_pending_operations", 0.0)
        bytes_pending = found.get("native_pending_bytes", 0.0)
        bad = found.get("native_failed_operations", 0.0)
        latency = found.get("native_latency_seconds")
        told = f"{pending:.0f} operations and {format_bytes(bytes_pending)} pending, {bad:.0f} failed" + (
            "" if latency is None else f", latency {format_seconds(latency)}"
        )
        return Signal(self.name, not (pending or bytes_pending or bad), told, (), found)
