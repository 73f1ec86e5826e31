"""`ccobs-ops metrics`: everything in the ledger for Prometheus."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ccobs_ops.cli.options import options, parsed

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Everything in the ledger for Prometheus."
)


@app.command()
def serve(
    ctx: typer.Context,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; `:9464` is every interface.")
    ] = "127.0.0.1:9464",
) -> None:
    """Serve /metrics until it is ended by Ctrl-C or SIGTERM. The inventory is read again when it changes.

    Each scrape reads the ledger anew. What cannot be read makes ccobs_up 0, and the reason is a line on stderr.
    """
    from ccobs_ops.core.metrics.serve import parse_address
    from ccobs_ops.core.metrics.serve import serve as serve_metrics

    address = parsed("--listen", listen, parse_address) or ("127.0.0.1", 9464)
    path = options(ctx).path()
    options(ctx).load()  # a mistake in it is said now, not at the first scrape
    try:
        serve_metrics(
            path,
            address,
            log=_log,
            wait=_for_ever,
            started=lambda where: _log(f"serving {where}"),
        )
    except KeyboardInterrupt:
        _log("ended")


@app.command("print")
def print_metrics(ctx: typer.Context) -> int:
    """Print what a scrape gives. Exit status 3 when the ledger cannot be read."""
    from ccobs_ops.core.metrics.serve import rendered

    text, up = rendered(options(ctx).path(), log=_log)
    sys.stdout.write(text.decode())
    return 0 if up else 3


def _for_ever() -> None:
    import threading

    threading.Event().wait()


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
