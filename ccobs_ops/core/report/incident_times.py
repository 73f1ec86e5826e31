"""The incidents of a report, and how long it took to detect and to restore."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ccobs_ops.core import recovery
from ccobs_ops.core.incident import Incident
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.report.model import Event, Exposure, Times
from ccobs_ops.inventory import Inventory


def event(incident: Incident) -> Event:
    """`incident` as the report tells it. How long it took to detect is known only where something says when it happened;
    since the last proof (`last_passed`) it is at most so long.
    """
    told = incident.occurred_from != "detected"
    detect = (incident.detected_at - incident.occurred_at).total_seconds() if told else None
    restored = incident.verified_at
    return Event(
        id=incident.id,
        target=incident.target,
        capability=incident.capability,
        claim=incident.claim,
        kind=incident.kind,
        severity=incident.severity.value,
        state=incident.state.value,
        reason=incident.reason,
        occurred_at=incident.occurred_at,
        occurred_from=incident.occurred_from,
        detected_at=incident.detected_at,
        verified_at=incident.verified_at,
        time_to_detect_seconds=detect,
        time_to_restore_seconds=(restored - incident.detected_at).total_seconds() if restored else None,
    )


def times(ledger: Ledger, since: datetime) -> tuple[Times, ...]:
    """Percentiles per target and capability, of incidents detected since `since` (core/recovery.py)."""
    return tuple(
        Times(
            each.target,
            each.capability,
            each.count,
            each.time_to_detect.p50_seconds,
            each.time_to_detect.p95_seconds,
            each.time_to_detect.max_seconds,
            each.time_to_restore.p50_seconds,
            each.time_to_restore.p95_seconds,
            each.time_to_restore.max_seconds,
        )
        for each in recovery.recovery_times(ledger, since).values()
    )


def exposures(
    ledger: Ledger, inventory: Inventory, targets: Sequence[str], since: datetime, until: datetime
) -> tuple[Exposure, ...]:
    """For how long each target could not have been recovered within its objectives, as far as is known."""
    found = [recovery.exposure(ledger, inventory, target, since, until) for target in targets]
    return tuple(Exposure(each.target, each.seconds, each.ratio) for each in found)
