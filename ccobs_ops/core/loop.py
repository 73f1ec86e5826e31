"""The reducer of the operating loop: reads the ledger's chain once, in its order, and keeps what it means for incidents.

One batch is one transaction, which keeps the transitions *and* moves the cursor; whoever reads holds the lock on incidents
until it is committed. So however many call this at once, and whenever one of them is killed, each link is dealt with once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ccobs_ops.core import incident_facts as facts
from ccobs_ops.core import incident_rules as rules
from ccobs_ops.core import incidents
from ccobs_ops.core import ledger_chain as chain
from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Claim, Exercise, Verdict
from ccobs_ops.core.incident import Facts, Incident, Transition, key_of, observe
from ccobs_ops.core.ledger import Ledger

READER = "incidents"
BATCH = 2_000
_DOCUMENTS = 200


def catch_up(ctx: Context, *, most: int | None = None) -> list[Transition]:
    """Read what is new in the ledger's chain and keep what it means for incidents; returns what is news, in order.

    What was over longer ago than the inventory's `incidents.replayed_after` when it is read, as on the first run on an old
    ledger, is kept with `replayed` in its details and not returned: nobody is to be woken for it. With `most` it ends after
    about so many links, for callers that are in a hurry. Raises LedgerError.
    """
    news: list[Transition] = []
    behind, batches = True, 0
    while behind and not _up_to_date(ctx.ledger) and (most is None or batches * BATCH < most):
        batches += 1
        kept, behind = _Batch(ctx).run()
        news += [each for each in kept if not each.incident.replayed]
    return news


def act(
    ledger: Ledger, identifier: str, change: Callable[[Incident], Transition | None]
) -> Transition | None:
    """Keep what `change` makes of the incident called `identifier` as it is now; None if that is nothing, or known already.

    `change` is one of `acknowledge`, `remediating`, `restored`, `given_up` of core/incident.py, with its arguments.
    """
    with ledger.writing() as connection:
        incidents.lock(connection)
        current = incidents.by_id(connection, identifier)
        transition = None if current is None else change(current)
        if transition is None or not incidents.keep(connection, transition):
            return None
        return transition


def _up_to_date(ledger: Ledger) -> bool:
    with ledger.reading() as connection:
        head = connection.execute(sa.select(sa.func.max(schema.chain.c.seq))).scalar() or 0
        return chain.cursor(connection, READER) >= head


class _Batch:
    """One batch of links on its way; exists so that its steps need not hand five things to each other."""

    def __init__(self, ctx: Context) -> None:
        self.now = ctx.clock()
        self.inventory = ctx.inventory
        self.settings = ctx.inventory.incidents
        self.ledger = ctx.ledger
        self.kept: list[Transition] = []
        self.open: dict[str, Incident] = {}
        self.watched: set[tuple[str, str]] = set()
        self.connection: Connection

    def run(self) -> tuple[list[Transition], bool]:
        """Deal with the next links; returns what was kept, and whether there may be more."""
        with self.ledger.writing() as self.connection:
            incidents.lock(self.connection)
            links = self._links(chain.cursor(self.connection, READER))
            if not links:
                return [], False
            self.open = {each.key: each for each in incidents.all_open(self.connection)}
            self._watch()
            documents = self._documents(row.id for row in links if self._matters(row))
            for row in links:
                if self._matters(row):
                    self._exercise(documents.get(row.id) or facts.read(self.connection, row.id), row.seq)
            more = len(links) == BATCH
            if not more:
                self._announce(links[-1].seq)
            chain.move(self.connection, READER, links[-1].seq)
        return self.kept, more

    def _links(self, after: int) -> list[Any]:
        """The next links, with the columns of the exercise that each stands for, if it stands for one."""
        links, exercises = schema.chain, schema.exercises
        joined = links.outerjoin(
            exercises, sa.and_(links.c.kind == "exercise", exercises.c.id == links.c.row)
        )
        query = (
            sa.select(
                links.c.seq,
                exercises.c.id,
                exercises.c.target,
                exercises.c.capability,
                exercises.c.verdict,
            )
            .select_from(joined)
            .where(links.c.seq > after)
            .order_by(links.c.seq)
            .limit(BATCH)
        )
        return list(self.connection.execute(query))

    def _matters(self, row: Any) -> bool:
        """Whether the exercise must be read: it did not pass, or it may prove something that is open."""
        if row.id is None:
            return False
        if row.verdict != Verdict.PASSED.value:
            return True
        return (row.target, row.capability) in self.watched

    def _documents(self, identifiers: Iterable[str]) -> dict[str, Exercise]:
        wanted = list(identifiers)
        table = schema.exercises.c
        found: dict[str, Exercise] = {}
        for begin in range(0, len(wanted), _DOCUMENTS):
            query = sa.select(table.id, table.document).where(
                table.id.in_(wanted[begin : begin + _DOCUMENTS])
            )
            for row in self.connection.execute(query):
                found[row.id] = Exercise.from_json(json.loads(row.document))
        return found

    def _exercise(self, exercise: Exercise, seq: int) -> None:
        for claim in rules.claims_of(exercise):
            if claim.verdict is Verdict.PASSED:
                self._proves(exercise, claim)
            elif rules.opens(exercise, claim):
                self._refutes(exercise, claim, seq)

    def _proves(self, exercise: Exercise, claim: Claim) -> None:
        capabilities = rules.capabilities_closed_by(exercise.capability)
        kept_since = rules.kept_since(self.inventory, exercise.target, self.now.date())
        for current in [
            each
            for each in self.open.values()
            if each.target == exercise.target
            and each.capability in capabilities
            and each.claim == claim.name
            and rules.covers(exercise, each, kept_since)
        ]:
            self._keep(observe(current, exercise, claim, last_passed=None, facts=Facts()))

    def _refutes(self, exercise: Exercise, claim: Claim, seq: int) -> None:
        scope = rules.scope_of(exercise)
        wanted = (exercise.target, exercise.capability, claim.name, scope)
        severity, hint = rules.severity_of(exercise, claim), rules.hint_of(exercise)
        current = self.open.get(key_of(*wanted))
        if current is not None:
            known = Facts(severity=severity, hint=hint, scope=scope)
            self._keep(observe(current, exercise, claim, last_passed=None, facts=known))
            return
        proof = facts.last_passed(self.connection, exercise, claim, seq)
        moment, source = facts.occurred(self.connection, exercise, claim, proof)
        known = Facts(severity, hint, scope, moment, source, self._is_history(exercise, claim))
        current = incidents.newest(self.connection, wanted)
        damping = self.settings.damping
        self._keep(observe(current, exercise, claim, last_passed=proof, facts=known, damping=damping))

    def _is_history(self, exercise: Exercise, claim: Claim) -> bool:
        """Whether it was over long before anybody read of it; while it lasts it is news, however old."""
        age = self.now - exercise.finished_at
        return age > self.settings.replayed_after and facts.proven_since(self.connection, exercise, claim)

    def _keep(self, transition: Transition | None) -> None:
        if transition is None:
            return
        incident = transition.incident
        if transition.name == "seen":
            incidents.refresh(self.connection, incident)
        else:
            if incident.replayed:
                transition = replace(transition, details=transition.details | {"replayed": True})
            if not incidents.keep(self.connection, transition):
                return
            self.kept.append(transition)
        if incident.is_open:
            self.open[incident.key] = incident
        else:
            self.open.pop(incident.key, None)
        self._watch()

    def _watch(self) -> None:
        """Which targets and capabilities have something to prove."""
        self.watched = {(each.target, each.capability) for each in self.open.values()}
        for target, capability in list(self.watched):
            for whole in rules.proven_by(capability):
                self.watched.add((target, whole))

    def _announce(self, seq: int) -> None:
        """What was taken for history and is still open now that everything is read is news after all."""
        for current in [each for each in self.open.values() if each.replayed]:
            self._keep(
                Transition("opened", f"caught up at {seq}", self.now, replace(current, replayed=False))
            )
