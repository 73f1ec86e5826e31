"""A database is gone with its host: it is restored to the newest commit that its archive holds."""

from __future__ import annotations

from ccobs_ops.core.drill.scenarios.base import Scenario
from ccobs_ops.core.drill.situation import Point, Situation, newest_by
from ccobs_ops.core.exercise import rfc3339


def settle(situation: Situation) -> Point:
    """The newest commit, or the newest by the moment of the disaster."""
    at = situation.asked.at
    aim = newest_by(at)
    return Point(
        told="the newest commit in the archive" + (f" by {rfc3339(at)}" if at else ""),
        inventory=situation.ctx.inventory,
        lost_at=situation.lost_at,
        before=at,
        aims={layer.name: aim for layer in situation.plan.layers if aim and layer.noun == "postgres"},
    )


SCENARIO = Scenario(
    "database-loss",
    "A database is gone with its host: restore it to the newest commit that its archive holds.",
    settle,
)
