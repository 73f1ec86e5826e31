"""`ccobs-ops selftest`: every fault of the lab is injected, and must be found, named, told and closed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ccobs_ops.cli.lab import DEFAULT, Dir
from ccobs_ops.cli.options import Json, answering, options

if TYPE_CHECKING:
    from ccobs_ops.core.exercise import Exercise

app = typer.Typer(
    help="Inject each fault of the lab and demand that it is found, named, told, repaired where allowed, and closed."
)


@app.callback(invoke_without_command=True)
def selftest(
    ctx: typer.Context,
    directory: Dir = DEFAULT,
    faults: Annotated[
        str, typer.Option(metavar="A,B", help="Only these; all by default. See ccobs-ops lab break --list.")
    ] = "",
    pairs: Annotated[int, typer.Option(min=0, help="Then so many pairs of them, chosen by the seed.")] = 0,
    seed: Annotated[int, typer.Option(help="Decides what exactly is broken, and which pairs.")] = 1,
    as_json: Json = False,
) -> None:
    """Break the lab in every way it knows. Refuses any inventory whose environment is not `lab`."""
    from ccobs_ops.cli.progress import reporting
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.ledger import Ledger
    from ccobs_ops.inventory_load import load
    from ccobs_ops.lab import Lab
    from ccobs_ops.lab.selftest.run import selftest as run

    names = [name.strip() for name in faults.split(",") if name.strip()]
    with answering(as_json):
        lab = Lab.open(directory)
        named = options(ctx).inventory
        inventory = load(lab.inventory_path if named is None else named)
        with Ledger.of(inventory) as ledger, reporting(sys.stderr) as progress:
            context = Context(inventory, ledger, progress=progress)
            exercise = run(context, lab, faults=names, pairs=pairs, seed=seed)
    _print(exercise, as_json=as_json)
    raise typer.Exit(exercise.verdict.exit_status)


def _print(exercise: Exercise, *, as_json: bool) -> None:
    from dataclasses import replace

    from ccobs_ops.cli.output import console, print_exercise, table
    from ccobs_ops.core.units import format_seconds

    if as_json:
        print_exercise(exercise, None, json=True)
        return
    print_exercise(replace(exercise, details={}), None, json=False)
    rows = table()
    for title in ("fault", "found", "detect", "repair", "restore"):
        rows.add_column(title, justify="left" if title in ("fault", "found", "repair") else "right")

    def seconds(value: float | None) -> str:
        return "" if value is None else format_seconds(value)

    for one in exercise.details.get("rounds", ()):
        for number, each in enumerate(one["outcomes"]):
            name = each["fault"] if number == 0 else f"  + {each['fault']}"
            found = "yes" if each["found"] else "MISSED"
            found += f", once {each['hidden_by']} was healed" if each["hidden_by"] else ""
            rows.add_row(
                name,
                found,
                seconds(each["time_to_detect_seconds"]),
                each["repaired_by"],
                seconds(each["time_to_restore_seconds"]),
            )
    console().print(rows)
