"""The job `selftest`: every fault of the lab, found, named, told and closed. There is none for any other environment."""

from typing import Any

import dagster as dg
from pydantic import Field

from ccobs_ops.assets.reporting import exercise_metadata, failures_for_people
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.inventory import Inventory
from ccobs_ops.resources.core import CoreResource

NAME = "selftest"
OP = "inject_faults"


class SelftestConfig(dg.Config):
    """What is broken. By default each fault once, one after another."""

    faults: list[str] = Field(
        default=[], description="Only these; all by default: ccobs-ops lab break --list."
    )
    pairs: int = Field(default=0, ge=0, description="Then so many pairs of them, chosen by the seed.")
    seed: int = Field(default=1, description="Decides what exactly is broken, and which pairs.")


def selftest_jobs(inventory: Inventory) -> list[Any]:
    """`selftest`, if `inventory` is a lab's; the core refuses any other, too."""
    if inventory.environment != "lab":
        return []

    @dg.op(name=OP)
    def run_selftest(
        context: dg.OpExecutionContext, config: SelftestConfig, core_context: CoreResource
    ) -> None:
        """Break the lab in every way it knows, and demand of everything else that it does its work."""
        from ccobs_ops.lab import Lab  # noqa: PLC0415 - its servers may not be installed
        from ccobs_ops.lab.selftest.run import selftest  # noqa: PLC0415

        with failures_for_people(), core_context.open(context.log) as ctx:
            lab = Lab.open(ctx.inventory.path.parent)
            exercise = selftest(ctx, lab, faults=config.faults, pairs=config.pairs, seed=config.seed)
        context.add_output_metadata(exercise_metadata(exercise))
        context.log.info(f"{exercise.verdict.value}: {exercise.reason}")
        if exercise.verdict is not Verdict.PASSED:
            raise dg.Failure(
                f"{exercise.verdict.value}: {exercise.reason}",
                metadata=exercise_metadata(exercise),
                allow_retries=False,
            )

    @dg.job(
        name=NAME,
        executor_def=dg.in_process_executor,
        description="Inject each fault of the lab, one after another and in pairs; each must be found, named, told, "
        "repaired where the inventory allows it, and closed by a proof.",
    )
    def selftest_job() -> None:
        run_selftest()

    return [selftest_job]
