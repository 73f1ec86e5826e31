"""Each proof is broken on purpose and must notice: a check that cannot fail proves nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ccobs_ops.core.errors import RefusedError
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.postgres import instance
from ccobs_ops.core.postgres.retention import prune
from ccobs_ops.inventory import DataCheck, Retention
from tests.postgres_support import NAME, Estate, codes, estate_in, wait_for, why


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A quiet lab with one backup; every test here puts back what it broke."""
    with estate_in(tmp_path_factory.mktemp("detectors") / "lab", "us", "postgres", "agent") as estate:
        yield estate


def _with(estate: Estate, **changes: object) -> Estate:
    """The estate with some keys of its PostgreSQL target changed."""
    target = estate.ctx.inventory.postgres[NAME].model_copy(update=changes)
    inventory = estate.ctx.inventory.model_copy(update={"postgres": {NAME: target}})
    return Estate(estate.lab, replace(estate.ctx, inventory=inventory))


def test_a_canary_that_did_not_come_back_is_named(estate: Estate) -> None:
    wait_for(lambda: estate.sql("select max(seq) from ccobs.canary")[0][0] > 6, 20, "some canaries")
    seq = estate.sql("select max(seq) - 3 from ccobs.canary")[0][0]
    at = estate.now()
    row = estate.sql("delete from ccobs.canary where seq = %s returning seq, written_at", seq)[0]
    estate.await_archived(estate.now())
    lost = estate.validate()
    assert lost.verdict is Verdict.FAILED, why(lost)
    assert any(f.code == "canary_missing" and f.subject == str(seq) for f in lost.findings), lost.findings
    assert lost.measurements["canaries_present"] == lost.measurements["canaries_expected"] - 1
    before = estate.validate(at=at)
    assert before.verdict is Verdict.PASSED, f"before the row was deleted it was there: {why(before)}"
    estate.sql("insert into ccobs.canary (seq, written_at) values (%s, %s)", *row)
    estate.await_archived(estate.now())
    assert estate.validate().verdict is Verdict.PASSED


def test_a_canary_from_nowhere_is_named(estate: Estate) -> None:
    seq = estate.sql("select max(seq) + 100000 from ccobs.canary")[0][0]
    estate.sql("insert into ccobs.canary (seq) values (%s)", seq)
    estate.await_archived(estate.now())
    extra = estate.validate()
    estate.sql("delete from ccobs.canary where seq = %s", seq)
    assert extra.verdict is Verdict.FAILED, why(extra)
    assert any(f.code == "canary_unexpected" and str(seq) in f.subject for f in extra.findings)


