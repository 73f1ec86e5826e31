"""The words of an alert: short, redacted, with target, claim, reason, hint, times and links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ccobs_ops.core.alerts.model import RANK, STORM, Alert, Kind, Message
from ccobs_ops.core.exercise import Severity
from ccobs_ops.core.incident import Incident
from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.units import format_seconds
from ccobs_ops.inventory import Inventory

LONGEST_LINE = 400
LISTED = 25
_ASSETS = ("postgres", "etcd", "replication", "terraform")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a heartbeat tells: how many of all targets are proven, and how many incidents are open."""

    proven: int
    targets: int
    open: int


def about_incident(
    inventory: Inventory, alert: Alert, kind: Kind, now: datetime, *, incident: Incident | None = None
) -> Message:
    """What `alert`'s channel is told about its incident; `incident` is as it is now, where that is later."""
    found = incident or alert.incident
    if found is None:
        raise ValueError("a storm has no incident")
    resolved = kind is Kind.RESOLVED
    said = (
        f"proven again after {_span(found.detected_at, found.verified_at or now)}" if resolved else found.kind
    )
    claim = found.claim + (f" [{found.scope}]" if found.scope else "")
    title = f"[{_word(kind, found.severity)}] {found.target} {found.capability}: {claim} {said}"
    runbook, link = runbook_for(inventory, found.target), link_for(inventory, found)
    lines = [
        f"it was: {found.reason}" if resolved else found.reason,
        "" if resolved or not found.hint else f"HINT: {found.hint}",
        _escalation(inventory, kind, found, alert, now),
        _times(found, now),
        f"acknowledged by {found.acknowledged_by}" if found.acknowledged_by and not resolved else "",
        f"dagster: {link}" if link else "",
        "" if resolved else f"runbook: {runbook}",
        f"incident: ccobs-ops incident show {found.id}",
    ]
    return Message(
        channel=alert.channel,
        key=alert.key,
        kind=kind,
        severity=found.severity,
        title=_line(title, 200),
        body="\n".join(_line(line) for line in lines if line),
        at=now,
        labels=labels_of(inventory, found),
        annotations={
            "summary": _line(f"{found.target} {found.capability}: {claim} {found.kind}", 200),
            "description": _line(found.reason),
            "hint": _line(found.hint),
            "runbook_url": runbook,
            "incident": found.id,
        },
        link=link,
        starts_at=found.detected_at,
    )


def about_storm(
    inventory: Inventory,
    storm: Alert,
    members: Sequence[Alert],
    kind: Kind,
    now: datetime,
    *,
    before: int = 0,
) -> Message:
    """What is told of several incidents at once. `before` of the same moment were told one by one."""
    severity = storm.severity
    incidents = sorted(
        (each.incident for each in members if each.incident is not None),
        key=lambda each: (-RANK[each.severity], each.key),
    )
    if kind is Kind.RESOLVED:
        title = f"[RESOLVED] all incidents of the storm of {_clock(storm.opened_at)} are proven again"
        lines = [f"the first was {storm.key.removeprefix(STORM)}", f"it took {_span(storm.opened_at, now)}"]
    else:
        title = f"[{_word(kind, severity)}] {len(incidents)} incidents at once, one alert"
        lines = [f"- {one.severity} {one.key}: {one.kind}: {one.reason}" for one in incidents[:LISTED]]
        if len(incidents) > LISTED:
            lines.append(f"and {len(incidents) - LISTED} more: ccobs-ops incident list")
        if before:
            lines.append(f"{before} of the same minutes were told one by one")
        lines += [
            "HINT: look first for what they share: a store, a network, the agent",
            f"runbook: {inventory.alerts.runbooks}/alerts.md",
        ]
    return Message(
        channel=storm.channel,
        key=storm.key,
        kind=kind,
        severity=severity,
        title=_line(title, 200),
        body="\n".join(_line(line, 160) for line in lines),
        at=now,
        link=inventory.alerts.base_url or "",
        starts_at=storm.opened_at,
    )


