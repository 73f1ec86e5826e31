"""Incidents are kept with what happened to them, once, and read back as they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccobs_ops.core import incidents, ledger_chain
from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.incident import State, Transition
from ccobs_ops.core.ledger import Event, Ledger
from tests.alerts_support import NOON, incident

OPEN = incident(hint="see the runbook", occurred_from="canary")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as made:
        yield made


def keep(ledger: Ledger, transition: Transition) -> bool:
    with ledger.writing() as connection:
        return incidents.keep(connection, transition)


def exercise(name: str) -> Exercise:
    return Exercise(name, "postgres/observatory", "backup", Verdict.PASSED, "well", NOON, NOON)


def test_an_incident_is_read_back_as_it_was_with_what_happened(ledger: Ledger) -> None:
    assert keep(ledger, Transition("opened", "E1", NOON, OPEN))
    later = NOON + timedelta(minutes=1)
    acknowledged = replace(OPEN, state=State.ACKNOWLEDGED, acknowledged_at=later, acknowledged_by="ada")
    assert keep(ledger, Transition("acknowledged", "ada", later, acknowledged, {"note": "looking"}))

    assert incidents.find(ledger, "I") == [acknowledged]
    told = incidents.history(ledger, "I1")
    assert [(each.name, each.cause, each.at, each.incident) for each in told] == [
        ("opened", "E1", NOON, OPEN),
        ("acknowledged", "ada", later, acknowledged),
    ]
    assert told[1].details == {"note": "looking"}
    assert incidents.transitions(ledger, after=told[0].seq) == told[1:]


def test_the_same_cause_does_the_same_once(ledger: Ledger) -> None:
    assert keep(ledger, Transition("opened", "E1", NOON, OPEN))
    assert not keep(ledger, Transition("opened", "E1", NOON, replace(OPEN, reason="another")))
    assert incidents.find(ledger, "I1") == [OPEN]
    assert len(incidents.history(ledger, "I1")) == 1


def test_one_is_open_for_a_claim_and_a_closed_one_makes_room(ledger: Ledger) -> None:
    keep(ledger, Transition("opened", "E1", NOON, OPEN))
    with pytest.raises(Exception, match="UNIQUE"):
        keep(ledger, Transition("opened", "E2", NOON, replace(OPEN, id="I2")))
    assert incidents.listed(ledger) == [OPEN]
    closed = replace(OPEN, state=State.CLOSED, verified_at=NOON + timedelta(hours=1), verified_by="E3")
    keep(ledger, Transition("verified", "E3", NOON, closed))
    assert incidents.listed(ledger, open_only=True) == []
    keep(ledger, Transition("opened", "E4", NOON, replace(OPEN, id="I2")))
    assert [each.id for each in incidents.listed(ledger, open_only=True)] == ["I2"]
    with ledger.reading() as connection:
        found = incidents.opened(connection, OPEN.key)
    assert found is not None
    assert found.id == "I2"


def test_every_row_is_a_link_of_one_chain_that_follows(ledger: Ledger) -> None:
    ledger.record(exercise("E1"))
    ledger.record(exercise("E1"))
    ledger.record_event(Event("postgres/observatory", "wal_gap", "00A3", NOON))
    keep(ledger, Transition("opened", "E1", NOON, OPEN))
    with ledger.reading() as connection:
        links = ledger_chain.read(connection)
        assert [(link.seq, link.kind) for link in links] == [(1, "exercise"), (2, "event"), (3, "transition")]
        before = ledger_chain.GENESIS
        for link in links:
            table = ledger_chain.KINDS[link.kind]
            row = (
                connection.execute(sa.select(table).where(sa.cast(table.c.id, sa.String) == link.row))
                .mappings()
                .one()
            )
            assert link.digest == ledger_chain.digest(link.kind, dict(row))
            before = ledger_chain.follow(before, link.seq, link.kind, link.row, link.digest)
            assert link.link == before


def test_a_ledger_from_before_the_chain_is_chained_in_the_order_of_time(ledger: Ledger) -> None:
    for number in (2, 0, 1):
        ledger.record(replace(exercise(f"E{number}"), finished_at=NOON + timedelta(minutes=number)))
    ledger.record_event(Event("postgres/observatory", "wal_gap", "00A3", NOON + timedelta(seconds=90)))
    with ledger.writing() as connection:
        connection.execute(sa.delete(schema.chain))
        ledger_chain.adopt(connection)
    with ledger.reading() as connection:
        assert [link.row for link in ledger_chain.read(connection)] == ["E0", "E1", "1", "E2"]


def test_a_reader_goes_on_where_it_was(ledger: Ledger) -> None:
    for number in range(5):
        ledger.record(exercise(f"E{number}"))
    with ledger.writing() as connection:
        assert ledger_chain.cursor(connection, "incidents") == 0
        ledger_chain.move(connection, "incidents", 3)
        ledger_chain.move(connection, "incidents", 4)
    with ledger.reading() as connection:
        after = ledger_chain.cursor(connection, "incidents")
        assert [link.row for link in ledger_chain.read(connection, after=after)] == ["E4"]
