"""The asset of a Terraform root: `terraform/<root>/drift`, the proof that the infrastructure is what its configuration says.

All roots are one multi-asset, so that one step scans them side by side; any of them can be selected alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from ccobs_ops.assets.reporting import (
    Event,
    check_result,
    exercise_metadata,
    failures_for_people,
    owners_for_dagster,
    proven,
    tags_for_dagster,
)
from ccobs_ops.assets.running import Asked
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.terraform import scan
from ccobs_ops.core.units import format_seconds
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_terraform import TerraformRoot
from ccobs_ops.resources.core import CoreResource

GROUP = "terraform"
POOL = "terraform"
CAPABILITY = "drift"
COLUMNS = (
    "address",
    "class",
    "severity",
    "impact",
    "attribute",
    "before",
    "after",
    "who",
    "when",
    "first_seen",
)
_MOST_ROWS = 500


@dataclass(frozen=True)
class TerraformCore:
    """The function of the core that the asset calls; a test of the translation puts another here."""

    scan_all: Callable[..., list[Exercise]] = scan.scan_all


def asset_key(name: str) -> dg.AssetKey:
    """The key of the drift of the root called `name`."""
    return dg.AssetKey([GROUP, name, CAPABILITY])


def terraform_assets(
    inventory: Inventory, *, note: str = "", core: TerraformCore | None = None
) -> list[dg.AssetsDefinition]:
    """The drift of every root in `inventory`; `note` goes before each description."""
    if not inventory.terraform:
        return []
    chosen = core or TerraformCore()
    roots = {asset_key(name): name for name in inventory.terraform}

    @dg.multi_asset(
        name="terraform_drift",
        specs=[_spec(name, root, inventory, note) for name, root in inventory.terraform.items()],
        check_specs=[
            dg.AssetCheckSpec(claim, asset=asset_key(name), description=promise)
            for name, root in inventory.terraform.items()
            for claim, promise in scan_claims(root).items()
        ],
        can_subset=True,
        pool=POOL,
    )
    def terraform_drift(
        context: dg.AssetExecutionContext, config: Asked, core_context: CoreResource
    ) -> Iterator[Event]:
        names = [name for key, name in roots.items() if key in context.selected_asset_keys]
        if config.operator or config.reason:
            context.log.info(
                f"launched by {config.operator or 'nobody named'}: {config.reason or 'no reason given'}"
            )
        with failures_for_people(), core_context.open(context.log) as ctx:
            exercises = chosen.scan_all(ctx, names)
        for name, exercise in zip(names, exercises, strict=True):
            yield from _report(name, inventory.terraform[name], exercise)
        unread = [exercise for exercise in exercises if not proven(exercise, "complete")]
        if unread:
            told = "; ".join(f"{one.target}: {REDACT(one.reason)}" for one in unread)
            raise dg.Failure(f"not everything could be read: {told}", allow_retries=False)

    return [terraform_drift]


def scan_claims(root: TerraformRoot) -> dict[str, str]:
    """The claims that a scan of `root` makes, and what each says when it PASSED."""
    claims = {
        "complete": "Every object of the state was read, and the state stood still meanwhile.",
        "no_critical_drift": "Nothing that recovery rests on was weakened behind the configuration's back.",
        "no_drift": "The infrastructure is what the configuration says.",
    }
    if root.account is not None:
        claims["coverage"] = (
            f"At least {root.account.min_coverage:.0%} of what is in the account is in a state."
        )
    if root.parity_with is not None:
        claims["parity"] = (
            f"It could take over from {root.parity_with}: nothing is smaller, older or shorter."
        )
    return claims


def _spec(name: str, root: TerraformRoot, inventory: Inventory, note: str) -> dg.AssetSpec:
    limit = root.objectives.time_to_detect
    return dg.AssetSpec(
        asset_key(name),
        group_name=GROUP,
        kinds={"terraform"},
        owners=owners_for_dagster(root.owners or inventory.owners),
        tags=tags_for_dagster(
            inventory.tags | root.tags | {"environment": inventory.environment, "role": root.role}
        ),
        description=f"{note}Drift of the {root.role} root `{name}`: what differs between configuration, state and "
        f"reality, ranked by what it does to recovery. To be seen within {format_seconds(limit.total_seconds())}.",
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=limit),
        skippable=True,
    )


def _report(name: str, root: TerraformRoot, exercise: Exercise) -> Iterator[Event]:
    """Materialized if everything was read; else an observation carries what was, and the step fails at its end."""
    key = asset_key(name)
    metadata = exercise_metadata(exercise) | changes_metadata(exercise)
    checks = [check_result(exercise, claim)._replace(asset_key=key) for claim in scan_claims(root)]
    if proven(exercise, "complete"):
        yield dg.MaterializeResult[Any](asset_key=key, metadata=metadata, check_results=checks)
        return
    yield from checks
    yield dg.AssetObservation(key, description=REDACT(exercise.reason), metadata=metadata)


def changes_metadata(exercise: Exercise) -> dict[str, dg.MetadataValue[Any]]:
    """The changes of a scan as a table, one row an attribute; nothing where nothing differs."""
    rows = [record for change in exercise.details.get("changes", ()) for record in _records(change)]
    if not rows:
        return {}
    schema = dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in COLUMNS])
    records = [dg.TableRecord(row) for row in rows[:_MOST_ROWS]]
    return {"changes": dg.MetadataValue.table(records, schema=schema)}


def _records(change: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
    impacts: Sequence[Mapping[str, Any]] = change.get("impacts", ())
    common = {
        "address": str(change["address"]),
        "class": str(change["class"]),
        "severity": str(change["severity"]),
        "who": str(change.get("who") or ""),
        "when": str(change.get("when") or ""),
        "first_seen": str(change.get("first_seen") or ""),
    }
    attributes = change.get("attributes") or [{"path": "", "before": "", "after": ""}]
    for attribute in attributes:
        told = [
            i["statement"]
            for i in impacts
            if attribute["path"].startswith(i["attribute"]) or not attribute["path"]
        ]
        yield common | {
            "impact": REDACT("; ".join(told) or str(change["message"])),
            "attribute": str(attribute["path"]),
            "before": REDACT(str(attribute["before"])),
            "after": REDACT(str(attribute["after"])),
        }


def verdict_text(exercise: Exercise) -> str:
    """The verdict and the reason, in a line."""
    passed = exercise.verdict is Verdict.PASSED
    return REDACT(exercise.reason if passed else f"{exercise.verdict.value}: {exercise.reason}")