def heartbeat(inventory: Inventory, channel: str, summary: Summary, now: datetime) -> Message:
    """The daily sign of life, so that silence means something."""
    told = f"last night: {summary.proven} of {summary.targets} proven, {summary.open} open"
    return Message(
        channel=channel,
        key="heartbeat",
        kind=Kind.HEARTBEAT,
        severity=Severity.INFO,
        title=f"[HEARTBEAT] ccobs-ops {inventory.environment}, {told}",
        body=f"{told}\nthis comes every day at {inventory.alerts.heartbeat}; when it does not, alerts do not work",
        at=now,
        labels={"alertname": "CcobsHeartbeat", "environment": inventory.environment, "severity": "info"},
        annotations={"summary": told},
        link=inventory.alerts.base_url or "",
        starts_at=now,
    )


def trial(inventory: Inventory, channel: str, now: datetime) -> Message:
    """What `alerts test` sends."""
    return Message(
        channel=channel,
        key="test",
        kind=Kind.TEST,
        severity=Severity.INFO,
        title=f"[TEST] ccobs-ops {inventory.environment}: the channel {channel}",
        body="this is only a test; nothing has to be done",
        at=now,
        labels={"alertname": "CcobsTest", "environment": inventory.environment, "severity": "info"},
        annotations={"summary": f"a test of the channel {channel}"},
        link=inventory.alerts.base_url or "",
        starts_at=now,
    )


def labels_of(inventory: Inventory, incident: Incident) -> dict[str, str]:
    """Few and stable: no id, no time, no reason. With the severity, by which Alertmanager routes."""
    noun = incident.target.partition("/")[0]
    return {
        "alertname": "CcobsIncident",
        "environment": inventory.environment,
        "noun": noun,
        "target": incident.target,
        "capability": incident.capability,
        "claim": incident.claim,
        "severity": incident.severity.value,
    } | ({"scope": incident.scope} if incident.scope else {})


def runbook_for(inventory: Inventory, target: str) -> str:
    """The address of the runbook for `target`."""
    noun, _, name = target.partition("/")
    if noun == "ccobs":  # our own troubles; those without a page of their own are on that of incidents
        noun = name if name in ("alerts", "evidence") else "incidents"
    return f"{inventory.alerts.runbooks}/{noun}.md"


def link_for(inventory: Inventory, incident: Incident) -> str:
    """Where Dagster shows it; empty without a base URL."""
    base = inventory.alerts.base_url
    if not base:
        return ""
    if incident.target.partition("/")[0] in _ASSETS:
        return f"{base}/assets/{incident.target}/{incident.capability}"
    return f"{base}/runs"


def _word(kind: Kind, severity: Severity) -> str:
    if kind in (Kind.OPENED, Kind.GROWN):
        return severity.value.upper()
    return f"{kind.value.upper()} {severity.value}" if kind is not Kind.RESOLVED else "RESOLVED"


def _escalation(inventory: Inventory, kind: Kind, incident: Incident, alert: Alert, now: datetime) -> str:
    if kind is Kind.REMINDER:
        return f"still open after {_span(incident.detected_at, now)}"
    if kind is not Kind.ESCALATED:
        return ""
    if alert.escalated_at is None:
        return f"it is {incident.severity} now"
    return f"open for {_span(incident.detected_at, now)}, and nobody acknowledged it: ccobs-ops incident ack {incident.id}"


def _times(incident: Incident, now: datetime) -> str:
    occurred = "" if incident.occurred_from == "detected" else f"occurred {_clock(incident.occurred_at)} "
    source = f"({incident.occurred_from.replace('_', ' ')}), " if occurred else ""
    told = f"{occurred}{source}detected {_clock(incident.detected_at)}"
    return f"{told}, proven {_clock(incident.verified_at)}" if incident.verified_at else told


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _span(begin: datetime, end: datetime) -> str:
    return format_seconds(max(0.0, (end - begin).total_seconds()))


def _line(text: str, longest: int = LONGEST_LINE) -> str:
    told = REDACT(" ".join(text.split()))
    return told if len(told) <= longest else told[: longest - 1] + "…"
