"""The drills, one asset each: `drill/<name>` is there when the drill ran and every claim held."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from ccobs_ops.assets import etcd, postgres, replication
from ccobs_ops.assets.declaring import RESTORE_POOL
from ccobs_ops.assets.reporting import (
    Event,
    check_result,
    exercise_metadata,
    failures_for_people,
    owners_for_dagster,
    tags_for_dagster,
)
from ccobs_ops.assets.running import Asked
from ccobs_ops.core.drill import readiness, timeline
from ccobs_ops.core.drill import run as running
from ccobs_ops.core.drill.plan import DrillPlan, choose, plan
from ccobs_ops.core.drill.situation import Asked as Launched
from ccobs_ops.core.drill.step import Kind, Step
from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.units import format_duration, parse_moment
from ccobs_ops.inventory import Inventory
from ccobs_ops.resources.core import CoreResource

GROUP = "drill"
OP = "drill"
_KINDS = {
    Kind.PRECHECK: "It was settled where everything is to be restored to.",
    Kind.RESTORE: "Restored in a sandbox; it answers.",
    Kind.VERIFY: "What came back was looked at, and is what was committed.",
    Kind.PROBE: "The restored service answers the inventory's questions as it should.",
    Kind.DRIFT: "Nothing that recovery rests on was weakened behind the configuration's back.",
    Kind.CLEANUP: "Nothing of the sandbox is left, and the copy at rest was intact.",
}


@dataclass(frozen=True)
class Core:
    """The function of the core that the asset calls; a test of the translation puts another here."""

    drill: Callable[..., Exercise] = running.drill


class Rehearsal(Asked):
    """How to run a drill, on whose word. The default is a dry run: it restores nothing and says what it would do."""

    scenario: Literal[
        "inventory",
        "accidental-delete",
        "database-loss",
        "etcd-quorum-loss",
        "region-loss",
        "ransomware",
        "control-plane-and-data",
    ] = Field(
        default="inventory",
        description="Rehearse another disaster on the drill's targets. inventory: the one that it has there.",
    )
    at: str | None = Field(
        default=None,
        description="When the disaster struck, with its time zone, for example 2026-11-23T02:14:07Z. Left out: now.",
    )
    transaction: int | None = Field(
        default=None,
        description="accidental-delete: stop just before this transaction, which did it. Left out: the newest one.",
        ge=3,
    )
    dry_run: bool = Field(
        default=True, description="Only say what would be done. Turn it off to run the drill."
    )


class DrillConfig(Rehearsal):
    """Which drill to run, and how."""

    drill: str = Field(description="The drill's name in the inventory: ccobs-ops drill list.")


def asset_key(name: str) -> dg.AssetKey:
    """The key of the drill called `name`: its last part is what a graph shows, and tells drills apart."""
    return dg.AssetKey([GROUP, name])


def drill_claims(planned: DrillPlan) -> dict[str, str]:
    """The claims that a run of `planned` makes, and what each says when it PASSED."""
    promised, config = planned.config.objectives, planned.config
    claims = {
        "ready": f"Every target was proven within {format_duration(config.proof_age)}, and no root has open drift "
        "that recovery rests on.",
        "rto": f"The service was ready within {format_duration(promised.rto)} of the declaration, measured on the "
        "critical path.",
        "rpo": f"No layer lost more than {format_duration(promised.rpo)}.",
    }
    if config.approval:
        claims["approved"] = "Somebody else than who ran it had approved it."
    if planned.scenario.proves is not None:
        claims[planned.scenario.proves[0]] = planned.scenario.proves[1]
    return claims | {step.name: _KINDS[step.kind] for step in planned.steps}


def drill_assets(
    inventory: Inventory, *, note: str = "", core: Core | None = None
) -> list[dg.AssetsDefinition]:
    """Every drill of `inventory`; `note` goes before each description."""
    return [_asset(plan(inventory, name), inventory, note, core or Core()) for name in inventory.drills]


def _asset(planned: DrillPlan, inventory: Inventory, note: str, core: Core) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=f"{OP}_{planned.name}",
        specs=[_spec(planned, inventory, note)],
        check_specs=[
            dg.AssetCheckSpec(claim, asset=asset_key(planned.name), description=promise)
            for claim, promise in drill_claims(planned).items()
        ],
        can_subset=True,  # a dry run makes no check
        pool=RESTORE_POOL,
    )
    def drill(
        context: dg.AssetExecutionContext, config: Rehearsal, core_context: CoreResource
    ) -> Iterator[Event]:
        yield from _run(context, planned.name, config, core_context, core)

    return drill


def drill_op(core: Core | None = None) -> dg.OpDefinition:
    """The step of `dr_drill`, which is told the drill's name and reports to its asset.

    It is no step of these assets: Dagster would expect the checks of all of them from every run, and show those of the others
    as not executed.
    """
    chosen = core or Core()

    @dg.op(name=OP, pool=RESTORE_POOL)
    def run_drill(
        context: dg.OpExecutionContext, config: DrillConfig, core_context: CoreResource
    ) -> Iterator[Any]:
        for event in _run(context, config.drill, config, core_context, chosen):
            yield from _as_of_an_op(event)
        yield dg.Output(None)

    return run_drill


def _as_of_an_op(event: Event) -> Iterator[Any]:
    """What an asset's step returns, in the words of a step that has no asset."""
    if isinstance(event, dg.MaterializeResult):
        assert event.asset_key is not None
        yield dg.AssetMaterialization(event.asset_key, metadata=event.metadata)
        for check in event.check_results or ():
            yield from _as_of_an_op(check)
    elif isinstance(event, dg.AssetCheckResult):
        assert event.asset_key is not None
        assert event.check_name is not None
        yield dg.AssetCheckEvaluation(
            asset_key=event.asset_key,
            check_name=event.check_name,
            passed=event.passed,
            metadata=event.metadata,
            severity=event.severity,
            description=event.description,
        )
    else:
        yield event


