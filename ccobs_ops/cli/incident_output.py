"""Show incidents: as tables of 80 columns, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.padding import Padding
from rich.text import Text

from ccobs_ops.cli.output import MARKS, SEVERITIES, STYLES, console, print_json, table
from ccobs_ops.core import incidents
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.incident import Incident, Transition
from ccobs_ops.core.units import format_seconds

_FROM = {
    "cloudtrail": "CloudTrail",
    "canary": "the canaries",
    "fault": "the lab's fault",
    "last_passed": "the last proof: it happened after that",
    "detected": "nothing earlier is known",
}


def document(incident: Incident, now: datetime) -> dict[str, Any]:
    """The JSON form, documented in docs/json.md."""
    return incidents.to_json(incident) | {
        "key": incident.key,
        "open": incident.is_open,
        "time_to_detect_seconds": _detect(incident),
        "open_seconds": _open(incident, now),
    }


def many(found: Sequence[Incident], now: datetime, *, json: bool, everything: bool) -> None:
    """Print them, one line each."""
    if json:
        print_json({"at": rfc3339(now), "incidents": [document(each, now) for each in found]})
        return
    out = console()
    if not found:
        out.print("no incident" if everything else "no incident is open")
        return
    rows = table()
    for title in ("incident", "severity", "target", "claim", "state", "for"):
        rows.add_column(title, no_wrap=title not in ("target", "claim"), overflow="fold")
    for each in found:
        rows.add_row(
            Text(f"{MARKS[each.kind]} {each.id}", style=STYLES[each.kind]),
            Text(each.severity.value, style=SEVERITIES[each.severity]),
            Text(each.target),
            Text(" ".join((each.capability, each.claim, each.scope.partition(" ")[2])).rstrip()),
            each.state.value,
            format_seconds(_open(each, now)),
        )
    out.print(rows)


def one(incident: Incident, told: Sequence[Transition], now: datetime, *, json: bool) -> None:
    """Print one with all that happened to it."""
    if json:
        print_json(document(incident, now) | {"history": [_told(each) for each in told]})
        return
    out = console()
    out.print(
        Text.assemble(
            (f"{MARKS[incident.kind]} {incident.kind}", STYLES[incident.kind]),
            (f"  {incident.target}", "bold"),
            f"  {incident.capability} {incident.claim}  {incident.state}",
            overflow="fold",
        )
    )
    out.print(Text(incident.reason, overflow="fold"))
    if incident.hint:
        out.print(Text(f"HINT: {incident.hint}", overflow="fold"))
    out.print()
    out.print(Padding(_clocks(incident, now), (0, 0, 0, 2), expand=False))
    out.print()
    rows = table()
    for title in ("at", "what happened", "by"):
        rows.add_column(title, no_wrap=title == "at", overflow="fold")
    for each in told:
        more = "; ".join(f"{name}: {value}" for name, value in each.details.items() if value is not True)
        rows.add_row(_moment(each.at), Text(each.name), Text(each.cause + (f" ({more})" if more else "")))
    out.print(Padding(rows, (0, 0, 0, 2), expand=False))
    out.print()
    out.print(Text(f"incident {incident.id}, {incident.severity.value}", style="dim"))


def _clocks(incident: Incident, now: datetime) -> Any:
    rows = table(header=False)
    detect = _detect(incident)
    took = "" if detect is None else f", {format_seconds(detect)} later"
    rows.add_row(
        "occurred",
        _moment(incident.occurred_at),
        Text(f"from {_FROM.get(incident.occurred_from, incident.occurred_from)}"),
    )
    rows.add_row("detected", _moment(incident.detected_at), Text(f"by {incident.opened_by}{took}"))
    if incident.acknowledged_at:
        rows.add_row(
            "acknowledged", _moment(incident.acknowledged_at), Text(f"by {incident.acknowledged_by}")
        )
    if incident.remediation_started_at:
        rows.add_row(
            "repair began", _moment(incident.remediation_started_at), f"{incident.attempts} attempts"
        )
    if incident.restored_at:
        rows.add_row("restored", _moment(incident.restored_at), "not yet proven" if incident.is_open else "")
    if incident.verified_at:
        rows.add_row("verified", _moment(incident.verified_at), Text(f"by {incident.verified_by}"))
    rows.add_row(
        "open for",
        format_seconds(_open(incident, now)),
        f"opened again {incident.flaps} times" if incident.flaps else "",
    )
    return rows


def _told(transition: Transition) -> dict[str, Any]:
    incident = transition.incident
    return {
        "name": transition.name,
        "at": rfc3339(transition.at),
        "cause": transition.cause,
        "kind": incident.kind.value,
        "state": incident.state.value,
        "severity": incident.severity.value,
        "reason": incident.reason,
        "details": transition.details,
        "seq": transition.seq,
    }


def _detect(incident: Incident) -> float | None:
    if incident.occurred_from == "detected":
        return None
    return (incident.detected_at - incident.occurred_at).total_seconds()


def _open(incident: Incident, now: datetime) -> float:
    return max(0.0, ((incident.verified_at or now) - incident.detected_at).total_seconds())


def _moment(moment: datetime) -> str:
    return rfc3339(moment)[:19].replace("T", " ")
