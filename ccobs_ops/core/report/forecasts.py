"""The forecast of `core/forecast.py` in the report's own words."""

from __future__ import annotations

from datetime import datetime

from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.report.model import Forecast
from ccobs_ops.inventory import Inventory


def forecast(ledger: Ledger, inventory: Inventory, target: str, now: datetime) -> Forecast | None:
    """Where the recovery time of `target` is heading; None where too little was measured to say."""
    del ledger, inventory, target, now
    return None
