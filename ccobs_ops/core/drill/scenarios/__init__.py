"""The disasters that can be rehearsed."""

from __future__ import annotations

from ccobs_ops.core.drill.scenarios import (
    accidental_delete,
    control_plane,
    database_loss,
    etcd_quorum_loss,
    ransomware,
    region_loss,
)
from ccobs_ops.core.drill.scenarios.base import Scenario
from ccobs_ops.core.errors import UsageError
from ccobs_ops.inventory_problems import did_you_mean

REGISTRY: tuple[Scenario, ...] = (
    accidental_delete.SCENARIO,
    database_loss.SCENARIO,
    etcd_quorum_loss.SCENARIO,
    region_loss.SCENARIO,
    ransomware.SCENARIO,
    control_plane.SCENARIO,
)


def named(name: str) -> Scenario:
    """The scenario called `name`. Raises UsageError when there is none."""
    for scenario in REGISTRY:
        if scenario.name == name:
            return scenario
    known = [scenario.name for scenario in REGISTRY]
    raise UsageError(
        f"there is no scenario {name!r}", hint=did_you_mean(name, known) or f"there are: {', '.join(known)}"
    )


__all__ = ["REGISTRY", "Scenario", "named"]
