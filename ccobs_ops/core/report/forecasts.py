"""The forecast of `core/forecast.py` in the report's own words."""

from __future__ import annotations

from datetime import datetime

from ccobs_ops.core import forecast as core
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.report.model import Forecast
from ccobs_ops.core.status import objectives_of
from ccobs_ops.inventory import Inventory


def forecast(ledger: Ledger, inventory: Inventory, target: str, now: datetime) -> Forecast | None:
    """Where the recovery time of `target` is heading; None where too little was measured to say."""
    if target.partition("/")[0] not in core.FORECAST or objectives_of(inventory, target) is None:
        return None
    found = core.forecast(ledger, inventory, target, now)
    if found.rto_seconds is None or found.low_seconds is None or found.high_seconds is None:
        return None
    return Forecast(
        found.rto_seconds,
        found.low_seconds,
        found.high_seconds,
        found.breaches_at,
        found.basis or found.reason,
    )
