"""`ccobs-ops`: finds the noun's module, turns errors into text and exit statuses, and signals into a tidy end.

Exit status: 0 PASSED or done, 1 FAILED, 2 wrong usage, wrong inventory or refused, 3 UNKNOWN or broken off by a
defect of ours, 128 + n for signal n.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from ccobs_ops import __version__
from ccobs_ops.cli.options import Options
from ccobs_ops.core.errors import OpsError, UnknownError, UsageError

NOUNS = {
    "check": "Check the inventory: every problem, with file, line and key.",
    "status": "Every target at a glance: verdicts, age of proof, RTO and RPO.",
    "postgres": "Back up PostgreSQL, look at its recovery window, restore it, prove it.",
    "terraform": "Find drift, say what it does to recovery, put it back by approval.",
    "etcd": "Take snapshots of etcd, look at its health, restore it, prove that it restores.",
    "replication": "Is the other region really a copy, how far behind; repair it.",
    "report": "One page for auditors and for the morning: what was proven, when, how fast.",
    "evidence": "Verify that the ledger is as it was written; sign what it says.",
    "forecast": "How long a recovery will take, and when growth will break the promise.",
    "incident": "What is not proven now, since when, and who knows of it.",
    "watch": "Look at agents, freshness and Dagster itself; from cron where no daemon runs.",
    "remediate": "The smallest repair for an incident, looked at again; a dry run by default.",
    "alerts": "Tell people what is open; try a channel; see what waits.",
    "metrics": "Everything in the ledger for Prometheus.",
    "drill": "Rehearse a disaster as one plan: restored in order, measured, cleaned up.",
    "ledger": "Read back what was found.",
    "lab": "A small estate of real servers on this machine, and faults to inject.",
    "selftest": "Inject every fault of the lab, and demand that each is found and closed.",
    "demo": "One nightly validation on a fresh lab, through Dagster.",
}
"""What there is, in the order of `--help`: each is the module `ccobs_ops.cli.NOUN`, imported when it is used."""


class Nouns(TyperGroup):
    """A group whose commands are modules that are imported when they are called, not when they are listed."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The nouns that this installation has."""
        return [noun for noun in NOUNS if importlib.util.find_spec(f"ccobs_ops.cli.{noun}")]

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Import the noun `cmd_name`; None when there is no such noun."""
        if cmd_name not in self.list_commands(ctx):
            return None
        found: typer.Typer = importlib.import_module(f"ccobs_ops.cli.{cmd_name}").app
        found.rich_markup_mode = None  # all nouns alike
        # otherwise every noun offers to install completion for the shell
        found._add_completion = False  # pyright: ignore[reportPrivateUsage]
        return get_command(found)

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As the base class does, with a better word for a noun that is not there."""
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            from ccobs_ops.inventory_problems import did_you_mean

            raise UsageError(
                f"there is no command {args[0]!r}",
                hint=did_you_mean(args[0], known) or f"commands: {', '.join(known)}",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """List the nouns without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(noun, NOUNS[noun]) for noun in self.list_commands(ctx)])


app = typer.Typer(
    cls=Nouns,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ccobs-ops {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    inventory: Annotated[
        Path | None,
        typer.Option(
            help="The inventory's YAML file. Default: $CCOBS_INVENTORY, else ./inventory.yaml.",
            metavar="FILE",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Recovery, proven: restores backups for real, measures what came back and how long it took."""
    ctx.obj = Options(inventory)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: unwinds like Ctrl-C, so that everything started is ended and everything made is removed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def _on_signal(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once: a second one must not interrupt the clean-up
    raise Terminated(number)


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _on_signal)
    status = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = _reader_gone()
    sys.exit(status)


def run(argv: Sequence[str]) -> int:
    """Run the command line `argv` (without the program's name) and return its exit status."""
    try:
        with get_command(app).make_context("ccobs-ops", list(argv)) as context:
            status = context.command.invoke(context)
        return status if isinstance(status, int) else 0
    except typer.Exit as asked:
        return asked.exit_code
    except typer.TyperException as error:
        return _wrong_usage(error)
    except OpsError as error:
        _say(f"error: {error.message}")
        if error.hint:
            _say(f"HINT: {error.hint}")
        return error.exit_status
    except Terminated as error:
        _say(f"ended by {signal.Signals(error.number).name}; what had been started was ended")
        return 128 + error.number
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted; what had been started was ended")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return _reader_gone()
    except Exception as error:  # noqa: BLE001 - the last resort: a traceback is never the user's message
        return _unexpected(error)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _wrong_usage(error: typer.TyperException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        _say(error.format_message())
        return 2
    told = error.format_message().replace("Value error, ", "").rstrip(".")
    context = getattr(error, "ctx", None)
    _say(f"error: {told[:1].lower()}{told[1:]}")
    _say(f"HINT: see {context.command_path if context else 'ccobs-ops'} --help")
    return 2


def _unexpected(error: Exception) -> int:
    """Say in one line what happened and where the traceback is; CCOBS_DEBUG=1 shows it instead."""
    import traceback

    from ccobs_ops.core.redaction import REDACT

    text = REDACT("".join(traceback.format_exception(error)))
    if os.environ.get("CCOBS_DEBUG") == "1":
        _say(text)
        return UnknownError.exit_status
    told = REDACT(" ".join(str(error).split()))
    _say(f"error: unexpected {type(error).__name__}: {told[:300]}")
    try:
        descriptor, name = tempfile.mkstemp(prefix="ccobs-ops-", suffix=".traceback")  # mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        _say(f"HINT: this is a defect of ccobs-ops; report it with {name}")
    except OSError:
        _say("HINT: this is a defect of ccobs-ops; CCOBS_DEBUG=1 shows the traceback")
    return UnknownError.exit_status


def _reader_gone() -> int:
    # whoever read our output (head, less) has left; the interpreter would complain when it flushes at its end
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 128 + signal.SIGPIPE


if __name__ == "__main__":
    main()
