"""Show scans, repairs and plans of Terraform roots in 80 columns."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.text import Text

from ccobs_ops.cli.output import console, mark, print_exercise, table
from ccobs_ops.core.exercise import Exercise, Severity
from ccobs_ops.core.terraform.approval import Proposal
from ccobs_ops.core.units import format_seconds

if TYPE_CHECKING:
    from rich.console import Console

    from ccobs_ops.inventory import Objectives

_STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
_LONGEST_VALUE = 60
_MOST_ATTRIBUTES = 8
_MOST_CHANGES = 40
_MARKS = {"weakens": "↓", "strengthens": "↑"}
_BRIEF = (
    "drift_open",
    "drift_critical",
    "coverage_ratio",
    "time_to_detect_seconds",
    "objects_managed",
)
_HIDDEN = ("source_digest", "commit", "state_lineage")


def print_scan(exercise: Exercise, objectives: Objectives, *, brief: bool = False) -> None:
    """One scan: its claims and figures, then every change with what it does to recovery. `brief` leaves out phases."""
    others = tuple(finding for finding in exercise.findings if not finding.code.startswith("drift_"))
    shown = replace(
        exercise,
        findings=others,
        phases=() if brief else exercise.phases,
        measurements={k: v for k, v in exercise.measurements.items() if k in _BRIEF or (v and not brief)},
        details={k: v for k, v in exercise.details.items() if k not in _HIDDEN},
    )
    print_exercise(shown, objectives, json=False)
    _changes(exercise.details.get("changes", ()), console())
    print()


def print_summary(exercises: Sequence[Exercise]) -> None:
    """One line a root."""
    out = console()
    rows = table()
    for title in ("root", "verdict", "drift", "critical", "managed", "took"):
        rows.add_column(title, justify="left" if title in ("root", "verdict") else "right")
    for exercise in exercises:
        figures = exercise.measurements
        rows.add_row(
            exercise.target,
            mark(exercise.verdict, word=True),
            *(
                f"{figures[name]:.0f}" if name in figures else "?"
                for name in ("drift_open", "drift_critical")
            ),
            f"{figures['objects_managed']:.0f}" if "objects_managed" in figures else "?",
            format_seconds(exercise.seconds),
        )
    out.print(rows)


def print_remediation(exercise: Exercise, objectives: Objectives, *, json: bool) -> None:
    """One repair: its claims, what the plan changes, and each reason against it."""
    if json:
        print_exercise(exercise, objectives, json=True)
        return
    others = tuple(finding for finding in exercise.findings if not finding.code.startswith("drift_"))
    kept = ("next", "proposal", "second_scan", "source", "by")
    details = {name: value for name, value in exercise.details.items() if name in kept}
    figures = {k: v for k, v in exercise.measurements.items() if k == "changes_planned"}
    print_exercise(
        replace(exercise, findings=others, details=details, measurements=figures), objectives, json=False
    )
    _changes(exercise.details.get("plan", ()), console(), heading="the plan")


def print_plans(proposals: Sequence[Proposal], now: datetime) -> None:
    """Proposed plans, newest first."""
    out = console()
    if not proposals:
        out.print("no plan waits")
        return
    for proposal in proposals:
        heading = Text(proposal.id, style="bold")
        heading.append(f"  {proposal.mode}  {proposal.status(now)}", style="default")
        out.print(heading)
        when = f"{proposal.proposed_at:%Y-%m-%d %H:%M:%S} UTC on {proposal.host}, from {proposal.source}"
        out.print(Padding(Text(f"proposed {when}, until {proposal.expires_at:%H:%M:%S}"), (0, 0, 0, 2)))
        if proposal.approved_by:
            out.print(Padding(Text(f"approved by {proposal.approved_by}: {proposal.reason}"), (0, 0, 0, 2)))
        for row in proposal.changes:
            paths = ", ".join(path for path in row["paths"] if path)
            out.print(Padding(Text(f"{'/'.join(row['actions'])} {row['address']}: {paths}"), (0, 0, 0, 2)))


def _changes(rows: Sequence[Mapping[str, Any]], out: Console, *, heading: str = "") -> None:
    if rows and heading:
        out.print()
        out.print(Text(f"  {heading}", style="dim"))
    for row in rows[:_MOST_CHANGES]:
        line = Text("  ", overflow="fold")
        line.append(row["severity"], style=_STYLES[Severity(row["severity"]).value])
        line.append(f" {'/'.join(row['actions']) if heading else row['class']}  ", style="dim")
        line.append(row["address"], style="bold")
        if row.get("ignored_by"):
            line.append(f"  (ignored until {row['ignored_by']['expires']})", style="dim")
        out.print()
        out.print(line)
        impacts = row["impacts"]
        told = [f"{_MARKS[impact['direction']]} {impact['statement']}" for impact in impacts] or [
            row["message"]
        ]
        for text in told:
            out.print(Padding(Text(text, overflow="fold"), (0, 0, 0, 4)))
        for attribute in row["attributes"][:_MOST_ATTRIBUTES]:
            after = "(known after apply)" if attribute["after_unknown"] else _value(attribute["after"])
            text = f"{attribute['path']}: {_value(attribute['before'])} → {after}"
            out.print(Padding(Text(text, overflow="fold", style="dim"), (0, 0, 0, 4)))
        if who := _blame(row):
            out.print(Padding(Text(who, style="dim"), (0, 0, 0, 4)))
    if len(rows) > _MOST_CHANGES:
        out.print(f"\n  and {len(rows) - _MOST_CHANGES} more; --json has all of them")


def _blame(row: Mapping[str, Any]) -> str:
    parts = [f"by {row['who']}"] if row.get("who") else []
    if row.get("when"):
        parts.append(f"at {row['when'][:19].replace('T', ' ')} UTC")
    elif row.get("first_seen"):
        parts.append(f"first seen {row['first_seen'][:19].replace('T', ' ')} UTC")
    return " ".join(parts)


def _value(value: Any) -> str:
    text = json_module.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
