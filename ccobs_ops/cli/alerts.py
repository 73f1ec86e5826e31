"""`ccobs-ops alerts`: tell people what is open, try a channel, see what waits."""

from __future__ import annotations

from typing import Annotated

import typer

from ccobs_ops.cli.options import Json, answering, exercising, opened, options

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Tell people what is open; try a channel."
)


@app.command()
def send(ctx: typer.Context, json: Json = False) -> int:
    """Send what has to be said by now, once: for cron, where Dagster's sensor does not run. Reads what is new in the
    ledger first, as `incident list` does.

    Exit status: 0 all is sent, 1 a channel failed (its messages wait and are tried again).
    """
    from ccobs_ops.cli import alerts_output
    from ccobs_ops.core.alerts.dispatch import dispatch
    from ccobs_ops.core.loop import catch_up

    with answering(json):
        _configured(ctx)
        with exercising(ctx) as context:
            catch_up(context)
            done = dispatch(context)
    alerts_output.print_dispatched(done, json=json)
    return 1 if done.failed or done.failing else 0


@app.command()
def test(
    ctx: typer.Context,
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel's name in the inventory.")],
    json: Json = False,
) -> int:
    """Send a test message over one channel, now. Nothing is recorded, and what waits is left alone.

    Exit status: 0 the receiver took it, 1 it did not, 3 it gave no answer in time.
    """
    from ccobs_ops.cli import alerts_output
    from ccobs_ops.cli.options import choose
    from ccobs_ops.core.alerts.dispatch import test as send_test
    from ccobs_ops.core.exercise import utc_now

    with answering(json):
        inventory = options(ctx).load()
        name = choose("channel", list(inventory.alerts.channels), channel)
        seconds = send_test(inventory, name, utc_now)
    alerts_output.print_test(name, seconds, json=json)
    return 0


@app.command("list")
def list_alerts(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(help="At most so many messages.", min=1, max=10_000)] = 20,
    json: Json = False,
) -> None:
    """Show every channel, what it was told is open, and the newest messages. Sends nothing."""
    from ccobs_ops.cli import alerts_output
    from ccobs_ops.core.alerts import outbox

    with answering(json), opened(ctx) as (inventory, ledger), ledger.reading() as connection:
        states = outbox.channels(connection)
        alerts = outbox.alerts(connection)
        waiting = outbox.waiting(connection)
        messages = outbox.newest(connection, limit=limit)
    view = alerts_output.View(inventory.alerts, states, list(alerts.values()), waiting, messages)
    alerts_output.print_alerts(view, json=json)


def _configured(ctx: typer.Context) -> None:
    from ccobs_ops.core.errors import UsageError

    inventory = options(ctx).load()
    if not inventory.alerts.channels:
        raise UsageError(
            "the inventory has no channel to send alerts over",
            hint="add `alerts: channels:`; inventory.example.yaml shows how",
        )
