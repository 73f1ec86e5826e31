"""Show the status of every target: as a table of 80 columns, or as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.text import Text

from ccobs_ops.cli.incident_output import document
from ccobs_ops.cli.output import MARKS, STYLES, console, mark, table
from ccobs_ops.core.exercise import Verdict, rfc3339
from ccobs_ops.core.status import TargetStatus
from ccobs_ops.core.units import format_duration, format_seconds

if TYPE_CHECKING:
    from rich.console import Console

    from ccobs_ops.core.forecast import Forecast
    from ccobs_ops.core.incident import Incident
    from ccobs_ops.core.outlook import Outlook

_SHOWN = {"postgres": ("rto", "rpo"), "etcd": ("rto", "rpo"), "replication": ("rpo",), "terraform": ()}
"""The promises whose measurement is shown for a target of each noun."""


def to_json(
    targets: Sequence[TargetStatus], ahead: Mapping[str, Outlook], verdict: Verdict, now: datetime
) -> dict[str, Any]:
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
                "incidents": [document(each, now) for each in ahead[target.target].incidents],
                "forecast": forecast_document(ahead[target.target].forecast),
            }
            for target in targets
        ],
        "incidents_elsewhere": [document(each, now) for each in _elsewhere(targets, ahead)],
    }


def forecast_document(found: Forecast | None) -> dict[str, Any] | None:
    """The JSON form of a forecast; null for a target whose recovery time is not forecast."""
    if found is None:
        return None
    return asdict(found) | {
        "at": rfc3339(found.at),
        "breaches_at": None if found.breaches_at is None else rfc3339(found.breaches_at),
    }


def _elsewhere(targets: Sequence[TargetStatus], ahead: Mapping[str, Outlook]) -> list[Incident]:
    """Open incidents of what is no target of the inventory: drills, the watching of ourselves, targets that were removed."""
    known = {target.target for target in targets}
    return [each for name, found in ahead.items() if name not in known for each in found.incidents]


def print_targets(targets: Sequence[TargetStatus], ahead: Mapping[str, Outlook], now: datetime) -> None:
    """Print one block a target: its capabilities, RTO and RPO, the agent, why what did not pass did not, open incidents."""
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
        _print_promises(out, target)
        _print_forecast(out, ahead[target.target].forecast)
        for each in ahead[target.target].incidents:
            _print_incident(out, each, now)
    elsewhere = _elsewhere(targets, ahead)
    if elsewhere:
        out.print(Text("\nopen incidents elsewhere", style="bold"))
        for each in elsewhere:
            _print_incident(out, each, now, named=True)


def _print_promises(out: Console, target: TargetStatus) -> None:
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


def _print_forecast(out: Console, found: Forecast | None) -> None:
    if found is None:
        return
    line = Text("  forecast  ")
    if found.rto_seconds is None or found.low_seconds is None or found.high_seconds is None:
        out.print(line.append(f"not known: {found.reason}", style="dim"), soft_wrap=False)
        return
    line.append(
        f"RTO {format_seconds(found.rto_seconds)} "
        f"({format_seconds(found.low_seconds)} to {format_seconds(found.high_seconds)})"
    )
    if found.breaches_at is not None and found.breaches_at <= found.at:
        line.append(", longer than promised", style="bold red")
    elif found.breaches_at is not None:
        line.append(f", broken by growth on {found.breaches_at:%Y-%m-%d}", style="yellow")
    elif found.growth_bytes_per_day is None:
        line.append(", growth not known yet", style="dim")
    else:
        line.append(", kept for ten years")
    out.print(line)


def _print_incident(out: Console, incident: Incident, now: datetime, *, named: bool = False) -> None:
    age = format_seconds(max(0.0, (now - incident.detected_at).total_seconds()))
    line = Text("  incident  ")
    line.append(f"{MARKS[incident.kind]} {incident.id}", style=STYLES[incident.kind])
    where = f" {incident.target}" if named else ""
    out.print(line.append(f"{where} {incident.capability} {incident.claim}, {incident.state} for {age}"))
