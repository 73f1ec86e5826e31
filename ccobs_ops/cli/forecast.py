"""`ccobs-ops forecast`: how long a recovery will take, and when growth will break what is promised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ccobs_ops.cli.options import Json, answering, exercising

if TYPE_CHECKING:
    from ccobs_ops.inventory import Inventory

app = typer.Typer(rich_markup_mode=None)


@app.command()
def forecast(
    ctx: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(metavar="[TARGET]", help="noun/NAME. Default: every target that is restored."),
    ] = None,
    json: Json = False,
) -> int:
    """Forecast the recovery time from what the restores in the ledger measured, and warn before growth breaks the objective.

    Each target is an exercise in the ledger, so that a warning is an incident. Too little history is UNKNOWN, and opens none.
    """
    from ccobs_ops.cli import output
    from ccobs_ops.core.errors import UsageError
    from ccobs_ops.core.forecast import foresee
    from ccobs_ops.core.status import objectives_of, worst

    with answering(json), exercising(ctx) as context:
        targets = [target] if target else _all(context.inventory)
        if not targets:
            raise UsageError(
                "the inventory has no target that is restored", hint="postgres and etcd targets are"
            )
        found = [foresee(context, each) for each in targets]
        inventory = context.inventory
    if json:
        output.print_json({"exercises": [each.to_json() for each in found]})
    else:
        for position, each in enumerate(found):
            if position:
                print()
            output.print_exercise(each, objectives_of(inventory, each.target), json=False)
    return worst(each.verdict for each in found).exit_status


def _all(inventory: Inventory) -> list[str]:
    from ccobs_ops.core.forecast import FORECAST

    return [f"{noun}/{name}" for noun in FORECAST for name in getattr(inventory, noun)]
