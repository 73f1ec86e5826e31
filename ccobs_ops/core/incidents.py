"""Incidents in the ledger: kept with the transition that changed them, in one transaction, and read back."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ccobs_ops.core import ledger_chain as chain
from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core.exercise import Severity, Verdict, rfc3339
from ccobs_ops.core.incident import Incident, State, Transition
from ccobs_ops.core.incident_rules import SCOPED
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.ledger_schema import from_microseconds, to_microseconds

_LOCK = 0x6363696E63  # "ccinc"
_MOMENTS = tuple(each.name for each in fields(Incident) if each.name.endswith("_at"))


def keep(connection: Connection, transition: Transition) -> bool:
    """Keep `transition` and the incident as it is after it; False, and nothing is changed, if the same cause did the same
    to the same incident before. To be called in a writing transaction of the ledger.
    """
    incident = transition.incident
    table = schema.transitions
    known = sa.select(table.c.id).where(
        table.c.incident == incident.id, table.c.name == transition.name, table.c.cause == transition.cause
    )
    if connection.execute(known).first() is not None:
        return False
    row: dict[str, Any] = {
        "incident": incident.id,
        "name": transition.name,
        "cause": transition.cause,
        "at": to_microseconds(transition.at),
        "document": _dumps({"incident": to_json(incident), "details": transition.details}),
    }
    row["id"] = connection.execute(sa.insert(table).returning(table.c.id), row).scalar_one()
    chain.append(connection, "transition", [row])
    _save(connection, incident)
    return True


def refresh(connection: Connection, incident: Incident) -> None:
    """Keep `incident` as it is now, without a transition: what it was told again is no news."""
    _save(connection, incident)


def lock(connection: Connection) -> None:
    """Let nobody else change incidents until the writing transaction of `connection` ends. Take it before reading one to
    change it. On SQLite a writing transaction is that lock already.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def find(ledger: Ledger, prefix: str) -> list[Incident]:
    """The incidents whose id begins with `prefix`, at most two."""
    table = schema.incidents.c
    query = (
        sa.select(table.document)
        .where(table.id.startswith(prefix, autoescape=True))
        .order_by(table.id)
        .limit(2)
    )
    with ledger.reading() as connection:
        return [from_json(json.loads(text)) for text in connection.scalars(query)]


def listed(
    ledger: Ledger,
    *,
    target: str | None = None,
    open_only: bool = False,
    since: datetime | None = None,
    limit: int = 100,
) -> list[Incident]:
    """Incidents, the newest first; `since` is the earliest moment of detection."""
    table = schema.incidents.c
    query = sa.select(table.document).order_by(table.detected_at.desc(), table.id.desc()).limit(limit)
    if target is not None:
        query = query.where(table.target == target)
    if open_only:
        query = query.where(table.open_key.is_not(None))
    if since is not None:
        query = query.where(table.detected_at >= to_microseconds(since))
    with ledger.reading() as connection:
        return [from_json(json.loads(text)) for text in connection.scalars(query)]


def opened(connection: Connection, key: str) -> Incident | None:
    """The incident about `key` (`Incident.key`) that is open."""
    table = schema.incidents.c
    text = connection.execute(sa.select(table.document).where(table.open_key == key)).scalar()
    return None if text is None else from_json(json.loads(text))


def newest(connection: Connection, incident_key: tuple[str, str, str, str]) -> Incident | None:
    """The newest incident about (target, capability, claim, scope), open or closed."""
    target, capability, claim, scope = incident_key
    table = schema.incidents.c
    query = (
        sa.select(table.document)
        .where(table.target == target, table.capability == capability, table.claim == claim)
        .order_by(table.detected_at.desc(), table.id.desc())
    )
    for text in connection.scalars(query if scope or capability in SCOPED else query.limit(1)):
        found = from_json(json.loads(text))
        if found.scope == scope:
            return found
    return None


def all_open(connection: Connection) -> list[Incident]:
    """Every incident that is open, in the order of their keys."""
    table = schema.incidents.c
    query = sa.select(table.document).where(table.open_key.is_not(None)).order_by(table.open_key)
    return [from_json(json.loads(text)) for text in connection.scalars(query)]


def by_id(connection: Connection, identifier: str) -> Incident | None:
    """The incident that is called `identifier`."""
    table = schema.incidents.c
    text = connection.execute(sa.select(table.document).where(table.id == identifier)).scalar()
    return None if text is None else from_json(json.loads(text))


def history(ledger: Ledger, incident: str) -> list[Transition]:
    """All that happened to the incident with the id `incident`, in that order."""
    return _transitions(ledger, schema.transitions.c.incident == incident, limit=10_000)


def transitions(ledger: Ledger, *, after: int, limit: int = 1_000) -> list[Transition]:
    """The transitions of all incidents whose position in the chain is behind `after`, in that order."""
    return _transitions(ledger, schema.chain.c.seq > after, limit=limit)


def read(text: str) -> Incident:
    """The incident in the column `document` of its table."""
    return from_json(json.loads(text))


def to_json(incident: Incident) -> dict[str, Any]:
    """The stable JSON form; moments as RFC 3339."""
    document = asdict(incident)
    for name in _MOMENTS:
        document[name] = None if document[name] is None else rfc3339(document[name])
    return document


def from_json(document: dict[str, Any]) -> Incident:
    """The incident that `to_json` wrote; unknown keys are ignored."""
    known = {each.name: document[each.name] for each in fields(Incident) if each.name in document}
    for name in _MOMENTS:
        known[name] = None if known.get(name) is None else datetime.fromisoformat(known[name])
    enums: dict[str, Any] = {
        "kind": Verdict(known["kind"]),
        "state": State(known["state"]),
        "severity": Severity(known["severity"]),
    }
    return Incident(**(known | enums))


def _transitions(ledger: Ledger, condition: sa.ColumnElement[bool], *, limit: int) -> list[Transition]:
    table, links = schema.transitions, schema.chain
    joined = table.join(
        links, sa.and_(links.c.kind == "transition", links.c.row == sa.cast(table.c.id, sa.String))
    )
    query = (
        sa.select(*table.c, links.c.seq)
        .select_from(joined)
        .where(condition)
        .order_by(links.c.seq)
        .limit(limit)
    )
    with ledger.reading() as connection:
        return [_transition(row) for row in connection.execute(query)]


def _transition(row: Any) -> Transition:
    document = json.loads(row.document)
    return Transition(
        name=row.name,
        cause=row.cause,
        at=from_microseconds(row.at),
        incident=from_json(document["incident"]),
        details=document["details"],
        seq=row.seq,
    )


def _save(connection: Connection, incident: Incident) -> None:
    row = {
        "target": incident.target,
        "capability": incident.capability,
        "claim": incident.claim,
        "state": incident.state.value,
        "open_key": incident.key if incident.is_open else None,
        "detected_at": to_microseconds(incident.detected_at),
        "verified_at": None if incident.verified_at is None else to_microseconds(incident.verified_at),
        "document": _dumps(to_json(incident)),
    }
    table = schema.incidents
    if not connection.execute(sa.update(table).where(table.c.id == incident.id).values(row)).rowcount:
        connection.execute(sa.insert(table), row | {"id": incident.id})


def _dumps(document: dict[str, Any]) -> str:
    return json.dumps(document, default=str, separators=(",", ":"))
