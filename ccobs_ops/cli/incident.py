"""`ccobs-ops incident`: what is not proven now, since when, and who knows of it."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Annotated

import typer

from ccobs_ops.cli.ledger import since_moment
from ccobs_ops.cli.options import Json, answering, exercising, parsed
from ccobs_ops.core.errors import UsageError

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.incident import Incident

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What is not proven now, since when, and who knows of it.",
)

Identifier = Annotated[str, typer.Argument(metavar="ID", help="The incident's id, or its beginning.")]


@app.command("list")
def list_incidents(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    target: Annotated[str | None, typer.Option(help="Only this target, as noun/NAME.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Detected within this time (7d) or since this moment (RFC 3339).")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=100_000)] = 50,
    json: Json = False,
) -> None:
    """List open incidents, newest first. What is new in the ledger is read first, so no daemon is needed for it."""
    from ccobs_ops.cli import incident_output as show
    from ccobs_ops.core import incidents

    with answering(json):
        earliest = parsed("--since", since, since_moment)
        with exercising(ctx) as context:
            _catch_up(context)
            found = incidents.listed(
                context.ledger, target=target, open_only=not everything, since=earliest, limit=limit
            )
            now = context.clock()
    show.many(found, now, json=json, everything=everything)


@app.command("show")
def show_incident(ctx: typer.Context, identifier: Identifier, json: Json = False) -> None:
    """Show one incident: its clocks, where each is from, and all that happened to it."""
    from ccobs_ops.cli import incident_output as show
    from ccobs_ops.core import incidents

    with answering(json), exercising(ctx) as context:
        _catch_up(context)
        incident = _find(context, identifier)
        told = incidents.history(context.ledger, incident.id)
        now = context.clock()
    show.one(incident, told, now, json=json)


@app.command("ack")
def acknowledge_incident(
    ctx: typer.Context,
    identifier: Identifier,
    by: Annotated[str | None, typer.Option(help="Who acknowledges it. Default: the user.")] = None,
    note: Annotated[str, typer.Option(help="A word for whoever looks next.")] = "",
    json: Json = False,
) -> None:
    """Say that you have seen it and look after it. It stays open: only a new proof closes it."""
    from ccobs_ops.cli import incident_output as show
    from ccobs_ops.core import incidents
    from ccobs_ops.core.incident import acknowledge
    from ccobs_ops.core.loop import act

    with answering(json), exercising(ctx) as context:
        _catch_up(context)
        incident = _find(context, identifier)
        if not incident.is_open:
            raise UsageError(
                f"incident {incident.id} is closed",
                hint=f"what proved it: ccobs-ops ledger show {incident.verified_by}",
            )
        who, now = by or _user(), context.clock()
        act(context.ledger, incident.id, lambda current: acknowledge(current, who=who, now=now, note=note))
        incident = _find(context, incident.id)
        told = incidents.history(context.ledger, incident.id)
    if incident.acknowledged_by != who:
        context.progress.note(f"{incident.acknowledged_by} has acknowledged it before")
    show.one(incident, told, now, json=json)


def _catch_up(context: Context) -> None:
    from ccobs_ops.core.loop import catch_up

    catch_up(context)


def _find(context: Context, identifier: str) -> Incident:
    from ccobs_ops.core import incidents

    found = incidents.find(context.ledger, identifier)
    if not found:
        raise UsageError(
            f"the ledger has no incident {identifier!r}", hint="ccobs-ops incident list --all shows the ids"
        )
    exact = [each for each in found if each.id == identifier]
    if len(found) > 1 and not exact:
        raise UsageError(
            f"more than one incident begins with {identifier!r}", hint="give more characters of its id"
        )
    return (exact or found)[0]


def _user() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
