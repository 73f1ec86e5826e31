"""`ccobs-ops replication`: is the replica really a copy, how far is it behind, and put right what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ccobs_ops.cli.options import Json, answering, choose, exercising, parsed
from ccobs_ops.cli.target import exercise_target, until_stopped

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.exercise import Exercise

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Is the other region really a copy, how far is it behind, and repair what is not.",
)

Name = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="The pair's name in the inventory; not needed if there is only one."),
]


@app.command("compare")
def compare(
    ctx: typer.Context,
    name: Name = None,
    prefix: Annotated[
        str, typer.Option(metavar="P", help="Only keys below the pair's prefix plus this.")
    ] = "",
    hash_sample: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="R",
            help="Share of the objects to read and hash on both sides. Default: the inventory's.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted comparison stopped.")
    ] = False,
    json: Json = False,
) -> int:
    """List both sides and explain every difference.

    Independent of whoever replicates; suspects are looked at again before they are reported. Changes nothing.
    """

    def run(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.replication.compare import compare as look

        return look(context, target, prefix=prefix, hash_sample=hash_sample, resume=resume)

    return exercise_target(ctx, "replication", name, run, json=json)


@app.command("sql")
def sql(
    ctx: typer.Context,
    source_table: Annotated[str, typer.Option(metavar="T", help="Table of the source's S3 Inventory.")],
    replica_table: Annotated[str, typer.Option(metavar="T", help="Table of the replica's S3 Inventory.")],
    name: Name = None,
    dialect: Annotated[
        Literal["athena", "spark", "duckdb"], typer.Option(help="Whose SQL to write.")
    ] = "athena",
    above: Annotated[str | None, typer.Option(metavar="KEY", help="Only keys above this one.")] = None,
    up_to: Annotated[str | None, typer.Option(metavar="KEY", help="Only keys up to this one.")] = None,
    made_at: Annotated[
        str | None, typer.Option(help="When the older export was made. Default: now, with its time zone.")
    ] = None,
) -> int:
    """Print the comparison as SQL for Athena or Spark.

    For more objects than one machine should join; the same words for the same differences.
    """
    from ccobs_ops.cli.options import options
    from ccobs_ops.core.exercise import utc_now
    from ccobs_ops.core.replication.exports_sql import Moments, statement
    from ccobs_ops.core.units import parse_moment

    inventory = options(ctx).load()
    pair = inventory.replication[choose("replication", list(inventory.replication), name)]
    at = parsed("--made-at", made_at, parse_moment) or utc_now()
    print(
        statement(
            pair,
            Moments(at, at),
            dialect=dialect,
            source_table=source_table,
            replica_table=replica_table,
            low=above,
            high=up_to,
        )
        + ";"
    )
    return 0


@app.command("canary")
def canary(
    ctx: typer.Context,
    name: Name = None,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN", help="Look at canaries of the last 1h, 24h, …. Default: the inventory's."
        ),
    ] = None,
    wait: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="Without an agent: how long to watch for the canary sent here."),
    ] = None,
    json: Json = False,
) -> int:
    """How far the replica is behind, from canaries.

    The lag of those of the last while, against the RPO. Where no agent runs on this host, one canary is sent and watched for.
    """

    def look(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.replication.lag import measure

        return measure(context, target, window=span, wait=patience)

    with answering(json):
        from ccobs_ops.core.units import parse_duration

        span = parsed("--window", window, parse_duration)
        patience = parsed("--wait", wait, parse_duration)
    return exercise_target(ctx, "replication", name, look, json=json)


@app.command("repair")
def repair(
    ctx: typer.Context,
    name: Name = None,
    dry_run: Annotated[
        bool | None,
        typer.Option(
            "--dry-run/--no-dry-run", help="Only say what would be copied. Default without --confirm."
        ),
    ] = None,
    confirm: Annotated[
        str | None, typer.Option(metavar="NAME", help="The pair again, to copy for real.")
    ] = None,
    comparison: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The comparison to repair. Default: the newest one on this host."),
    ] = None,
    json: Json = False,
) -> int:
    """Copy what one comparison found missing or different.

    By default it only says what that is. With --confirm NAME, and `allow: [repair]` in the inventory, exactly those
    objects are copied from the source. Nothing is deleted, and no object that is newer in the replica is overwritten.
    """

    def put_right(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.replication.repair import repair as run

        return run(
            context,
            target,
            dry_run=confirm is None if dry_run is None else dry_run,
            confirmation=confirm,
            comparison=comparison,
        )

    return exercise_target(ctx, "replication", name, put_right, json=json)


@app.command("agent")
def agent(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One pair only; all of the inventory's without it.")
    ] = None,
) -> int:
    """Send canaries and watch for them, until stopped.

    The one long-running process of replication; SIGINT or SIGTERM ends it.
    """
    from ccobs_ops.core.replication.agent import run_agents

    with exercising(ctx) as context:
        known = list(context.inventory.replication)
        names = known if name is None and known else [choose("replication", known, name)]
        with until_stopped() as stop:
            run_agents(context, names, stop=stop)
    return 0
