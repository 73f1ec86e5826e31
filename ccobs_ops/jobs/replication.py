"""The jobs of replication, each in one process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import Field

from ccobs_ops.assets.replication import ComparisonConfig, asset_key, restored_from
from ccobs_ops.assets.reporting import exercise_metadata, failures_for_people
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.replication import compare, repair
from ccobs_ops.inventory import Inventory
from ccobs_ops.jobs.postgres import ONE_OF_SEVERAL, RUN_TAGS
from ccobs_ops.resources.core import CoreResource

REPAIR_OP = "replication_repair_pair"


@dataclass(frozen=True)
class Core:
    """The functions of the core that the repair calls; a test of the translation puts others here."""

    compare: Callable[..., Exercise] = compare.compare
    repair: Callable[..., Exercise] = repair.repair


class RepairConfig(dg.Config):
    """Which pair to repair. Without `confirm` nothing is written."""

    pair: str = Field(description="The pair's name in the inventory.")
    confirm: str = Field(
        default="",
        description="The pair's name again, to copy for real. Empty: only say what would be copied.",
    )
    prefix: str = Field(default="", description="Only keys below this.")


def nightly_selection(inventory: Inventory) -> list[dg.AssetKey]:
    """What the night proves of every pair: comparison, canary, and restores from the replica."""
    return [
        asset_key(name, capability)
        for name in inventory.replication
        for capability in (
            "comparison",
            "canary",
            *(f"restore_{cluster}" for cluster in restored_from(inventory, name)),
        )
    ]


def replication_jobs(inventory: Inventory, *, core: Core | None = None) -> list[Any]:
    """`replication_comparison`, `replication_sweep` and `replication_repair` for the pairs in `inventory`."""
    names = list(inventory.replication)
    if not names:
        return []
    return [
        dg.define_asset_job(
            "replication_comparison",
            selection=dg.AssetSelection.assets(*(asset_key(name, "comparison") for name in names)),
            config=dg.RunConfig(
                ops={
                    asset_key(name, "comparison").to_python_identifier(): ComparisonConfig() for name in names
                }
            ),
            executor_def=dg.in_process_executor,
            run_tags=RUN_TAGS,
            description=f"Compare both sides of every pair now. Changes nothing. {ONE_OF_SEVERAL}",
        ),
        dg.define_asset_job(
            "replication_sweep",
            selection=dg.AssetSelection.assets(
                *(asset_key(name, capability) for name in names for capability in ("canary", "sweep"))
            ),
            executor_def=dg.in_process_executor,
            run_tags=RUN_TAGS,
            description="The lag of every pair, and a comparison of the folder whose turn it is. Changes nothing but one "
            "canary object where no agent runs.",
        ),
        repair_job(names[0], core or Core()),
    ]


def repair_job(first: str, core: Core) -> dg.JobDefinition:
    """The job `replication_repair`: compares again, then copies what that comparison found."""

    @dg.op(name=REPAIR_OP)
    def repair_pair(context: dg.OpExecutionContext, config: RepairConfig, core_context: CoreResource) -> None:
        with failures_for_people(), core_context.open(context.log) as ctx:
            seen = core.compare(ctx, config.pair, prefix=config.prefix)
            context.log.info(f"compared again: {seen.verdict.value}: {REDACT(seen.reason)}")
            if seen.verdict is Verdict.UNKNOWN and seen.claim("content") is None:
                raise dg.Failure(
                    f"nothing is repaired: {REDACT(seen.reason)}", metadata=exercise_metadata(seen)
                )
            done = core.repair(
                ctx,
                config.pair,
                dry_run=not config.confirm,
                confirmation=config.confirm or None,
                comparison=seen.id,
            )
        metadata = exercise_metadata(done)
        if done.verdict is not Verdict.PASSED:
            raise dg.Failure(
                f"{done.verdict.value}: {REDACT(done.reason)}", metadata=metadata, allow_retries=False
            )
        context.log.info(REDACT(done.reason))
        context.add_output_metadata(metadata)

    @dg.job(
        name="replication_repair",
        executor_def=dg.in_process_executor,
        tags=RUN_TAGS,
        config=dg.RunConfig(ops={REPAIR_OP: RepairConfig(pair=first)}),
        description="Compare a pair again, then copy exactly what is missing or different. Without `confirm` it only says "
        "what that is. Never deletes, never overwrites what is newer in the replica.",
    )
    def replication_repair() -> None:
        repair_pair()

    return replication_repair
