"""What is open at each target, and where its recovery time is heading: what `status` shows beside the verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ccobs_ops.core import incidents
from ccobs_ops.core.forecast import FORECAST, Forecast, forecast
from ccobs_ops.core.incident import Incident

if TYPE_CHECKING:
    from ccobs_ops.core.ledger import Ledger
    from ccobs_ops.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Outlook:
    """One target: its open incidents, the newest first, and its forecast where it is restored."""

    target: str
    incidents: tuple[Incident, ...]
    forecast: Forecast | None


def outlook(
    ledger: Ledger, inventory: Inventory, targets: Iterable[str], now: datetime
) -> dict[str, Outlook]:
    """The outlook of each of `targets`, and of what is open elsewhere (drills, ourselves) under its own name."""
    found: dict[str, list[Incident]] = {target: [] for target in targets}
    with ledger.reading() as connection:
        for each in sorted(incidents.all_open(connection), key=lambda one: one.detected_at, reverse=True):
            found.setdefault(each.target, []).append(each)
    return {
        target: Outlook(target, tuple(mine), _forecast(ledger, inventory, target, now))
        for target, mine in found.items()
    }


def _forecast(ledger: Ledger, inventory: Inventory, target: str, now: datetime) -> Forecast | None:
    noun, _, name = target.partition("/")
    known = noun in FORECAST and name in getattr(inventory, noun)
    return forecast(ledger, inventory, target, now) if known else None
