"""`ccobs-ops report`: what was proven in a time, as one page."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ccobs_ops.cli.options import Json, answering, exercising, parsed
from ccobs_ops.core.errors import UsageError

if TYPE_CHECKING:
    from ccobs_ops.core.report.drawing import Drawer

app = typer.Typer(
    rich_markup_mode=None, help="One page for auditors and for the morning: what was proven, when, how fast."
)


class Format(StrEnum):
    """What a report can be written as."""

    HTML = "html"
    MD = "md"
    JSON = "json"
    PDF = "pdf"


@app.callback(invoke_without_command=True)
def report(
    ctx: typer.Context,
    since: Annotated[
        str | None, typer.Option(help="How far back: 90d, 2w. Default: report.since of the inventory (90d).")
    ] = None,
    kind: Annotated[
        Format, typer.Option("--format", help="html, md, json or pdf (printed by a Chromium on this host).")
    ] = Format.HTML,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Where to; - is stdout. Default: recovery-report-DATE.html here; md and json go to stdout.",
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--verify", help="Verify all of the ledger's chain, and sign all evidence, as the night does."
        ),
    ] = False,
    json: Json = False,
) -> int:
    """Write the recovery report: readiness, days proven, RTO and RPO, drills, drift, lag, incidents, evidence.

    It is signed where the inventory names a key. The exit status tells whether the report could be made and the ledger is
    as it was written; how ready you are stands in it.
    """
    from contextlib import nullcontext

    from ccobs_ops.core.report.drawing import Drawer

    # it takes longest to start: before all other modules are loaded
    with Drawer() if kind in (Format.HTML, Format.PDF) else nullcontext() as drawer:
        return _report(ctx, since, kind, file, drawer, full=full, json=json)


def _report(
    ctx: typer.Context,
    since: str | None,
    kind: Format,
    file: Path | None,
    drawer: Drawer | None,
    *,
    full: bool,
    json: bool,
) -> int:
    from ccobs_ops.cli import output
    from ccobs_ops.core.report.make import make
    from ccobs_ops.core.report.render import opening
    from ccobs_ops.core.units import parse_duration

    with answering(json):
        span = parsed("--since", since, parse_duration)
        if span is not None and span.total_seconds() < 3600:
            raise UsageError("--since is less than an hour", hint="write for example 7d or 90d")
        with exercising(ctx) as context:
            place = file
            if place is None and (json or kind in (Format.HTML, Format.PDF)):
                place = Path(f"recovery-report-{context.clock():%Y-%m-%d}.{kind}")
            to_stdout = place is None or str(place) == "-"
            if to_stdout and json:
                raise UsageError(
                    "--json and a report on stdout exclude each other", hint="name a file with --output"
                )
            made = make(
                context, {kind.value: None if to_stdout else place}, since=span or context.inventory.report.since,
                everything=full, drawer=drawer,
            )  # fmt: skip
    if kind.value not in made.contents or json:
        output.print_exercise(made.exercise, None, json=json)
        return made.exercise.verdict.exit_status
    if to_stdout:
        sys.stdout.flush()
        sys.stdout.buffer.write(made.contents[kind.value])
        sys.stdout.buffer.flush()
        return made.exercise.verdict.exit_status
    out = output.console()
    if made.report is not None:
        out.print("readiness", output.mark(made.report.verdict, word=True))
        out.print(f"  {opening(made.report)}")
    for claim in made.exercise.claims:
        out.print(" ", output.mark(claim.verdict), f"{claim.name}: {claim.reason}")
    out.print(f"  {place}", soft_wrap=True)
    if made.exercise.claim("signed") is not None:
        out.print(f"  {place}.dsse.json", soft_wrap=True)
    return made.exercise.verdict.exit_status
