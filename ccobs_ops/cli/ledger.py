"""`ccobs-ops ledger`: read back what was found."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Annotated

import typer

from ccobs_ops.cli.options import Json, answering, opened, parsed
from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.exercise import Verdict

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Read back what was found.")


@app.command("list")
def list_exercises(
    ctx: typer.Context,
    target: Annotated[str | None, typer.Option(help="Only this target, as noun/NAME.")] = None,
    capability: Annotated[str | None, typer.Option(help="Only this capability, such as validation.")] = None,
    verdict: Annotated[Verdict | None, typer.Option(help="Only this verdict.", case_sensitive=False)] = None,
    since: Annotated[
        str | None, typer.Option(help="Finished within this time (7d) or since this moment (RFC 3339).")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=100_000)] = 50,
    json: Json = False,
) -> None:
    """List exercises, newest first."""
    from ccobs_ops.cli import output

    with answering(json):
        earliest = parsed("--since", since, since_moment)
        with opened(ctx) as (_, ledger):
            found = ledger.exercises(
                target=target, capability=capability, verdict=verdict, since=earliest, limit=limit
            )
    if json:
        output.print_json({"exercises": [exercise.to_json() for exercise in found]})
    else:
        output.print_exercises(found)


@app.command("show")
def show_exercise(
    ctx: typer.Context,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The exercise's id, or its beginning.")],
    json: Json = False,
) -> None:
    """Show one exercise with everything that it found. The exit status is 0 whatever its verdict."""
    from ccobs_ops.cli import output
    from ccobs_ops.core.status import objectives_of

    with answering(json):
        with opened(ctx) as (inventory, ledger):
            found = ledger.find(identifier)
        if not found:
            raise UsageError(
                f"the ledger has no exercise {identifier!r}", hint="ccobs-ops ledger list shows the ids"
            )
        if len(found) > 1:
            raise UsageError(
                f"more than one exercise begins with {identifier!r}", hint="give more characters of its id"
            )
    exercise = found[0]
    output.print_exercise(exercise, objectives_of(inventory, exercise.target), json=json)


def since_moment(text: str) -> datetime:
    """A moment, or a duration before now. Raises ValueError with an example."""
    from ccobs_ops.core.exercise import utc_now
    from ccobs_ops.core.units import parse_duration, parse_moment

    with contextlib.suppress(ValueError):
        return utc_now() - parse_duration(text)
    try:
        return parse_moment(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a duration nor a moment with a time zone; "
            "write for example 7d, or 2026-11-23T00:00:00Z"
        ) from None