def test_a_recovery_point_that_is_not_the_one_asked_for(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, _ = estate.commit_marked("stop here")
    estate.await_archived(at + timedelta(seconds=4))
    real = instance.recovery_settings

    def too_late(plan: object, folder: Path, action: str) -> dict[str, str]:
        settings = real(plan, folder, action)  # type: ignore[arg-type]
        late = at + timedelta(seconds=3)
        return settings | {"recovery_target_time": late.strftime("%Y-%m-%d %H:%M:%S.%f+00")}

    monkeypatch.setattr(instance, "recovery_settings", too_late)
    wrong = estate.validate(at=at)
    exact = wrong.claim("exact")
    assert exact is not None and exact.verdict is Verdict.FAILED, why(wrong)


def test_a_copy_that_listens_or_archives_is_not_isolated(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = instance.isolated_settings
    for sabotage in (
        {"listen_addresses": "127.0.0.1", "port": "0"},
        {"archive_mode": "on", "archive_command": "true"},
    ):
        if "port" in sabotage:
            from ccobs_ops.lab.ports import free_base

            sabotage["port"] = str(free_base([0]))
        monkeypatch.setattr(instance, "isolated_settings", lambda *a, bad=sabotage: real(*a) | bad)
        if "port" in sabotage:
            monkeypatch.setenv("PGPORT", sabotage["port"])
        validation = estate.validate()
        monkeypatch.delenv("PGPORT", raising=False)
        claim = validation.claim("isolated")
        assert claim is not None and claim.verdict is Verdict.FAILED, why(validation)
        assert "not_isolated" in codes(validation)


def test_damage_that_production_carries_is_found_in_the_copy(estate: Estate) -> None:
    estate.sql("create table keyed (id int, word text)")
    estate.sql("insert into keyed select g, 'word ' || g from generate_series(1, 500) g")
    estate.sql("create function shape(text) returns text language sql immutable as 'select $1'")
    estate.sql("create index keyed_shape on keyed (shape(word))")
    estate.sql(
        "create or replace function shape(text) returns text language sql immutable as 'select $1 || ''!'''"
    )
    estate.await_archived(estate.now())
    broken = estate.validate()
    estate.sql("drop table keyed")
    estate.sql("drop function shape(text)")
    assert broken.verdict is Verdict.FAILED, why(broken)
    assert "amcheck_failed" in codes(broken)
    assert any("keyed_shape" in finding.message for finding in broken.findings)


def test_a_damaged_page_stops_the_backup_and_is_named(estate: Estate) -> None:
    estate.sql(
        "create table pages as select g as id, repeat('x', 500) as filler from generate_series(1, 200) g"
    )
    estate.sql("checkpoint")
    relative = estate.sql("select pg_relation_filepath('pages')")[0][0]
    data = Path(estate.sql("show data_directory")[0][0])
    with (data / relative).open("r+b") as file:
        file.seek(5000)
        original = file.read(8)
        file.seek(5000)
        file.write(bytes(b ^ 0xFF for b in original))
        file.flush()
        os.fsync(file.fileno())
    listed = len(estate.archive.catalogue()[0])
    backup = estate.backup()
    estate.sql("drop table pages")
    assert backup.verdict is Verdict.FAILED, why(backup)
    assert "checksum" in backup.reason + str(backup.findings)
    assert len(estate.archive.catalogue()[0]) == listed
    root = estate.archive.key("backups/")
    stored = {item.key.removeprefix(root).split("/")[0] for item in estate.archive.store.list(root)}
    assert stored == {entry.id for entry in estate.archive.catalogue()[0]}, "nothing half is left"
    assert estate.backup().verdict is Verdict.PASSED


def test_data_checks_pass_fail_and_do_not_know(estate: Estate) -> None:
    estate.sql(
        "create table if not exists ledgered (id int primary key, amount int, at timestamptz default now())"
    )
    estate.sql("insert into ledgered values (1, 10, now() - interval '1 hour') on conflict do nothing")
    estate.await_archived(estate.now())
    at = estate.now()
    estate.await_archived(at)
    total = DataCheck(name="total", sql="select sum(amount) from ledgered where at < :cutoff", compare=True)
    ten = DataCheck(name="ten", sql="select sum(amount) from ledgered", expect=10)
    good = _with(estate, checks=(total, ten)).validate(at=at)
    assert good.claim("data_checks").verdict is Verdict.PASSED, why(good)  # type: ignore[union-attr]
    wrong = _with(
        estate, checks=(DataCheck(name="eleven", sql="select sum(amount) from ledgered", expect=11),)
    )
    assert wrong.validate(at=at).claim("data_checks").verdict is Verdict.FAILED  # type: ignore[union-attr]
    estate.sql("update ledgered set amount = 12")
    changed = _with(estate, checks=(total,)).validate(at=at)
    assert changed.verdict is Verdict.FAILED, why(changed)
    assert "the copy gives 10, production 12" in changed.reason
    unreachable = _with(estate, checks=(total,), dsn="host=127.0.0.1 port=1 user=ccobs dbname=observatory")
    unknown = unreachable.validate(at=at)
    assert unknown.verdict is Verdict.UNKNOWN, why(unknown)
    assert "cannot be asked" in unknown.claim("data_checks").reason  # type: ignore[union-attr]


def test_objectives_that_are_not_kept_fail(estate: Estate) -> None:
    objectives = estate.cluster.config.objectives
    hasty = objectives.model_copy(
        update={
            "rto": timedelta(milliseconds=1),
            "rpo": timedelta(microseconds=1),
            "backup_duration": timedelta(milliseconds=1),
        }
    )
    hurried = _with(estate, objectives=hasty)
    validation = hurried.validate()
    assert {c.name for c in validation.claims if c.verdict is Verdict.FAILED} == {"rto", "rpo"}, why(
        validation
    )
    backup = hurried.backup()
    assert backup.claim("complete").verdict is Verdict.PASSED  # type: ignore[union-attr]
    assert backup.claim("in_time").verdict is Verdict.FAILED  # type: ignore[union-attr]
    stale = _with(
        estate, objectives=objectives.model_copy(update={"backup_age": timedelta(milliseconds=1)})
    ).window()
    assert stale.claim("fresh").verdict is Verdict.FAILED  # type: ignore[union-attr]


def test_retention_keeps_what_the_window_needs_and_the_guard_keeps_the_rest(estate: Estate) -> None:
    for options in ({}, {"incremental": True}, {}):
        assert estate.backup(**options).verdict is Verdict.PASSED
    estate.switch_wal()
    time.sleep(1.5)
    entries = estate.archive.catalogue()[0]
    short = _with(estate, retention=Retention(backups=1, window=timedelta(seconds=1)))
    forbidden = _with(estate, retention=Retention(backups=1, window=timedelta(seconds=1)), allow=())
    with pytest.raises(RefusedError, match="does not allow"):
        prune(forbidden.ctx, NAME, dry_run=False, confirmation=estate.cluster.target)
    assert estate.archive.catalogue()[0] == entries
    done = prune(short.ctx, NAME, dry_run=False, confirmation=estate.cluster.target)
    assert done.verdict is Verdict.PASSED, why(done)
    kept = [entry.id for entry in estate.archive.catalogue()[0]]
    assert kept == [entries[-1].id]
    assert not list(estate.archive.store.list(estate.archive.key(f"backups/{entries[0].id}/")))
    window = estate.window(deep=True)
    assert window.verdict is Verdict.PASSED, why(window)
    estate.await_archived(estate.now())
    validation = estate.validate(strategy="after-backup", seed=2)
    assert validation.verdict is Verdict.PASSED, why(validation)


def test_wal_that_the_server_removed_before_it_was_archived_is_recorded_as_a_gap(estate: Estate) -> None:
    estate.sql("alter system set max_slot_wal_keep_size = '32MB'")
    estate.sql("alter system set min_wal_size = '32MB'")
    estate.sql("alter system set max_wal_size = '48MB'")
    estate.sql("select pg_reload_conf()")
    estate.lab.stop_service("agent")
    for _ in range(8):
        estate.sql("create table if not exists churn (x text)")
        estate.sql("insert into churn select repeat('c', 1000) from generate_series(1, 12000)")
        estate.sql("select pg_switch_wal()")
        estate.sql("checkpoint")
    status = estate.sql("select wal_status from pg_replication_slots")[0][0]
    assert status == "lost", f"the test needs a slot that fell behind, it is {status}"
    refused = estate.backup()
    assert refused.verdict is Verdict.FAILED and "is lost" in refused.reason, why(refused)
    estate.lab.start_service("agent")
    wait_for(lambda: "wal_gap" in codes(estate.window()), 40, "the gap in the window")
    events = [event for event in estate.ctx.ledger.events(estate.cluster.target) if event.kind == "wal_gap"]
    assert events, "the gap is on record"
    window = estate.window()
    assert window.verdict is Verdict.FAILED
    assert "missing from the archive" in window.reason
    estate.sql("drop table churn")
    assert estate.backup().verdict is Verdict.PASSED
    estate.await_archived(estate.now())
    validation = estate.validate()
    assert validation.verdict is Verdict.PASSED, f"from the new backup on all is well: {why(validation)}"
