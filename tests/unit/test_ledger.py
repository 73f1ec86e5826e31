"""The ledger keeps what it was given, in order and to the microsecond, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccobs_ops.core import ledger_engine, ledger_schema
from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.ledger import Beat, Canary, Event, Ledger, LedgerError
from ccobs_ops.inventory_load import loads
from tests.ledger_support import NOON, TARGET, canary, exercise, ledger, server, url

__all__ = ["ledger", "server", "url"]


def ids(found: list[Exercise]) -> list[str]:
    return [each.id for each in found]


def test_an_exercise_comes_back_as_it_was(ledger: Ledger) -> None:
    ledger.record(exercise(1))
    assert ledger.latest(TARGET, "validation") == exercise(1)
    assert ledger.find("x-0000") == [exercise(1)]
    assert ledger.find("x_0000") == []


def test_recording_twice_changes_nothing(ledger: Ledger) -> None:
    ledger.record(exercise(1, Verdict.FAILED))
    ledger.record(exercise(1, Verdict.PASSED))
    assert ledger.tally(TARGET, "validation") == (0, 1, 0)


def test_a_number_that_is_none_does_not_cost_the_row(ledger: Ledger) -> None:
    row = exercise(1)
    row.measurements.update(bad=float("nan"), worse=float("inf"))
    ledger.record(row)
    found = ledger.latest(TARGET, "validation")
    assert found is not None
    assert found.measurements == {"rto_seconds": 1.75}


def test_newest_first_to_the_microsecond_and_across_offsets(ledger: Ledger) -> None:
    tick = timedelta(microseconds=1)
    paris = timezone(timedelta(hours=1))
    ledger.record(exercise(1, at=NOON + tick))
    ledger.record(exercise(2, at=NOON))
    ledger.record(exercise(3, at=(NOON + 2 * tick).astimezone(paris)))
    ledger.record(exercise(4, at=NOON - tick))
    assert ids(ledger.exercises()) == ["x-000003", "x-000001", "x-000002", "x-000004"]
    assert ids(ledger.exercises(since=NOON + tick)) == ["x-000003", "x-000001"]
    assert ids(ledger.exercises(limit=1)) == ["x-000003"]
    found = ledger.latest(TARGET, "validation")
    assert found is not None
    assert found.finished_at == NOON + 2 * tick


def test_a_moment_without_a_time_zone_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        ledger.exercises(since=datetime(2026, 1, 1))


def test_exercises_are_found_by_what_they_are(ledger: Ledger) -> None:
    ledger.record(exercise(1, Verdict.PASSED))
    ledger.record(exercise(2, Verdict.FAILED))
    ledger.record(exercise(3, Verdict.UNKNOWN))
    ledger.record(exercise(4, Verdict.FAILED, target="postgres/other"))
    ledger.record(exercise(5, Verdict.FAILED, capability="backup"))
    assert ids(ledger.exercises(target=TARGET, capability="validation")) == [
        "x-000003",
        "x-000002",
        "x-000001",
    ]
    assert ids(ledger.exercises(verdict=Verdict.FAILED)) == ["x-000005", "x-000004", "x-000002"]
    assert ids(ledger.exercises(capability="backup")) == ["x-000005"]
    passed = ledger.last_passed(TARGET, "validation")
    assert passed is not None
    assert passed.id == "x-000001"
    assert ledger.last_passed("postgres/other", "validation") is None
    assert ledger.latest("postgres/none", "validation") is None


def test_the_streak_begins_after_the_last_failure(ledger: Ledger) -> None:
    assert ledger.streak(TARGET, "validation") == 0
    verdicts = ["PASSED", "FAILED", "PASSED", "UNKNOWN", "PASSED", "PASSED"]
    for number, verdict in enumerate(verdicts):
        ledger.record(exercise(number, Verdict(verdict)))
    ledger.record(exercise(99, Verdict.FAILED, capability="backup"))
    assert ledger.streak(TARGET, "validation") == 3
    assert ledger.tally(TARGET, "validation") == (4, 1, 1)
    ledger.record(exercise(100, Verdict.FAILED))
    assert ledger.streak(TARGET, "validation") == 0


def test_canaries(ledger: Ledger) -> None:
    assert ledger.last_canary(TARGET) is None
    for seq in (3, 1, 2, 10):
        assert ledger.record_canary(canary(seq))
    ledger.record_canary(canary(11, target="postgres/other"))
    assert ledger.canaries(TARGET) == [canary(1), canary(2), canary(3), canary(10)]
    assert [each.seq for each in ledger.canaries(TARGET, first_seq=2, last_seq=3)] == [2, 3]
    two, three = NOON + timedelta(seconds=2), NOON + timedelta(seconds=3)
    assert [each.seq for each in ledger.canaries(TARGET, after=two)] == [2, 3, 10]
    assert [each.seq for each in ledger.canaries(TARGET, before=three)] == [1, 2]
    assert ledger.last_canary(TARGET) == canary(10)


def test_the_first_record_of_a_canary_stays(ledger: Ledger) -> None:
    ledger.record_canary(canary(1))
    again = Canary(TARGET, 1, 2, NOON, 1, 2, reconciled=True)
    assert not ledger.record_canary(again)
    assert ledger.record_canaries([again, canary(2)]) == 1
    assert ledger.record_canaries([]) == 0
    assert ledger.canaries(TARGET) == [canary(1), canary(2)]


def test_pruned_canaries_are_gone_and_no_others(ledger: Ledger) -> None:
    ledger.record_canaries([canary(seq) for seq in range(5)])
    ledger.record_canaries([canary(seq, target="postgres/other") for seq in range(5)])
    assert ledger.prune_canaries(TARGET, NOON + timedelta(seconds=3)) == 3
    assert [each.seq for each in ledger.canaries(TARGET)] == [3, 4]
    assert len(ledger.canaries("postgres/other")) == 5


def test_a_day_of_canaries_is_read_in_seconds(ledger: Ledger) -> None:
    many = [canary(seq) for seq in range(100_000)]
    for first in range(0, len(many), 10_000):
        assert ledger.record_canaries(many[first : first + 10_000]) == 10_000
    began = time.monotonic()
    assert ledger.canaries(TARGET) == many
    assert time.monotonic() - began < 5  # 0.4 s on an idle machine


def test_events(ledger: Ledger) -> None:
    first = Event(TARGET, "wal_gap", "A3", NOON, {"bytes": 16})
    second = Event(TARGET, "agent_started", "host", NOON + timedelta(seconds=1))
    third = Event("postgres/other", "wal_gap", "A4", NOON + timedelta(seconds=2))
    for event in (second, first, third):
        ledger.record_event(event)
    assert ledger.events() == [third, second, first]
    assert ledger.events(TARGET) == [second, first]
    assert ledger.events(kind="wal_gap", since=NOON + timedelta(seconds=1)) == [third]
    assert ledger.events(limit=1) == [third]


def test_the_last_sign_of_life(ledger: Ledger) -> None:
    assert ledger.heartbeat(TARGET, "wal") is None
    ledger.beat(TARGET, "wal", NOON, {"segment": "A3"})
    ledger.beat(TARGET, "canary", NOON, {})
    ledger.beat(TARGET, "wal", NOON + timedelta(seconds=1), {"segment": "A4"})
    assert ledger.heartbeat(TARGET, "wal") == Beat(
        TARGET, "wal", NOON + timedelta(seconds=1), {"segment": "A4"}
    )


def test_a_ledger_that_is_up_to_date_opens_without_alembic(url: str) -> None:
    script = (
        "import sys; from ccobs_ops.core.ledger import Ledger; "
        "Ledger.open(sys.argv[1]).close(); print('alembic' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    told = [
        subprocess.run(
            [sys.executable, "-c", script, url], cwd=root, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]
    assert [each.stdout.strip() for each in told] == ["True", "False"]


def test_a_ledger_from_a_newer_version_is_refused(url: str) -> None:
    with Ledger.open(url) as ledger, ledger._writer.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {ledger_schema.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(UsageError, match="9999") as caught:
        Ledger.open(url)
    assert "upgrade ccobs-ops" in caught.value.hint


def test_the_migrations_make_what_the_code_expects(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    folder = Path(ledger_engine.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_current_head() == ledger_schema.HEAD
    with Ledger.open(url) as ledger, ledger._engine.connect() as connection:
        options = {"version_table": ledger_schema.VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, ledger_schema.metadata) == []


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("target = 't' AND capability = 'c'", "ccobs_exercises_latest"),
        ("target = 't' AND capability = 'c' AND verdict = 'PASSED'", "ccobs_exercises_verdict"),
        ("1 = 1", "ccobs_exercises_newest"),
    ],
)
def test_the_latest_is_found_by_an_index_without_sorting(tmp_path: Path, query: str, index: str) -> None:
    with Ledger.open(f"sqlite:///{tmp_path}/l.db") as ledger, ledger._read() as connection:
        order = "ORDER BY finished_at DESC, id DESC LIMIT 1"
        plan = connection.exec_driver_sql(
            f"EXPLAIN QUERY PLAN SELECT document FROM ccobs_exercises WHERE {query} {order}"
        ).all()
    text = " ".join(str(row) for row in plan)
    assert index in text
    assert "TEMP B-TREE" not in text


def test_the_sqlite_file_is_private_and_durable(tmp_path: Path) -> None:
    file = tmp_path / "new" / "deep" / "ledger.db"
    previous = os.umask(0)
    try:
        with Ledger.open(f"sqlite:///{file}") as ledger:
            ledger.record(exercise(1))
            modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}
            with ledger._read() as connection:
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
                assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    finally:
        os.umask(previous)
    assert modes["ledger.db"] == 0o600
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_what_is_no_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bad in ("nonsense", "mysql://h/d", "sqlite://", "sqlite:///:memory:"):
        with pytest.raises(UsageError) as caught:
            Ledger.open(bad)
        assert "sqlite:///ledger.db" in caught.value.hint
    (tmp_path / "text.db").write_text("this is no database, whatever its name says. " * 50)
    with pytest.raises(LedgerError, match="not a database"):
        Ledger.open(f"sqlite:///{tmp_path}/text.db")
    with pytest.raises(LedgerError, match="cannot be created"):
        Ledger.open(f"sqlite:///{tmp_path}/text.db/below.db")
    with pytest.raises(LedgerError) as unreachable:
        Ledger.open("postgresql://someone:hunter22@127.0.0.1:1/ledger?connect_timeout=2")
    assert "hunter22" not in str(unreachable.value)
    assert unreachable.value.exit_status == 3


def test_a_writer_waits_for_another_and_then_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_engine, "BUSY_SECONDS", 1)
    with Ledger.open(f"sqlite:///{tmp_path}/l.db") as ledger:
        other = sqlite3.connect(tmp_path / "l.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="locked"):
            ledger.record(exercise(1))
        other.execute("COMMIT")
        other.close()
        ledger.record(exercise(1))
        assert ledger.find("x-000001")


def test_the_inventory_says_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "version: 1\nenvironment: lab\n"
    monkeypatch.setenv("LEDGER_URL", f"sqlite:///{tmp_path}/by-env.db")
    monkeypatch.chdir("/")
    for line, file in (
        ("", "ledger.db"),
        ("ledger: sqlite:///below/l.db\n", "below/l.db"),
        (f"ledger: sqlite:///{tmp_path}/absolute.db\n", "absolute.db"),
        ("ledger: env:LEDGER_URL\n", "by-env.db"),
    ):
        Ledger.of(loads(text + line, tmp_path / "inventory.yaml")).close()
        assert (tmp_path / file).stat().st_size > 0


def test_documents_are_plain_json(ledger: Ledger) -> None:
    """Whoever reads the database with other tools finds JSON."""
    ledger.record(exercise(1))
    with ledger._read() as connection:
        text = connection.scalar(sa.select(ledger_schema.exercises.c.document))
    assert json.loads(text) == exercise(1).to_json()


def test_a_snapshot_is_of_one_moment_and_of_one_thread(ledger: Ledger) -> None:
    ledger.record(exercise(1))
    with ledger.snapshot():
        assert len(ledger.exercises()) == 1
        with ThreadPoolExecutor(1) as other:
            other.submit(ledger.record, exercise(2)).result()
            assert len(other.submit(ledger.exercises).result()) == 2
        with ledger.snapshot():
            assert len(ledger.exercises()) == 1
        assert len(ledger.exercises()) == 1
    assert len(ledger.exercises()) == 2


@pytest.mark.parametrize("cut", [True, False], ids=["cut off", "another file"])
def test_a_file_that_is_damaged_is_said_to_be(tmp_path: Path, cut: bool) -> None:
    path = tmp_path / "ledger.db"
    if cut:
        with Ledger.open(f"sqlite:///{path}") as ledger:
            for number in range(50):
                ledger.record(exercise(number))
        path.write_bytes(path.read_bytes()[:20_000])
    else:
        path.write_bytes(b"no database at all " * 100)
    with pytest.raises(LedgerError) as raised, Ledger.open(f"sqlite:///{path}") as ledger:
        ledger.exercises()
    assert "is damaged: keep it" in raised.value.hint
