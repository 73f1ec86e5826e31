"""Somebody deleted rows: one table comes back as it was just before the transaction that did it."""

from __future__ import annotations

from ccobs_ops.core.drill.scenarios.base import Scenario
from ccobs_ops.core.drill.situation import Point, Situation, by
from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.postgres.target import RecoveryTarget
from ccobs_ops.core.postgres.view import View


def settle(situation: Situation) -> Point:
    """Just before the transaction; without one just before the newest that the archive holds, so that it can be rehearsed."""
    asked = situation.asked

    def aim(view: View) -> tuple[View, RecoveryTarget]:
        if asked.transaction is not None:
            return view, RecoveryTarget(before_xid=asked.transaction)
        if asked.at is not None:
            return view, by(view, asked.at)
        if view.newest is None:
            raise DamagedError(
                "the archive holds no transaction that could be the one",
                code="outside_window",
                subject=situation.plan.target,
                hint="name it with --transaction once the archive has it",
            )
        return view, RecoveryTarget(before_xid=view.newest.xid)

    told = "just before the newest transaction in the archive"
    if asked.transaction is not None:
        told = f"just before transaction {asked.transaction}"
    elif asked.at is not None:
        told = rfc3339(asked.at)
    return Point(
        told=f"{told}, for the table {situation.plan.config.table}",
        inventory=situation.ctx.inventory,
        lost_at=situation.lost_at,
        aims={layer.name: aim for layer in situation.plan.layers},
    )


SCENARIO = Scenario(
    "accidental-delete",
    "Somebody deleted rows: bring one table back as it was just before the transaction that did it.",
    settle,
    requires=("table",),
    extract=True,
)
