"""`ccobs-ops status`: every target at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ccobs_ops.cli.options import Json, answering, exercising

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context

app = typer.Typer(rich_markup_mode=None)


@app.command()
def status(ctx: typer.Context, json: Json = False) -> int:
    """Show every target: last verdicts, age of proof, RTO and RPO against the objectives, the agent's signs of life,
    open incidents, and the recovery time to expect.

    Exit status by the worst: 0 all PASSED, 1 something FAILED, 3 something is UNKNOWN (never proven, or too long ago).
    """
    from ccobs_ops.cli import output, status_output
    from ccobs_ops.core.outlook import outlook
    from ccobs_ops.core.status import look, worst

    with answering(json), exercising(ctx) as context:
        _catch_up(context)
        now = context.clock()
        targets = look(context.inventory, context.ledger, now=now)
        ahead = outlook(context.ledger, context.inventory, [each.target for each in targets], now)
    verdict = worst(target.verdict for target in targets)
    if json:
        output.print_json(status_output.to_json(targets, ahead, verdict, now))
    else:
        status_output.print_targets(targets, ahead, now)
    return verdict.exit_status


def _catch_up(context: Context) -> None:
    """Incidents as they are now; what cannot be read on in a moment is left to `incident list`."""
    from ccobs_ops.core.errors import OpsError
    from ccobs_ops.core.loop import BATCH, catch_up

    try:
        catch_up(context, most=5 * BATCH)
    except OpsError as error:
        context.progress.note(f"incidents are as they were last read: {error.message}")
