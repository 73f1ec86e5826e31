"""Show the status of every target: as a table of 80 columns, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.padding import Padding
from rich.text import Text

from ccobs_ops.cli.output import console, mark, table
from ccobs_ops.core.exercise import Verdict, rfc3339
from ccobs_ops.core.status import TargetStatus
from ccobs_ops.core.units import format_duration, format_seconds

_SHOWN = {"postgres": ("rto", "rpo"), "etcd": ("rto", "rpo"), "replication": ("rpo",), "terraform": ()}
"""The promises whose measurement is shown for a target of each noun."""


def to_json(targets: Sequence[TargetStatus], verdict: Verdict, now: datetime) -> dict[str, Any]:
    """The JSON form, documented in docs/json.md."""
    return {
        "verdict": verdict.value,
        "at": rfc3339(now),
        "targets": [
            {
                "target": target.target,
                "verdict": target.verdict.value,
                "rto_seconds": target.rto_seconds,
                "rpo_seconds": target.rpo_seconds,
                "objectives": {f"{name}_seconds": value.total_seconds() for name, value in target.objectives},
                "capabilities": [
                    {
                        "capability": each.capability,
                        "verdict": each.verdict.value,
                        "counts": each.counts,
                        "reason": each.reason,
                        "exercise": each.latest.id if each.latest else None,
                        "finished_at": rfc3339(each.latest.finished_at) if each.latest else None,
                        "proof_age_seconds": each.proof_age_seconds,
                        "passed_in_a_row": each.passed_in_a_row,
                    }
                    for each in target.capabilities
                ],
                "agent": [
                    {
                        "component": each.component,
                        "verdict": each.verdict.value,
                        "reason": each.reason,
                        "age_seconds": each.age_seconds,
                    }
                    for each in target.components
                ],
            }
            for target in targets
        ],
    }


def print_targets(targets: Sequence[TargetStatus]) -> None:
    """Print one block a target: its capabilities, RTO and RPO, the agent, and why what did not pass did not."""
    out = console()
    if not targets:
        out.print("the inventory has no target, so nothing is proven")
    for position, target in enumerate(targets):
        if position:
            out.print()
        out.print(Text.assemble(mark(target.verdict, word=True), (f"  {target.target}", "bold")))
        rows = table()
        for title in ("capability", "verdict", "last proof", "in a row", "why"):
            rows.add_column(title, overflow="fold")
        for each in target.capabilities:
            rows.add_row(
                each.capability,
                mark(each.verdict, word=True),
                "none" if each.proof_age_seconds is None else f"{format_seconds(each.proof_age_seconds)} ago",
                str(each.passed_in_a_row),
                Text("" if each.verdict is Verdict.PASSED else each.reason),
            )
        for each in target.components:
            rows.add_row(
                f"agent {each.component}",
                mark(each.verdict, word=True),
                "none" if each.age_seconds is None else f"{format_seconds(each.age_seconds)} ago",
                "",
                Text(each.reason),
            )
        out.print(Padding(rows, (0, 0, 0, 2), expand=False))
        for name, value in (("rto", target.rto_seconds), ("rpo", target.rpo_seconds)):
            if name not in _SHOWN[target.target.partition("/")[0]]:
                continue
            limit = getattr(target.objectives, name)
            line = Text(f"  {name.upper()}  ")
            if value is None:
                line.append("? not measured yet", style="bold yellow")
            else:
                kept = Verdict.PASSED if value <= limit.total_seconds() else Verdict.FAILED
                line.append_text(mark(kept)).append(f" {format_seconds(value)}")
            out.print(line.append(f", promised: at most {format_duration(limit)}"))
