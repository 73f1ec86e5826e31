"""What every asset that stands for an exercise declares: whose it is, its checks, how long its proof counts."""

from collections.abc import Callable, Iterator, Mapping, Set
from datetime import timedelta
from typing import Any, Protocol, cast

import dagster as dg

from ccobs_ops.assets.reporting import Event, owners_for_dagster, tags_for_dagster
from ccobs_ops.inventory import Inventory

RESTORE_POOL = "restore"


class Owned(Protocol):
    """A target of the inventory."""

    @property
    def owners(self) -> tuple[str, ...]:
        """Who answers for it; the inventory's owners where nobody is named."""
        ...

    @property
    def tags(self) -> dict[str, str]:
        """Tags besides the inventory's."""
        ...


def exercise_asset(
    key: dg.AssetKey,
    target: Owned,
    inventory: Inventory,
    claims: Mapping[str, str],
    *,
    kinds: Set[str],
    **more: Any,
) -> Callable[[Callable[..., Iterator[Event]]], dg.AssetsDefinition]:
    """`dg.asset` for an exercise on `target`: a check for each of `claims`; its group is what `key` begins with."""
    decorate = dg.asset(
        key=key,
        group_name=key.path[0],
        kinds=kinds,
        owners=owners_for_dagster(target.owners or inventory.owners),
        tags=tags_for_dagster(inventory.tags | target.tags | {"environment": inventory.environment}),
        check_specs=[
            dg.AssetCheckSpec(claim, asset=key, description=promise) for claim, promise in claims.items()
        ],
        output_required=False,
        **more,
    )
    return cast("Callable[[Callable[..., Iterator[Event]]], dg.AssetsDefinition]", decorate)


def fresh_within(age: timedelta) -> dg.FreshnessPolicy:
    """The asset is stale when it was not materialized for `age`; a minute is the least that Dagster takes."""
    return dg.FreshnessPolicy.time_window(fail_window=max(age, timedelta(minutes=1)))
