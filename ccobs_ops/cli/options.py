"""What every command shares: the global options, the context of an exercise, and parsers of arguments."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ccobs_ops.core.errors import OpsError, UsageError

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.ledger import Ledger
    from ccobs_ops.inventory import Inventory

T = TypeVar("T")

Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON document on stdout (docs/json.md); everything else on stderr."),
]


@dataclass(frozen=True, slots=True)
class Options:
    """The options that stand before the noun."""

    inventory: Path | None

    def path(self) -> Path:
        """The inventory's path. Raises UsageError when none is named and none is there."""
        from ccobs_ops.inventory_load import locate

        return locate(self.inventory, os.environ)

    def load(self) -> Inventory:
        """The inventory. Raises UsageError with everything that is wrong with it."""
        from ccobs_ops.inventory_load import load

        return load(self.path())


def options(ctx: typer.Context) -> Options:
    """The global options of the running command."""
    found = ctx.find_object(Options)
    return found if isinstance(found, Options) else Options(None)


@contextmanager
def answering(json: bool) -> Iterator[None]:
    """With `json`, an error is a JSON document on stdout as well as text on stderr."""
    try:
        yield
    except OpsError as error:
        if json:
            from ccobs_ops.cli.output import print_json

            print_json(
                {"error": {"message": error.message, "hint": error.hint, "exit_status": error.exit_status}}
            )
        raise


@contextmanager
def opened(ctx: typer.Context) -> Iterator[tuple[Inventory, Ledger]]:
    """The inventory and its ledger, closed afterwards."""
    from ccobs_ops.core.ledger import Ledger

    inventory = options(ctx).load()
    with Ledger.of(inventory) as ledger:
        yield inventory, ledger


@contextmanager
def exercising(ctx: typer.Context, *, emergency: bool = False) -> Iterator[Context]:
    """What an exercise is handed, with progress on stderr.

    In an `emergency` a ledger that cannot be reached stops nothing: what is done is recorded in a file of this host.
    """
    from ccobs_ops.cli.progress import reporting
    from ccobs_ops.core.context import Context

    opening = _opened_or_offline if emergency else opened
    with opening(ctx) as (inventory, ledger), reporting(sys.stderr) as progress:
        yield Context(inventory, ledger, progress=progress)


@contextmanager
def _opened_or_offline(ctx: typer.Context) -> Iterator[tuple[Inventory, Ledger]]:
    from ccobs_ops.core.folders import private
    from ccobs_ops.core.ledger import Ledger

    inventory = options(ctx).load()
    try:
        ledger = Ledger.of(inventory)
    except OpsError as error:
        offline = private(inventory.state) / "ledger-offline.db"
        print(f"warning: {error.message}; recording in {offline} instead", file=sys.stderr)
        ledger = Ledger.open(f"sqlite:///{offline}")
    with ledger:
        yield inventory, ledger


def choose(noun: str, names: list[str], given: str | None) -> str:
    """The target's name: `given` (as NAME or noun/NAME), or the only one there is. Raises UsageError."""
    from ccobs_ops.inventory_problems import did_you_mean

    known = ", ".join(names) or "none"
    if given is None:
        if len(names) == 1:
            return names[0]
        raise UsageError(f"name one of the inventory's {noun} targets", hint=f"there are: {known}")
    name = given.removeprefix(f"{noun}/")
    if name not in names:
        raise UsageError(
            f"the inventory has no target {noun}/{name}",
            hint=did_you_mean(name, names) or f"its {noun} targets are: {known}",
        )
    return name


def parsed(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    """`text` parsed, or None if it was not given. Raises UsageError that names the option."""
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        told, _, hint = str(error).partition("; ")
        raise UsageError(f"{option}: {told}", hint=hint or f"see --help for {option}") from None


def one_of(options: Mapping[str, bool], *, missing: str, required: bool = True) -> None:
    """Raises UsageError when several of `options` were given, or none where one is `required`: `missing` tells that."""
    given = [option for option, said in options.items() if said]
    if len(given) > 1 or (required and not given):
        told = f"{' and '.join(given)} contradict each other" if given else missing
        *others, last = options
        raise UsageError(told, hint=f"give exactly one of {', '.join(others)} and {last}")