def _run(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    drill: str,
    config: Rehearsal,
    core_context: CoreResource,
    core: Core,
) -> Iterator[Event]:
    with failures_for_people(), core_context.open(context.log) as ctx:
        name = choose(ctx.inventory, drill)
        scenario = None if config.scenario == "inventory" else config.scenario
        planned = plan(ctx.inventory, name, scenario=scenario)
        if config.dry_run:
            ready, _ = readiness.readiness(ctx.ledger, planned, now=ctx.clock())
            context.log.info(plan_text(planned) + f"\nready: {ready.verdict.value}: {ready.reason}")
            metadata = {"plan": dg.MetadataValue.md(plan_markdown(planned))}
            yield dg.AssetObservation(
                asset_key(name), description="dry run: nothing was restored", metadata=metadata
            )
            return
        asked = Launched(config.operator or "Dagster", config.reason, _moment(config.at), config.transaction)
        exercise = core.drill(ctx, name, asked, scenario=scenario, dry_run=False)
        shown = plan(ctx.inventory, name)
    yield from _report(name, shown, exercise)


def _report(name: str, planned: DrillPlan, exercise: Exercise) -> Iterator[Event]:
    """Materialized if the drill PASSED; else its checks say what did not, an observation carries it, and the step fails."""
    key = asset_key(name)
    metadata = exercise_metadata(exercise) | report_metadata(exercise)
    checks = [check_result(exercise, claim)._replace(asset_key=key) for claim in drill_claims(planned)]
    if exercise.verdict is Verdict.PASSED and all(check.passed for check in checks):
        yield dg.MaterializeResult[Any](asset_key=key, metadata=metadata, check_results=checks)
        return
    yield from checks
    yield dg.AssetObservation(key, description=REDACT(exercise.reason), metadata=metadata)
    raise dg.Failure(
        f"{exercise.verdict.value}: {REDACT(exercise.reason)}", metadata=metadata, allow_retries=False
    )


def report_metadata(exercise: Exercise) -> dict[str, dg.MetadataValue[Any]]:
    """The timeline of a drill as markdown, and its critical path."""
    if not exercise.details.get("steps"):
        return {}
    return {
        "report": dg.MetadataValue.md(REDACT(timeline.markdown(exercise))),
        "critical_path": dg.MetadataValue.text(" → ".join(exercise.details["critical_path"]) or "none"),
    }


def plan_text(planned: DrillPlan) -> str:
    """What a run would do, a step a line."""
    return "\n".join(
        [
            f"{planned.target}: {planned.scenario.name}. {planned.scenario.told}",
            *(f"  {step.name} after {_after(step)}" for step in planned.steps),
        ]
    )


def plan_markdown(planned: DrillPlan) -> str:
    """The same as a table."""
    rows = [f"| {step.name} | `{step.target}` | {_after(step)} |" for step in planned.steps]
    head = [f"**{planned.scenario.name}**: {planned.scenario.told}", "", "| step | target | after |"]
    return "\n".join([*head, "| --- | --- | --- |", *rows])


def _after(step: Step) -> str:
    return ", ".join(step.needs) or "declared"


def _moment(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return parse_moment(text)
    except ValueError as error:
        raise UsageError(f"at: {error}", hint="correct `at` in the launchpad") from error


def _spec(planned: DrillPlan, inventory: Inventory, note: str) -> dg.AssetSpec:
    config = planned.config
    names = ", ".join(f"`{layer.target}` from store `{layer.store}`" for layer in planned.layers)
    kinds = {"postgres", "etcd"} & {layer.noun for layer in planned.layers}
    return dg.AssetSpec(
        asset_key(planned.name),
        deps=list(dict.fromkeys(_proof(layer.noun, layer.name) for layer in planned.layers)),
        group_name=GROUP,
        kinds={"s3", *kinds},
        owners=owners_for_dagster(config.owners or inventory.owners),
        tags=tags_for_dagster(
            inventory.tags
            | config.tags
            | {"environment": inventory.environment, "scenario": planned.scenario.name}
        ),
        description=f"{note}{planned.scenario.told} Restores {names}, in sandboxes of this host; ready within "
        f"{format_duration(config.objectives.rto)} (RTO), at most {format_duration(config.objectives.rpo)} lost (RPO).",
        skippable=True,
    )


def _proof(noun: str, name: str) -> dg.AssetKey:
    """The asset whose proofs a drill of that target builds on."""
    if noun == "postgres":
        return postgres.asset_key(name, "validation")
    if noun == "etcd":
        return etcd.asset_key(name, "restore_drill")
    return replication.asset_key(name, "comparison")
