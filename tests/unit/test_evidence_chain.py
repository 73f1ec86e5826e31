"""Whatever is done to the ledger past ccobs-ops is found and named, with the place where it was done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import Connection

from ccobs_ops.core import incidents, ledger_chain
from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core.evidence import chain
from ccobs_ops.core.evidence.chain import START, Head, Verified, verify
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.incident import Transition
from ccobs_ops.core.ledger import Event, Ledger
from tests.unit.test_incidents import OPEN

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
COUNT = 12
LINKS = schema.chain
Damage = Callable[[Connection], Any]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Ten exercises, an event after the fourth and a transition after the eighth: twelve links."""
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as made:
        fill(made)
        yield made


def fill(ledger: Ledger) -> None:
    for number in range(10):
        ledger.record(
            Exercise(
                f"E{number}",
                "postgres/observatory",
                "validation",
                Verdict.PASSED,
                f"restored – {number}",
                NOON,
                NOON + timedelta(minutes=number),
            )
        )
        if number == 3:
            ledger.record_event(Event("postgres/observatory", "wal_gap", "00A3", NOON))
        if number == 7:
            with ledger.writing() as connection:
                incidents.keep(connection, Transition("opened", "E1", NOON, OPEN))


def damaged(ledger: Ledger, damage: Damage) -> None:
    with ledger.writing() as connection:
        damage(connection)


def told(found: Verified) -> list[tuple[str, str, int | None]]:
    return [(fault.code, fault.subject, fault.seq) for fault in found.faults]


def stored(ledger: Ledger) -> list[ledger_chain.Link]:
    with ledger.reading() as connection:
        return ledger_chain.read(connection)


def test_a_ledger_as_it_was_written_holds(ledger: Ledger) -> None:
    found = verify(ledger)
    assert found.holds
    assert (found.rows, found.head, found.whole) == (COUNT, Head(COUNT, stored(ledger)[-1].link), True)


