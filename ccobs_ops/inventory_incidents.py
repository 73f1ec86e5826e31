"""How the operating loop keeps incidents, and how far ahead it looks."""

from __future__ import annotations

from datetime import timedelta

from ccobs_ops.inventory_types import Duration, Model


class Incidents(Model):
    """`damping`: a claim that fails again so soon after its proof is the same incident. `replayed_after`: what was over for
    so long when it is first read is history, and no news. `forecast_horizon`: how long ahead a broken RTO is warned of.
    """

    damping: Duration = timedelta(minutes=30)
    replayed_after: Duration = timedelta(hours=1)
    forecast_horizon: Duration = timedelta(days=30)
