"""`ccobs-ops postgres`: back up, look at the window, restore, prove, prune, and the agent."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ccobs_ops.cli.options import Json, answering, choose, exercising, one_of, parsed
from ccobs_ops.cli.target import FromStore, Name, exercise_target, until_stopped
from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.postgres.strategy import Strategy

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.exercise import Exercise
    from ccobs_ops.core.postgres.target import RecoveryTarget

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Back up PostgreSQL, look at its recovery window, restore it, prove it.",
)

At = Annotated[
    str | None,
    typer.Option(help="A moment with its time zone: 2026-11-23T02:14:07Z, 2026-11-23 03:14:07+01:00."),
]


@app.command("backup")
def backup(
    ctx: typer.Context,
    name: Name = None,
    incremental: Annotated[
        bool | None,
        typer.Option(
            "--incremental/--full",
            help="What to take. Default: as the inventory's backup.full_every decides.",
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Take a base backup, streamed to the store.

    Full or incremental; it is listed only when it is complete and safe in the store. Changes no data.
    """

    def take(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.postgres.backup import back_up

        return back_up(context, target, incremental=incremental)

    return exercise_target(ctx, "postgres", name, take, json=json)


@app.command("window")
def window(
    ctx: typer.Context,
    name: Name = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every byte of every backup and WAL segment, and check it.")
    ] = False,
    store: FromStore = None,
    json: Json = False,
) -> int:
    """Show the backups and the recovery window.

    Proves that no WAL is missing or damaged in it, and how old the newest recoverable commit is.
    """

    def look(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.postgres.window import examine

        return examine(context, target, deep=deep, store=store)

    return exercise_target(ctx, "postgres", name, look, json=json, emergency=True)


@app.command("restore")
def restore(
    ctx: typer.Context,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="An empty or new directory for the data.")],
    name: Name = None,
    at: At = None,
    lsn: Annotated[str | None, typer.Option(help="Stop after this WAL position: 0/16B3740.")] = None,
    before_xid: Annotated[
        int | None, typer.Option(min=3, help="Stop before this transaction, which did the damage.")
    ] = None,
    latest: Annotated[
        bool, typer.Option("--latest", help="The newest commit that the archive holds.")
    ] = False,
    timeline: Annotated[
        int | None, typer.Option(min=1, help="Follow this timeline. Default: the newest.")
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="Start it and replay, not only lay it out.")] = False,
    action: Annotated[
        Literal["promote", "pause"],
        typer.Option(help="At the target: open for writing, or wait there read-only."),
    ] = "promote",
    store: FromStore = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="With --start: the port to listen on.")
    ] = None,
    json: Json = False,
) -> int:
    """Restore to a moment of the past, into DIR.

    What an operator uses in an emergency.

    Exactly one of --at, --lsn, --before-xid and --latest says to which.
    """

    def bring_back(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.postgres.restore import restore as run

        return run(context, target, wanted, to.absolute(), start=start, action=action, store=store, port=port)

    with answering(json):
        wanted = _recovery_target(at, lsn, before_xid, latest=latest, timeline=timeline)
        if port is not None and not start:
            raise UsageError("--port has no meaning without --start", hint="add --start, or leave it out")
    return exercise_target(ctx, "postgres", name, bring_back, json=json, emergency=True)


@app.command("validate")
def validate(
    ctx: typer.Context,
    name: Name = None,
    at: At = None,
    strategy: Annotated[
        Strategy | None, typer.Option(help="How to choose the moment. Default: newest.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the choice of the moment repeatable.")] = None,
    day: Annotated[
        str | None, typer.Option(metavar="YYYY-MM-DD", help="The moment must lie inside this day (UTC).")
    ] = None,
    store: FromStore = None,
    json: Json = False,
) -> int:
    """Restore into a sandbox and prove what came back.

    To the transaction, in time, intact. Isolated from production, and torn down afterwards.
    """

    def prove(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.postgres.validate import validate as run

        return run(
            context,
            target,
            at=moment,
            strategy=strategy or Strategy.NEWEST,
            seed=seed,
            day=inside,
            store=store,
        )

    with answering(json):
        from ccobs_ops.core.units import parse_moment

        if at is not None and (strategy, seed, day) != (None, None, None):
            raise UsageError(
                "--at says which moment, so --strategy, --seed and --day have no say",
                hint="leave --at out, or the others",
            )
        moment = parsed("--at", at, parse_moment)
        inside = parsed("--day", day, _day)
    return exercise_target(ctx, "postgres", name, prove, json=json)


@app.command("retention")
def retention(
    ctx: typer.Context,
    name: Name = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run/--no-dry-run", help="Only say what would be deleted.")
    ] = True,
    confirm: Annotated[
        str | None, typer.Option(metavar="TARGET", help="The target again, to delete for real.")
    ] = None,
    json: Json = False,
) -> int:
    """Delete what neither backups nor window need.

    By default it only says what that is: to delete, give --no-dry-run and --confirm, and allow it in the inventory.
    """

    def delete(context: Context, target: str) -> Exercise:
        from ccobs_ops.core.postgres.retention import prune

        return prune(context, target, dry_run=dry_run, confirmation=confirm)

    return exercise_target(ctx, "postgres", name, delete, json=json)


@app.command("agent")
def agent(ctx: typer.Context, name: Name = None) -> int:
    """Stream WAL and commit canaries, until stopped.

    The one long-running process; SIGINT or SIGTERM ends it after what is finished is shipped.
    """
    from ccobs_ops.core.postgres.agent import run_agent

    with exercising(ctx) as context:
        target = choose("postgres", list(context.inventory.postgres), name)
        with until_stopped() as stop:
            run_agent(context, target, stop=stop)
    return 0


def _recovery_target(
    at: str | None, lsn: str | None, before_xid: int | None, *, latest: bool, timeline: int | None
) -> RecoveryTarget:
    from ccobs_ops.core.postgres.target import RecoveryTarget
    from ccobs_ops.core.postgres.wal import parse_lsn
    from ccobs_ops.core.units import parse_moment

    options = {"--at": at is not None, "--lsn": lsn is not None, "--before-xid": before_xid is not None}
    one_of(options | {"--latest": latest}, missing="nothing says where to stop")
    return RecoveryTarget(
        at=parsed("--at", at, parse_moment),
        lsn=parsed("--lsn", lsn, parse_lsn),
        before_xid=before_xid,
        latest=latest,
        timeline=timeline,
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no day; write for example 2026-11-23") from None
