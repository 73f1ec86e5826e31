"""The jobs of Terraform roots: scan, put back or accept, approve. What they do is what the command line does."""

from typing import Any

import dagster as dg
from pydantic import Field

from ccobs_ops.assets.reporting import exercise_metadata, failures_for_people
from ccobs_ops.assets.running import Asked
from ccobs_ops.assets.terraform import POOL, asset_key, verdict_text
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.terraform import approval, remediate
from ccobs_ops.core.terraform.remediate import Asked as Repair
from ccobs_ops.inventory import Inventory
from ccobs_ops.resources.core import CoreResource

SCAN = "terraform_scan"
REMEDIATE = "terraform_remediate"
APPROVE = "terraform_approve"
RUN_TAGS = {"workload": "terraform"}


class RemediateConfig(Asked):
    """What to put back. Every default is the safe choice: nothing is changed without dry_run off and the name again."""

    root: str = Field(description="The root's name in the inventory.")
    accept: bool = Field(
        default=False, description="Record the drift in the state instead of putting it back."
    )
    dry_run: bool = Field(
        default=True, description="Only say what would be done, and every reason against it."
    )
    confirm: str = Field(default="", description="The root's name again; required when dry_run is off.")


class ApproveConfig(dg.Config):
    """A plan that may be applied, on whose word, and why."""

    plan: str = Field(description="The plan's id, or the beginning of it: ccobs-ops terraform plans.")
    by: str = Field(description="Who approves it.")
    reason: str = Field(description="Why it may be applied.")


def terraform_jobs(inventory: Inventory) -> list[Any]:
    """`terraform_scan`, `terraform_remediate` and `terraform_approve` for the roots in `inventory`."""
    names = list(inventory.terraform)
    if not names:
        return []

    @dg.op(name="remediate", pool=POOL)
    def terraform_remediation(
        context: dg.OpExecutionContext, config: RemediateConfig, core_context: CoreResource
    ) -> None:
        """Look again, and put the drift of one root back where nothing is against it."""
        with failures_for_people(), core_context.open(context.log) as ctx:
            known = approval.choose(ctx.inventory, config.root)
            asked = Repair(
                config.accept, config.dry_run, config.confirm or None, by=config.operator or "Dagster"
            )
            exercise = remediate.remediate(ctx, known, asked)
        _tell(context, known, exercise)

    @dg.op(name="approve")
    def terraform_approval(
        context: dg.OpExecutionContext, config: ApproveConfig, core_context: CoreResource
    ) -> None:
        """Record an approval; the sensor, or the next repair, applies the plan."""
        with failures_for_people(), core_context.open(context.log) as ctx:
            proposal = approval.approve(ctx, config.plan, by=config.by, reason=config.reason)
        context.log.info(f"plan {proposal.id} of {proposal.target} is approved by {proposal.approved_by}")

    @dg.job(
        name=REMEDIATE,
        executor_def=dg.in_process_executor,
        tags=RUN_TAGS,
        config=dg.RunConfig(ops={"remediate": RemediateConfig(root=names[0])}),
        description="Put the drift of one root back by a plan that was checked, or accept it into the state. A dry run by "
        "default. The inventory has to allow it, and to approve it where its policy says so.",
    )
    def remediation() -> None:
        terraform_remediation()

    @dg.job(
        name=APPROVE,
        executor_def=dg.in_process_executor,
        tags=RUN_TAGS,
        description="Approve a proposed plan. It is recorded who did, and why; the plan expires.",
    )
    def approving() -> None:
        terraform_approval()

    scanning = dg.define_asset_job(
        SCAN,
        selection=dg.AssetSelection.assets(*(asset_key(name) for name in names)),
        executor_def=dg.in_process_executor,
        run_tags=RUN_TAGS,
        description="Compare configuration, state and reality of every root, side by side. Changes nothing. To scan one "
        "root of several, select its asset before launching.",
    )
    return [scanning, remediation, approving]


def _tell(context: dg.OpExecutionContext, name: str, exercise: Exercise) -> None:
    """Show what a repair did at its root; raises dg.Failure unless it PASSED, or its plan waits for an approval."""
    metadata = exercise_metadata(exercise)
    told = verdict_text(exercise)
    context.log_event(dg.AssetObservation(asset_key(name), description=told, metadata=metadata))
    waits = exercise.claim("approved")
    if exercise.verdict is Verdict.PASSED or (
        exercise.verdict is Verdict.UNKNOWN and waits is not None and waits.verdict is Verdict.UNKNOWN
    ):
        context.log.info(told)
        return
    raise dg.Failure(told, metadata=metadata, allow_retries=False)
