"""The jobs of drills: `dr_drill` runs one, `dr_approve` lets one run that waits for it."""

from typing import Any

import dagster as dg
from pydantic import Field

from ccobs_ops.assets.drill import OP, Core, DrillConfig, drill_op
from ccobs_ops.assets.reporting import failures_for_people
from ccobs_ops.core.drill import approval
from ccobs_ops.inventory import Inventory
from ccobs_ops.jobs.postgres import RUN_TAGS
from ccobs_ops.resources.core import CoreResource

JOB = "dr_drill"
APPROVE = "dr_approve"


class ApproveConfig(dg.Config):
    """A drill that may run, on whose word, and why."""

    drill: str = Field(description="The drill's name in the inventory.")
    by: str = Field(description="Who approves it: not who proposed it.")
    reason: str = Field(description="Why it may run.")


def drill_jobs(inventory: Inventory, *, core: Core | None = None) -> list[Any]:
    """`dr_drill`, and `dr_approve` where a drill needs an approval."""
    names = list(inventory.drills)
    if not names:
        return []
    step = drill_op(core)

    @dg.job(
        name=JOB,
        # every choice with its safe default, written out so that the launchpad shows what may be changed
        config=dg.RunConfig(ops={OP: DrillConfig(drill=names[0])}),
        executor_def=dg.in_process_executor,
        run_tags=RUN_TAGS,
        description="Rehearse a disaster: restore every target of one drill into sandboxes, in order, and measure how "
        f"long it takes and what is lost. A dry run unless dry_run is off. Drills: {', '.join(names)}.",
    )
    def run() -> None:
        step()

    if not any(drill.approval for drill in inventory.drills.values()):
        return [run]

    @dg.op(name="approve_drill")
    def drill_approval(
        context: dg.OpExecutionContext, config: ApproveConfig, core_context: CoreResource
    ) -> None:
        """Record an approval; the next launch of the same drill uses it."""
        with failures_for_people(), core_context.open(context.log) as ctx:
            found = approval.approve(ctx, config.drill, by=config.by, reason=config.reason)
        context.log.info(f"{found.id} of {found.target} is approved by {found.approved_by}")

    @dg.job(
        name=APPROVE,
        executor_def=dg.in_process_executor,
        description="Let a drill run that waits for it. It is recorded who did, and why; the approval expires.",
    )
    def approving() -> None:
        drill_approval()

    return [run, approving]
