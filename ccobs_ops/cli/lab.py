"""`ccobs-ops lab`: a small estate of real servers on this machine, to try things on and to break."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ccobs_ops.lab import Lab, ServiceStatus

app = typer.Typer(
    help="A small estate of real servers on this machine: two S3 regions, PostgreSQL, the agent.",
    no_args_is_help=True,
)

Dir = Annotated[Path, typer.Option("--dir", metavar="D", help="The lab's folder.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
DEFAULT = Path(".lab")


@app.command()
def up(
    directory: Dir = DEFAULT,
    scale: Annotated[float, typer.Option(help="Size of the database; 1 is 50,000 messages.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same rows.")] = 1,
) -> None:
    """Start a lab in the background; returns once all of it answers."""
    import time

    from ccobs_ops.core.units import format_bytes, format_seconds
    from ccobs_ops.lab import Lab
    from ccobs_ops.lab.state import State

    known = State.load(directory.resolve()) is not None
    began = time.monotonic()
    lab = Lab.up(directory, scale=scale, seed=seed, say=lambda text: typer.echo(text, err=True))
    looks = lab.status()
    typer.echo(_table(looks))
    memory = format_bytes(sum(look.memory_bytes for look in looks))
    took = "was running already" if known else f"up in {format_seconds(time.monotonic() - began)}"
    typer.echo(f"\nlab in {lab.directory} {took}, {memory} of memory\n")
    typer.echo(f"  export CCOBS_INVENTORY={lab.inventory_path}")
    typer.echo("  ccobs-ops status")


@app.command()
def status(directory: Dir = DEFAULT, as_json: Json = False) -> None:
    """What runs where; exit status 1 when a service is dead or does not answer."""
    from ccobs_ops.lab import Lab
    from ccobs_ops.lab.faults import active

    lab = Lab.open(directory)
    looks = lab.status()
    bad = [look for look in looks if not look.ok]
    faults = active(lab)
    if as_json:
        typer.echo(json.dumps(_document(lab, looks), indent=2))
    else:
        typer.echo(_table(looks))
        for damage in faults:
            typer.echo(f"\nbroken: {damage.fault} at {damage.target}: {'; '.join(damage.lines)}")
        if bad:
            typer.echo(f"\nnot running: {', '.join(look.name for look in bad)}", err=True)
            typer.echo(f"HINT: see {lab.plan.logs_dir}; take it down and up again", err=True)
    raise typer.Exit(1 if bad else 0)


@app.command()
def down(
    directory: Dir = DEFAULT,
    purge: Annotated[bool, typer.Option("--purge", help="Remove the logs too.")] = False,
) -> None:
    """End every process of the lab and remove its data; also after a crash. Logs stay unless --purge."""
    from ccobs_ops.lab.lab import take_down

    found = take_down(directory, purge=purge)
    typer.echo(f"lab in {directory.resolve()} " + ("is down" if found else "was not there: nothing to do"))


@app.command("break")
def break_(
    fault: Annotated[str, typer.Argument(help="See --list.")] = "",
    directory: Dir = DEFAULT,
    at: Annotated[str | None, typer.Option("--at", metavar="TARGET", help="Where to break it.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which object, byte and bit.")] = 1,
    show: Annotated[bool, typer.Option("--list", help="List the faults.")] = False,
) -> None:
    """Break something for real and say exactly what."""
    from ccobs_ops.core.errors import UsageError
    from ccobs_ops.lab import Lab
    from ccobs_ops.lab.faults import REGISTRY

    if show:
        rows = [(one.name, ", ".join(one.targets), one.help) for one in REGISTRY]
        typer.echo(_columns([("FAULT", "AT", "WHAT IT DOES"), *rows]))
        return
    if not fault:
        raise UsageError("no fault is named", hint="see them: ccobs-ops lab break --list")
    damage = Lab.open(directory).break_(fault, at=at, seed=seed)
    for line in damage.lines:
        typer.echo(f"{damage.fault} at {damage.target}: {line}")


@app.command()
def heal(
    fault: Annotated[str, typer.Argument(help="One fault; all of them without it.")] = "",
    directory: Dir = DEFAULT,
) -> None:
    """Undo what `break` did: the same keys, bytes and metadata."""
    from ccobs_ops.lab import Lab

    healed = Lab.open(directory).heal(fault or None)
    for damage in healed:
        typer.echo(f"healed {damage.fault} at {damage.target}")
    if not healed:
        typer.echo("nothing was broken" + (f" by {fault}" if fault else ""))


def _document(lab: Lab, looks: tuple[ServiceStatus, ...]) -> dict[str, object]:
    from ccobs_ops.lab.faults import active

    return {
        "directory": str(lab.directory),
        "inventory": str(lab.inventory_path),
        "healthy": all(look.ok for look in looks),
        "memory_bytes": sum(look.memory_bytes for look in looks),
        "services": [
            {
                "name": look.name,
                "state": look.state,
                "address": look.address,
                "pid": look.pid,
                "memory_bytes": look.memory_bytes,
                "problem": look.problem,
                "log": str(look.log),
            }
            for look in looks
        ],
        "faults": [
            {"fault": damage.fault, "target": damage.target, "what": list(damage.lines)}
            for damage in active(lab)
        ],
    }


def _table(looks: tuple[ServiceStatus, ...]) -> str:
    from ccobs_ops.core.units import format_bytes

    rows = [
        (
            look.name,
            look.state,
            str(look.pid or "-"),
            format_bytes(look.memory_bytes) if look.pid else "-",
            look.problem[:160] or look.address,
        )
        for look in looks
    ]
    return _columns([("SERVICE", "STATE", "PID", "MEMORY", "WHERE"), *rows])


def _columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