def test_an_empty_ledger_holds_and_has_no_rows(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as empty:
        assert (verify(empty).rows, verify(empty).head) == (0, START)


@pytest.mark.parametrize("batch", [1, 2, 5, 100])
def test_a_changed_verdict_is_named_with_its_place(
    ledger: Ledger, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "BATCH", batch)
    changed = sa.update(schema.exercises).where(schema.exercises.c.id == "E5")
    damaged(ledger, lambda connection: connection.execute(changed.values(verdict="FAILED")))
    found = verify(ledger)
    assert told(found) == [("row_changed", "exercise E5", 7)]
    assert "postgres/observatory validation, now FAILED" in found.faults[0].message
    assert "position 7, between 6 and 8" in found.faults[0].message


@pytest.mark.parametrize(
    ("table", "values", "subject", "seq"),
    [
        (schema.exercises, {"document": "{}"}, "exercise E0", 1),
        (schema.events, {"subject": "00A4"}, "event 1", 5),
        (schema.transitions, {"cause": "nobody"}, "transition 1", 10),
    ],
)
def test_a_change_of_any_kind_of_row_is_named(
    ledger: Ledger, table: sa.Table, values: dict[str, Any], subject: str, seq: int
) -> None:
    name = subject.split()[1]
    where = table.c.id == (int(name) if name.isdigit() else name)
    damaged(ledger, lambda connection: connection.execute(sa.update(table).where(where).values(values)))
    assert told(verify(ledger)) == [("row_changed", subject, seq)]


def test_a_removed_row_is_named(ledger: Ledger) -> None:
    gone = sa.delete(schema.exercises).where(schema.exercises.c.id == "E4")
    damaged(ledger, lambda connection: connection.execute(gone))
    assert told(verify(ledger)) == [("row_removed", "exercise E4", 6)]


def test_a_row_that_was_slipped_in_is_named(ledger: Ledger) -> None:
    def slip(connection: Connection) -> None:
        row = dict(connection.execute(sa.select(schema.exercises).limit(1)).mappings().one())
        connection.execute(sa.insert(schema.exercises), row | {"id": "FORGED"})

    damaged(ledger, slip)
    assert told(verify(ledger)) == [("row_unchained", "exercise FORGED", None)]


def test_a_row_removed_with_its_link_leaves_a_gap_with_its_place(ledger: Ledger) -> None:
    def remove(connection: Connection) -> None:
        connection.execute(sa.delete(schema.exercises).where(schema.exercises.c.id == "E4"))
        connection.execute(sa.delete(LINKS).where(LINKS.c.row == "E4"))

    damaged(ledger, remove)
    found = verify(ledger)
    assert told(found) == [("link_missing", "position 6", 6)]
    assert "between positions 5 and 7" in found.faults[0].message


def test_a_row_and_its_digest_changed_together_are_found_by_the_link(ledger: Ledger) -> None:
    def forge(connection: Connection) -> None:
        table = schema.exercises
        connection.execute(sa.update(table).where(table.c.id == "E5").values(verdict="UNKNOWN"))
        row = dict(connection.execute(sa.select(table).where(table.c.id == "E5")).mappings().one())
        forged = ledger_chain.digest("exercise", row)
        connection.execute(sa.update(LINKS).where(LINKS.c.row == "E5").values(digest=forged))

    damaged(ledger, forge)
    assert told(verify(ledger)) == [("link_changed", "position 7", 7)]


def test_a_changed_link_is_found_where_it_was_changed_and_nowhere_else(ledger: Ledger) -> None:
    change = sa.update(LINKS).where(LINKS.c.seq == 7).values(link="f" * 64)
    damaged(ledger, lambda connection: connection.execute(change))
    assert told(verify(ledger)) == [("link_changed", "position 7", 7)]


def swap(first: int, second: int, columns: tuple[str, ...]) -> Damage:
    def damage(connection: Connection) -> None:
        rows = {
            row["seq"]: dict(row)
            for row in connection.execute(sa.select(LINKS).where(LINKS.c.seq.in_([first, second]))).mappings()
        }
        free = {"row": "none", "link": "", "digest": ""}  # (kind, row) is unique
        connection.execute(sa.update(LINKS).where(LINKS.c.seq == first).values(free))
        for here, other in ((second, first), (first, second)):
            values = {name: rows[other][name] for name in columns}
            kept = {name: rows[here][name] for name in ("link",) if name not in columns}
            connection.execute(sa.update(LINKS).where(LINKS.c.seq == here).values(values | kept))

    return damage


@pytest.mark.parametrize("columns", [("kind", "row", "digest", "link"), ("kind", "row", "digest")])
@pytest.mark.parametrize(("first", "second"), [(3, 4), (3, 6), (7, 10)])
def test_two_rows_that_changed_places_are_named(
    ledger: Ledger, columns: tuple[str, ...], first: int, second: int
) -> None:
    damaged(ledger, swap(first, second, columns))
    found = verify(ledger)
    moved = [(fault.code, fault.seq) for fault in found.faults]
    assert ("link_moved", first) in moved or ("link_changed", first) in moved, moved
    assert {seq for _, seq in moved} >= {first, second}
    if second == first + 1:
        assert moved == [("link_moved", first), ("link_moved", second)]
        assert "reordered" in found.faults[0].message


def test_a_chain_that_was_renumbered_is_named_from_where_it_was(ledger: Ledger) -> None:
    def remove(connection: Connection) -> None:
        connection.execute(sa.delete(schema.exercises).where(schema.exercises.c.id == "E4"))
        connection.execute(sa.delete(LINKS).where(LINKS.c.seq == 6))
        for seq in range(7, COUNT + 1):
            connection.execute(sa.update(LINKS).where(LINKS.c.seq == seq).values(seq=seq - 1))

    damaged(ledger, remove)
    found = verify(ledger)
    assert found.faults[0].seq == 6
    assert not any(fault.seq is not None and fault.seq < 6 for fault in found.faults)


def test_a_long_chain_that_was_renumbered_is_one_fault(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        for number in range(250):
            ledger.record_event(Event("postgres/observatory", "started", str(number), NOON))

        def renumber(connection: Connection) -> None:
            connection.execute(sa.delete(schema.events).where(schema.events.c.id == 20))
            connection.execute(sa.delete(LINKS).where(LINKS.c.seq == 20))
            connection.execute(sa.update(LINKS).where(LINKS.c.seq > 20).values(seq=LINKS.c.seq + 1000))
            connection.execute(sa.update(LINKS).where(LINKS.c.seq > 1000).values(seq=LINKS.c.seq - 1001))

        damaged(ledger, renumber)
        assert told(verify(ledger)) == [("chain_broken", "position 20", 20)]


def cut(connection: Connection, keep: int) -> None:
    for row in connection.execute(sa.select(LINKS).where(LINKS.c.seq > keep)).mappings().all():
        table = ledger_chain.KINDS[row["kind"]]
        connection.execute(sa.delete(table).where(sa.cast(table.c.id, sa.String) == row["row"]))
    connection.execute(sa.delete(LINKS).where(LINKS.c.seq > keep))


def test_a_cut_off_end_is_found_by_a_signed_head_and_by_nothing_else(ledger: Ledger) -> None:
    signed = Head(*(stored(ledger)[-1].seq, stored(ledger)[-1].link))
    damaged(ledger, lambda connection: cut(connection, 9))
    assert verify(ledger).holds
    found = verify(ledger, heads=[signed])
    assert told(found) == [("chain_truncated", "position 12", 12)]
    assert "the chain ends at 9" in found.faults[0].message


def test_a_chain_computed_anew_is_found_by_a_signed_head(ledger: Ledger) -> None:
    links = stored(ledger)
    early, late = Head(links[2].seq, links[2].link), Head(links[8].seq, links[8].link)

    def forge(connection: Connection) -> None:
        table = schema.exercises
        connection.execute(sa.update(table).where(table.c.id == "E4").values(verdict="FAILED"))
        before = ledger_chain.GENESIS
        for link in links:
            rows = ledger_chain.KINDS[link.kind]
            where = sa.cast(rows.c.id, sa.String) == link.row
            row = dict(connection.execute(sa.select(rows).where(where)).mappings().one())
            digest = ledger_chain.digest(link.kind, row)
            before = ledger_chain.follow(before, link.seq, link.kind, link.row, digest)
            here = sa.update(LINKS).where(LINKS.c.seq == link.seq)
            connection.execute(here.values(digest=digest, link=before))

    damaged(ledger, forge)
    assert verify(ledger).holds
    assert verify(ledger, heads=[early]).holds
    assert told(verify(ledger, heads=[early, late])) == [("chain_rewritten", "position 9", 9)]


def test_only_the_newest_part_is_looked_at_when_the_rest_is_trusted(ledger: Ledger) -> None:
    middle = stored(ledger)[5]
    damaged(
        ledger,
        lambda connection: connection.execute(
            sa.update(schema.exercises)
            .where(schema.exercises.c.id.in_(["E1", "E8"]))
            .values(verdict="UNKNOWN")
        ),
    )
    found = verify(ledger, after=Head(middle.seq, middle.link))
    assert told(found) == [("row_changed", "exercise E8", 11)]
    assert (found.rows, found.whole) == (COUNT - 6, False)


def test_the_digest_is_the_one_that_was_written(ledger: Ledger) -> None:
    """Two computations of one digest, here and where rows are written, must never part."""
    links = stored(ledger)
    with ledger.reading() as connection:
        mine = chain._digests(connection, links)
    assert mine == {(link.kind, link.row): link.digest for link in links}


def test_faults_are_counted_beyond_those_that_are_kept(tmp_path: Path) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        for number in range(120):
            ledger.record_event(Event("postgres/observatory", "started", str(number), NOON))
        damaged(ledger, lambda connection: connection.execute(sa.update(schema.events).values(kind="x")))
        found = verify(ledger)
    assert (found.faults_found, len(found.faults)) == (120, chain.MOST_FAULTS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_single_change_of_any_value_is_found(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever value of whatever row or link is changed to something else, it is found at its own position or the next."""
    file = tmp_path / "any.db"
    for old in tmp_path.glob("any.db*"):
        old.unlink()
    with Ledger.open(f"sqlite:///{file}") as ledger:
        fill(ledger)
        links = stored(ledger)
        link = data.draw(st.sampled_from(links))
        of_chain = data.draw(st.booleans())
        table = LINKS if of_chain else ledger_chain.KINDS[link.kind]
        where = table.c.seq == link.seq if of_chain else sa.cast(table.c.id, sa.String) == link.row
        column = data.draw(
            st.sampled_from([each for each in table.c if each.name not in ("seq", "id", "kind")])
        )
        with ledger.reading() as connection:
            before = connection.execute(sa.select(column).where(where)).scalar_one()
        text = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
        values = st.integers(0, 2**40) if isinstance(column.type, sa.BigInteger) else text
        value = data.draw(values.filter(lambda each: each != before))
        damaged(
            ledger,
            lambda connection: connection.execute(sa.update(table).where(where).values({column: value})),
        )
        found = verify(ledger)
    assert not found.holds
    assert any(fault.seq == link.seq for fault in found.faults), (told(found), json.dumps(link))


def test_a_row_that_was_recorded_twice_is_one_link(ledger: Ledger) -> None:
    again = replace(ledger.find("E9")[0])
    ledger.record(again)
    assert verify(ledger).rows == COUNT
