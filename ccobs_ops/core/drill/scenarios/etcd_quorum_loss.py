"""A majority of etcd's members is gone for good: three new ones are started from the newest snapshot."""

from __future__ import annotations

from ccobs_ops.core.drill.scenarios.base import Scenario
from ccobs_ops.core.drill.situation import Point, Situation
from ccobs_ops.core.exercise import rfc3339

MEMBERS = 3


def settle(situation: Situation) -> Point:
    """The newest snapshot, or the newest by the moment of the disaster; a new cluster that survives the loss of a member."""
    at = situation.asked.at
    return Point(
        told="the newest snapshot" + (f" by {rfc3339(at)}" if at else "") + f", in {MEMBERS} new members",
        inventory=situation.ctx.inventory,
        lost_at=situation.lost_at,
        before=at,
        members=MEMBERS,
    )


SCENARIO = Scenario(
    "etcd-quorum-loss",
    "A majority of etcd's members is gone for good: start three new ones from the newest snapshot.",
    settle,
)
