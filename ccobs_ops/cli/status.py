"""`ccobs-ops status`: every target at a glance."""

from __future__ import annotations

import typer

from ccobs_ops.cli.options import Json, answering, opened

app = typer.Typer(rich_markup_mode=None)


@app.command()
def status(ctx: typer.Context, json: Json = False) -> int:
    """Show every target: last verdicts, age of proof, RTO and RPO against the objectives, the agent's signs of life.

    Exit status by the worst: 0 all PASSED, 1 something FAILED, 3 something is UNKNOWN (never proven, or too long ago).
    """
    from ccobs_ops.cli import output, status_output
    from ccobs_ops.core.exercise import utc_now
    from ccobs_ops.core.status import look, worst

    now = utc_now()
    with answering(json), opened(ctx) as (inventory, ledger):
        targets = look(inventory, ledger, now=now)
    verdict = worst(target.verdict for target in targets)
    if json:
        output.print_json(status_output.to_json(targets, verdict, now))
    else:
        status_output.print_targets(targets)
    return verdict.exit_status
