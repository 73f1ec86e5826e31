"""The job `remediate_incident`: one attempt at one incident, as `ccobs-ops remediate` does it."""

from typing import Any

import dagster as dg
from pydantic import Field

from ccobs_ops.assets.reporting import exercise_metadata, failures_for_people
from ccobs_ops.assets.running import Asked
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.remediation import policy
from ccobs_ops.core.remediation.run import Remedied, remediate
from ccobs_ops.inventory import Inventory
from ccobs_ops.resources.core import CoreResource

JOB = "remediate_incident"
OP = "attempt"
RUN_TAGS = {"workload": "remediation"}


class RemediateConfig(Asked):
    """Which incident, and whether for real. Every default is the safe choice."""

    incident: str = Field(description="The incident's id, or the beginning of it: ccobs-ops incident list.")
    dry_run: bool = Field(default=True, description="Only say what would be done.")
    confirm: str = Field(default="", description="The target that is acted on; required when dry_run is off.")
    automatic: bool = Field(
        default=False, description="Keep to the bounds for the machine: attempts, back-off, circuit breaker."
    )


def remediation_jobs(inventory: Inventory) -> list[Any]:
    """`remediate_incident`, where `inventory` protects anything."""
    if not any((inventory.postgres, inventory.etcd, inventory.replication, inventory.terraform)):
        return []

    @dg.op(name=OP)
    def attempt(context: dg.OpExecutionContext, config: RemediateConfig, core_context: CoreResource) -> None:
        """Look again, do the smallest repair that the inventory allows, look whether it helped."""
        with failures_for_people(), core_context.open(context.log) as ctx:
            done = remediate(
                ctx,
                config.incident,
                dry_run=config.dry_run,
                confirmation=config.confirm or None,
                by=f"{config.operator or 'Dagster'}, run {context.run_id[:8]}",
                by_hand=not config.automatic,
            )
        _tell(context, done)

    @dg.job(
        name=JOB,
        executor_def=dg.in_process_executor,
        tags=RUN_TAGS,
        config=dg.RunConfig(ops={OP: RemediateConfig(incident="")}),
        description="One attempt at an incident: look again, do the smallest repair that the inventory allows, "
        "look whether it helped. A dry run by default.",
    )
    def remediation() -> None:
        attempt()

    return [remediation]


def _tell(context: dg.OpExecutionContext, done: Remedied) -> None:
    """Show what came of it; raises dg.Failure where the repair did not help."""
    told = f"{done.action.value} of {done.subject}: {done.outcome}: {REDACT(done.reason)}"
    shown = done.after or done.done or done.before
    metadata: dict[str, Any] = {} if shown is None else dict(exercise_metadata(shown))
    metadata |= {
        "incident": dg.MetadataValue.text(done.incident.id),
        "state": dg.MetadataValue.text(done.incident.state.value),
        "action": dg.MetadataValue.text(done.action.value),
        "outcome": dg.MetadataValue.text(done.outcome),
    }
    if done.outcome in policy.BAD:
        raise dg.Failure(told, metadata=metadata, allow_retries=False)
    context.log.info(told)
    context.add_output_metadata(metadata)
