"""The asset `recovery/report`: the ledger verified, the report written and signed, after the night."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg
from pydantic import Field

from ccobs_ops.assets import etcd, postgres, replication, terraform
from ccobs_ops.assets.reporting import Event, owners_for_dagster, proven, report, tags_for_dagster
from ccobs_ops.assets.running import RETRY_AFTER_SECONDS, Asked, run_exercise
from ccobs_ops.core.exercise import Exercise
from ccobs_ops.core.report import make
from ccobs_ops.core.report.make import Made
from ccobs_ops.core.units import parse_duration
from ccobs_ops.inventory import Inventory
from ccobs_ops.resources.core import CoreResource

KEY = dg.AssetKey(["recovery", "report"])
GROUP = "recovery"


@dataclass(frozen=True)
class Core:
    """The function of the core that the asset calls; a test of the translation puts another here."""

    make: Callable[..., Made] = make.make


class ReportConfig(Asked):
    """Which time to report on. The default is what the schedule does."""

    since: str = Field(
        default="", description="How far back, such as 90d or 2w. Empty: the inventory's report.since."
    )


def claims(inventory: Inventory) -> dict[str, str]:
    """The checks of the asset, and what each says when it PASSED."""
    found = {
        "written": "The report was written.",
        "chain": "Every row of the ledger is as it was written, and the chain of their hashes holds.",
    }
    if inventory.evidence.key is not None:
        found["signed"] = "The report is signed, and with it the position of the ledger's chain."
    if inventory.evidence.store is not None:
        found["copied"] = "A copy lies in a store that lets nobody remove it."
    return found


def report_assets(
    inventory: Inventory, *, note: str = "", core: Core | None = None
) -> list[dg.AssetsDefinition]:
    """`recovery/report`. `note` goes before its description."""
    chosen, told = core or Core(), claims(inventory)

    @dg.asset(
        key=KEY,
        group_name=GROUP,
        kinds={"html"},
        deps=_proofs(inventory),
        owners=owners_for_dagster(inventory.owners),
        tags=tags_for_dagster(inventory.tags | {"environment": inventory.environment}),
        check_specs=[dg.AssetCheckSpec(name, asset=KEY, description=each) for name, each in told.items()],
        output_required=False,
        description=f"{note}One page for auditors and for the morning: what was proven, how fast, what is open. The checks "
        "say whether the report and its evidence hold; how ready the estate is stands in `readiness`.",
    )
    def recovery_report(
        context: dg.AssetExecutionContext, config: ReportConfig, core_context: CoreResource
    ) -> Iterator[Event]:
        made: list[Made] = []

        def run() -> Exercise:
            with core_context.open(context.log) as ctx:
                span = parse_duration(config.since) if config.since else ctx.inventory.report.since
                place = ctx.inventory.state / "reports"
                stem = f"recovery-report-{ctx.clock():%Y%m%dT%H%M%SZ}"
                wanted = {kind: place / f"{stem}.{kind}" for kind in ctx.inventory.report.formats}
                made.append(chosen.make(ctx, wanted, since=span, everything=True))
                return made[-1].exercise

        exercise = run_exercise(context, config, run, RETRY_AFTER_SECONDS)
        yield from report(
            context, exercise, claims=list(told), stands=proven(exercise, "written"), more=_files(made[-1])
        )

    return [recovery_report]


def _files(made: Made) -> dict[str, dg.MetadataValue]:
    found: dict[str, dg.MetadataValue] = {
        f"report_{kind}": dg.MetadataValue.path(str(path)) for kind, path in made.written.items()
    }
    if made.report is not None:
        found["readiness"] = dg.MetadataValue.text(made.report.verdict.value)
    if made.exercise.claim("signed") is not None:
        found |= {
            f"evidence_{kind}": dg.MetadataValue.path(f"{path}.dsse.json")
            for kind, path in made.written.items()
        }
    return found


def _proofs(inventory: Inventory) -> list[dg.AssetKey]:
    """What the report tells of."""
    keys = [postgres.asset_key(name, "validation") for name in inventory.postgres]
    keys += [etcd.asset_key(name, "restore_drill") for name in inventory.etcd]
    keys += [replication.asset_key(name, "comparison") for name in inventory.replication]
    return keys + [terraform.asset_key(name) for name in inventory.terraform]
