"""Show an exercise: on a terminal in 80 columns, or as exactly one JSON document on stdout.

No colour unless stdout is a terminal, and none with NO_COLOR.
"""

from __future__ import annotations

import json as json_module
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.exercise import Exercise, Severity, Verdict, rfc3339
from ccobs_ops.core.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ccobs_ops.inventory import Objectives

WIDTH = 80
MARKS = {Verdict.PASSED: "✓", Verdict.FAILED: "✗", Verdict.UNKNOWN: "?"}
STYLES = {Verdict.PASSED: "green", Verdict.FAILED: "bold red", Verdict.UNKNOWN: "bold yellow"}
SEVERITIES = {Severity.INFO: "cyan", Severity.WARNING: "yellow", Severity.CRITICAL: "bold red"}
PROMISED = {
    "rto_seconds": "rto",
    "rpo_seconds": "rpo",
    "backup_duration_seconds": "backup_duration",
    "newest_commit_age_seconds": "rpo",
    "time_to_detect_seconds": "time_to_detect",
}
"""Which objective bounds which measurement."""


def print_json(document: dict[str, Any]) -> None:
    """Print `document` to stdout; numbers that JSON cannot hold (NaN, infinity) become null."""
    text = json_module.dumps(_finite(document), indent=2, ensure_ascii=False, default=str, allow_nan=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def console() -> Console:
    """A console on stdout: as wide as the terminal up to 100 columns, 80 elsewhere."""
    from rich.console import Console

    found = Console(highlight=False, markup=False, emoji=False)
    found.width = min(found.width, 100) if found.is_terminal else WIDTH
    return found


def mark(verdict: Verdict, *, word: bool = False) -> Text:
    """✓, ✗ or ?, with the verdict's word if asked."""
    from rich.text import Text

    return Text(f"{MARKS[verdict]} {verdict}" if word else MARKS[verdict], style=STYLES[verdict])


def table(*, header: bool = True) -> Table:
    """A table without lines, indented by two."""
    from rich.table import Table

    return Table(box=None, pad_edge=False, show_header=header, padding=(0, 2, 0, 0), header_style="dim")


def print_exercise(exercise: Exercise, objectives: Objectives | None, *, json: bool) -> None:
    """Show one exercise; `objectives` are what its target promises."""
    if json:
        print_json(exercise.to_json())
        return
    from rich.padding import Padding

    out = console()
    out.print(_heading(exercise))
    out.print(_text(exercise.reason))
    blocks = (
        _claims(exercise),
        _phases(exercise),
        _measurements(exercise, objectives),
        _details(exercise),
    )
    for block in blocks:
        if block is not None and block.row_count:
            out.print()
            out.print(Padding(block, (0, 0, 0, 2), expand=False))
    for finding in exercise.findings:
        heading = _text(finding.severity.value, style=SEVERITIES[finding.severity])
        heading.append(f" {finding.code}: {finding.subject}", style="default")
        out.print()
        out.print(Padding(heading, (0, 0, 0, 2), expand=False))
        out.print(Padding(_text(finding.message), (0, 0, 0, 4), expand=False))
        if finding.hint:
            out.print(Padding(_text(f"HINT: {finding.hint}"), (0, 0, 0, 4), expand=False))
    _next(exercise, out)
    out.print()
    out.print(
        _text(f"{exercise.id}, {_when(exercise)}, took {format_seconds(exercise.seconds)}", style="dim")
    )


def print_exercises(exercises: Sequence[Exercise]) -> None:
    """List exercises, one a line, with the reasons of those that did not pass."""
    out = console()
    if not exercises:
        out.print("no exercise matches")
        return
    rows = table()
    for title in ("finished (UTC)", "target", "capability", "verdict", "id"):
        rows.add_column(title, no_wrap=title != "target", overflow="fold")
    for exercise in exercises:
        rows.add_row(
            _when(exercise),
            _text(exercise.target),
            exercise.capability,
            mark(exercise.verdict, word=True),
            exercise.id.rpartition("-")[2] if out.width < 100 else exercise.id,
        )
    out.print(rows)


def _heading(exercise: Exercise) -> Text:
    from rich.text import Text

    return Text.assemble(
        (f"{MARKS[exercise.verdict]} {exercise.verdict}", STYLES[exercise.verdict]),
        (f"  {exercise.target}", "bold"),
        f"  {exercise.capability}",
        overflow="fold",
    )


def _text(text: str, *, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style=style, overflow="fold")


def _when(exercise: Exercise) -> str:
    return rfc3339(exercise.finished_at)[:19].replace("T", " ")


def _claims(exercise: Exercise) -> Table | None:
    rows = table(header=False)
    for claim in exercise.claims:
        rows.add_row(mark(claim.verdict), claim.name, _text(claim.reason))
    return rows


def _phases(exercise: Exercise) -> Table | None:
    rows = table()
    rows.add_column("phase")
    for title in ("time", "size", "rate"):
        rows.add_column(title, justify="right")
    for phase in exercise.phases:
        moved = phase.bytes is not None
        rate = f"{format_bytes((phase.bytes or 0) / phase.seconds)}/s" if moved and phase.seconds > 0 else ""
        rows.add_row(
            _text(phase.name),
            format_seconds(phase.seconds),
            format_bytes(phase.bytes or 0) if moved else "",
            rate,
        )
    return rows


def _measurements(exercise: Exercise, objectives: Objectives | None) -> Table | None:
    rows = table()
    rows.add_column("measurement", no_wrap=True)
    rows.add_column("value", justify="right")
    promised = objectives is not None and any(name in PROMISED for name in exercise.measurements)
    if promised:
        rows.add_column("objective")
    for name, value in exercise.measurements.items():
        against = [_against(name, value, objectives)] if promised else []
        rows.add_row(_text(name), measured(name, value), *against)
    return rows


def _against(name: str, value: float, objectives: Objectives | None) -> Text:
    if objectives is None or name not in PROMISED:
        return _text("")
    limit: float = getattr(objectives, PROMISED[name]).total_seconds()
    verdict = Verdict.PASSED if value <= limit else Verdict.FAILED
    return mark(verdict).append(f" at most {format_seconds(limit)}", style="default")


def _next(exercise: Exercise, out: Console) -> None:
    """The commands to go on with, each on a line of its own and unbroken, so that it can be copied."""
    steps = exercise.details.get("next")
    if isinstance(steps, list) and steps:
        out.print()
        out.print(_text("  next", style="dim"))
        for step in steps:
            out.print(
                _text(f"  $ {step}" if not str(step).startswith("select") else f"  {step}"), soft_wrap=True
            )


def _details(exercise: Exercise) -> Table | None:
    rows = table(header=False)
    for name, value in exercise.details.items():
        if isinstance(value, str | int | float | bool):
            rows.add_row(_text(name, style="dim"), _text(str(value)))
    return rows


def measured(name: str, value: float) -> str:
    """A measurement for people: its unit stands in its name."""
    if not math.isfinite(value):
        return "not known"
    if name.endswith("bytes_per_second"):
        return f"{format_bytes(value)}/s"
    if name.endswith("_seconds"):
        return format_seconds(value)
    if name.endswith("_bytes") or name.startswith("bytes_"):
        return format_bytes(value)
    if name.endswith("_ratio"):
        return f"{value:.3g}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3f}"
