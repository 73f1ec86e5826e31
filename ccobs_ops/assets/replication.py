"""The assets of a replicated pair: comparison and canary, a comparison in parts, and a restore from the replica.

What each materialization stands for is decided in docs/adr/0002-what-a-materialization-proves.md.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from ccobs_ops.assets.declaring import RESTORE_POOL, exercise_asset, fresh_within
from ccobs_ops.assets.postgres import validation_claims
from ccobs_ops.assets.reporting import Event, proven, report
from ccobs_ops.assets.running import RETRY_AFTER_SECONDS, Asked, run_exercise
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.postgres import validate
from ccobs_ops.core.postgres.strategy import Strategy
from ccobs_ops.core.replication import compare, lag, sweep
from ccobs_ops.core.replication.difference import Kind
from ccobs_ops.core.units import format_duration, format_seconds
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_native import Native
from ccobs_ops.inventory_replication import ReplicationPair
from ccobs_ops.resources.core import CoreResource

GROUP = "replication"
COMPARISON_POOL = "comparison"
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Core:
    """The functions of the core that the assets call; a test of the translation puts others here."""

    compare: Callable[..., Exercise] = compare.compare
    measure: Callable[..., Exercise] = lag.measure
    part: Callable[..., str] = sweep.part
    validate: Callable[..., Exercise] = validate.validate


class ComparisonConfig(Asked):
    """What to compare. The default is what the schedule does."""

    prefix: str = Field(default="", description="Only keys below this; then only the part is proven.")
    hash_sample: float | None = Field(
        default=None,
        description="Share of the objects, 0 to 1, that are read and hashed on both sides; left out: the inventory's.",
    )
    resume: bool = Field(default=False, description="Go on where an interrupted comparison stopped.")


def asset_key(name: str, capability: str) -> dg.AssetKey:
    """The key of a capability of the pair called `name`."""
    return dg.AssetKey([GROUP, name, capability])


def restored_from(inventory: Inventory, name: str) -> list[str]:
    """The PostgreSQL clusters whose archive lies in the source of the pair called `name`."""
    pair = inventory.replication[name]
    return [cluster for cluster, found in inventory.postgres.items() if found.store == pair.source]


def replication_assets(
    inventory: Inventory,
    *,
    note: str = "",
    core: Core | None = None,
    retry_after: float = RETRY_AFTER_SECONDS,
) -> list[dg.AssetsDefinition]:
    """Comparison, canary, sweep and restores from the replica of every pair in `inventory`."""
    core = core or Core()
    found: list[dg.AssetsDefinition] = []
    for name, pair in inventory.replication.items():
        found += [
            _comparison(name, pair, inventory, note, core, retry_after),
            _canary(name, pair, inventory, note, core, retry_after),
            _sweep(name, pair, inventory, note, core, retry_after),
        ]
        found += [
            _restore(name, pair, cluster, inventory, note, core, retry_after)
            for cluster in restored_from(inventory, name)
        ]
    return found


def comparison_claims(pair: ReplicationPair) -> dict[str, str]:
    """The claims of a comparison, and what each says when it PASSED."""
    claims = {
        "complete": f"Every object of the source older than {_told(pair.rpo)} is in the replica, deletions too.",
        "content": "What both sides have is the same, by size and ETag or checksum, and by hash in a sample.",
        "no_extra": "The replica has nothing that the source does not have.",
    }
    if pair.native != Native(aws=pair.native.aws):
        claims["contradiction"] = "What the replicator says of itself agrees with what was found."
    return claims


CANARY_CLAIMS = {
    "watched": "Canaries were written on the clock and looked for until now.",
    "arriving": "No canary has been missing in the replica for longer than the RPO.",
    "lag": "95 of 100 canaries arrived within the RPO.",
}


def _comparison(
    name: str, pair: ReplicationPair, inventory: Inventory, note: str, core: Core, retry_after: float
) -> dg.AssetsDefinition:
    claims = comparison_claims(pair)

    @exercise_asset(
        asset_key(name, "comparison"),
        pair,
        inventory,
        claims,
        kinds={"s3"},
        description=f"{note}Both sides of `{name}` (store `{pair.source}`, replica `{pair.replica}`) listed and compared, "
        "independently of the replicator. PASSED proves that the replica is a copy, but for what is younger than the RPO.",
        freshness_policy=fresh_within(pair.comparison_age),
        pool=COMPARISON_POOL,
    )
    def replication_comparison(
        context: dg.AssetExecutionContext, config: ComparisonConfig, core_context: CoreResource
    ) -> Iterator[Event]:
        def run() -> Exercise:
            with core_context.open(context.log) as ctx:
                return core.compare(
                    ctx, name, prefix=config.prefix, hash_sample=config.hash_sample, resume=config.resume
                )

        exercise = run_exercise(context, config, run, retry_after)
        whole = proven(exercise, "complete") and not config.prefix
        yield from report(
            context, exercise, claims=list(claims), stands=whole, more=difference_table(exercise)
        )

    return replication_comparison


def _sweep(
    name: str, pair: ReplicationPair, inventory: Inventory, note: str, core: Core, retry_after: float
) -> dg.AssetsDefinition:
    claims = comparison_claims(pair)

    @exercise_asset(
        asset_key(name, "sweep"),
        pair,
        inventory,
        claims,
        kinds={"s3"},
        description=f"{note}One folder of `{name}` compared, the next one each time: what the day looks at between two "
        "nights. It says nothing of the other folders.",
        pool=COMPARISON_POOL,
    )
    def replication_sweep(
        context: dg.AssetExecutionContext, config: Asked, core_context: CoreResource
    ) -> Iterator[Event]:
        def run() -> Exercise:
            with core_context.open(context.log) as ctx:
                return core.compare(ctx, name, prefix=core.part(ctx, name))

        exercise = run_exercise(context, config, run, retry_after)
        stands = proven(exercise, "complete")
        yield from report(
            context, exercise, claims=list(claims), stands=stands, more=difference_table(exercise)
        )

    return replication_sweep


def _canary(
    name: str, pair: ReplicationPair, inventory: Inventory, note: str, core: Core, retry_after: float
) -> dg.AssetsDefinition:
    @exercise_asset(
        asset_key(name, "canary"),
        pair,
        inventory,
        CANARY_CLAIMS,
        kinds={"s3"},
        description=f"{note}How far the replica of `{name}` is behind, measured by objects of our own that are watched for "
        f"there; promised: {_told(pair.rpo)}. The agent sends them all day; without an agent one is sent here.",
    )
    def replication_canary(
        context: dg.AssetExecutionContext, config: Asked, core_context: CoreResource
    ) -> Iterator[Event]:
        def run() -> Exercise:
            with core_context.open(context.log) as ctx:
                return core.measure(ctx, name)

        exercise = run_exercise(context, config, run, retry_after)
        # a lag is measured whatever it is: the checks are red where it is too long
        measured = "lag_max_seconds" in exercise.measurements
        yield from report(
            context, exercise, claims=list(CANARY_CLAIMS), stands=measured, more=lag_plot(exercise)
        )

    return replication_canary


def _restore(
    name: str,
    pair: ReplicationPair,
    cluster: str,
    inventory: Inventory,
    note: str,
    core: Core,
    retry_after: float,
) -> dg.AssetsDefinition:
    target = inventory.postgres[cluster]
    claims = validation_claims(target)

    @exercise_asset(
        asset_key(name, f"restore_{cluster}"),
        pair,
        inventory,
        claims,
        kinds={"s3", "postgres"},
        deps=[dg.AssetKey(["postgres", cluster, "window"]), asset_key(name, "comparison")],
        description=f"{note}`postgres/{cluster}` restored from the replica (store `{pair.replica}`) and proven: the copy is "
        "complete *and* restorable, as it would be with the source's region gone.",
        pool=RESTORE_POOL,
    )
    def replication_restore(
        context: dg.AssetExecutionContext, config: Asked, core_context: CoreResource
    ) -> Iterator[Event]:
        def run() -> Exercise:
            with core_context.open(context.log) as ctx:
                return core.validate(ctx, cluster, strategy=Strategy.NEWEST, store=pair.replica)

        exercise = run_exercise(context, config, run, retry_after)
        stands = exercise.verdict is Verdict.PASSED
        yield from report(context, exercise, claims=list(claims), stands=stands)

    return replication_restore


def difference_table(exercise: Exercise) -> Mapping[str, dg.MetadataValue[Any]]:
    """Counts and bytes of each kind as a table, and the first differences by name."""
    counts = [
        dg.TableRecord(
            {
                "kind": kind.value,
                "objects": int(exercise.measurements[kind.value]),
                "bytes": int(exercise.measurements.get(f"{kind.value}_bytes", 0)),
            }
        )
        for kind in Kind
        if kind.value in exercise.measurements
    ]
    if not counts:
        return {}
    found = {"differences_by_kind": dg.MetadataValue.table(counts)}
    named = [
        dg.TableRecord({"kind": each.code, "key": each.subject, "why": each.message})
        for each in exercise.findings
        if each.code in set(Kind)
    ]
    return found | ({"differences": dg.MetadataValue.table(named)} if named else {})


def lag_plot(exercise: Exercise) -> Mapping[str, dg.MetadataValue[Any]]:
    """The series of canaries as a line of bars and a table; the numbers besides are plotted over time by the UI itself."""
    series = exercise.details.get("series") or []
    if not series:
        return {}
    known = [row["lag_seconds"] for row in series if row["lag_seconds"] is not None]
    most = max([*known, *(row["at_least_seconds"] or 0.0 for row in series), 1e-3])
    bars = "".join(
        "×"
        if row["lag_seconds"] is None
        else _BARS[min(len(_BARS) - 1, int(row["lag_seconds"] / most * len(_BARS)))]
        for row in series
    )
    text = (
        f"`{bars}`\n\n{len(series)} canaries, oldest first; the highest bar is {format_seconds(most)}, "
        "× did not arrive, or nobody looked near enough to that moment"
    )
    rows = [
        dg.TableRecord(
            {
                "seq": row["seq"],
                "written_at": row["written_at"],
                "lag_seconds": row["lag_seconds"],
                "at_least_seconds": row["at_least_seconds"],
            }
        )
        for row in series[-50:]
    ]
    return {"lag": dg.MetadataValue.md(text), "canary_series": dg.MetadataValue.table(rows, schema=_SERIES)}


_SERIES = dg.TableSchema(
    columns=[
        dg.TableColumn("seq", "int"),
        dg.TableColumn("written_at", "string"),
        dg.TableColumn("lag_seconds", "float"),
        dg.TableColumn("at_least_seconds", "float"),
    ]
)


def _told(span: timedelta) -> str:
    return format_duration(span)
