"""`postgres restore` as an operator uses it: to every kind of target, exact or clearly refused."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.postgres.wal import parse_lsn
from ccobs_ops.core.units import parse_moment
from ccobs_ops.lab.ports import free_base
from tests.postgres_support import NAME, Estate, copy_of, estate_in, wait_for, why


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A quiet lab (no writer) with a full and an incremental backup."""
    with estate_in(tmp_path_factory.mktemp("restore") / "lab", "us", "postgres", "agent") as estate:
        yield estate


@pytest.fixture
def place(estate: Estate, tmp_path: Path) -> Path:
    """An absent folder that the server's account can reach."""
    return estate.lab.plan.home / "restores" / tmp_path.name


@pytest.fixture(autouse=True)
def _restores_folder(estate: Estate) -> None:
    folder = estate.lab.plan.home / "restores"
    folder.mkdir(mode=0o711, exist_ok=True)


def _marks(connection: object) -> list[str]:
    return [row[0] for row in connection.execute("select text from marks order by id").fetchall()]  # type: ignore[attr-defined]


def test_to_the_instant_of_a_commit_has_it_and_the_microsecond_before_has_not(
    estate: Estate, place: Path
) -> None:
    at, xid = estate.commit_marked("instant")
    estate.commit_marked("after the instant")
    estate.await_archived(at + timedelta(seconds=1))
    with_it = estate.restore(place / "with", at=at, start=True, port=free_base([0]))
    assert with_it.verdict is Verdict.PASSED, why(with_it)
    with copy_of(with_it, estate) as copy:
        assert _marks(copy)[-1] == "instant"
        assert copy.execute("select pg_is_in_recovery()").fetchone() == (False,)
    without = estate.restore(
        place / "without", at=at - timedelta(microseconds=1), start=True, port=free_base([0])
    )
    assert without.verdict is Verdict.PASSED, why(without)
    with copy_of(without, estate) as copy:
        assert "instant" not in _marks(copy)
    before = estate.restore(place / "xid", before_xid=xid, start=True, port=free_base([0]))
    assert before.verdict is Verdict.PASSED, why(before)
    with copy_of(before, estate) as copy:
        assert "instant" not in _marks(copy) and "after the instant" not in _marks(copy)


def test_incremental_chain_to_an_lsn(estate: Estate, place: Path) -> None:
    estate.commit_marked("in the incremental backup")
    backup = estate.backup(incremental=True)
    assert backup.verdict is Verdict.PASSED, why(backup)
    estate.commit_marked("up to the LSN")
    lsn = estate.sql("select pg_current_wal_insert_lsn()::text")[0][0]
    last, _ = estate.commit_marked("beyond the LSN")
    estate.await_archived(last + timedelta(seconds=1))
    done = estate.restore(place, lsn=parse_lsn(lsn), start=True, port=free_base([0]))
    assert done.verdict is Verdict.PASSED, why(done)
    assert done.details["backup_id"].endswith("-incr")
    with copy_of(done, estate) as copy:
        assert "up to the LSN" in _marks(copy)
        assert "beyond the LSN" not in _marks(copy)
        assert (
            copy.execute("select count(*) from messages").fetchone()
            == estate.sql("select count(*) from messages")[0]
        )


def test_paused_at_the_target_is_readable_and_waits(estate: Estate, place: Path) -> None:
    at, _ = estate.commit_marked("pause here")
    estate.commit_marked("not yet")
    estate.await_archived(at + timedelta(seconds=1))
    done = estate.restore(place, at=at, start=True, port=free_base([0]), action="pause")
    assert done.verdict is Verdict.PASSED, why(done)
    with copy_of(done, estate) as copy:
        assert copy.execute("select pg_is_in_recovery()").fetchone() == (True,)
        assert _marks(copy)[-1] == "pause here"
        copy.execute("select pg_wal_replay_resume()")
        wait_for(
            lambda: copy.execute("select pg_is_in_recovery()").fetchone() == (False,),
            20,
            "the copy to be promoted",
        )


def test_the_printed_commands_start_a_restore_that_needs_no_store(estate: Estate, place: Path) -> None:
    at, _ = estate.commit_marked("by hand")
    estate.await_archived(at)
    done = estate.restore(place, latest=True)
    assert done.verdict is Verdict.PASSED, why(done)
    port = free_base([0])
    start, tidy = done.details["next"]
    estate.lab.stop_service("us")
    try:
        words = [*shlex.split(start), "-o", f"-c port={port}"]  # production's port is taken in this lab
        subprocess.run(
            words, check=True, timeout=60, cwd="/", stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        subprocess.run(shlex.split(tidy), check=True, timeout=60)
    finally:
        estate.lab.start_service("us")
    faked = type(done)(**{**_fields(done), "details": done.details | {"port": port}})
    with copy_of(faked, estate) as copy:
        assert "by hand" in _marks(copy)


def _fields(exercise: object) -> dict[str, object]:
    return {name: getattr(exercise, name) for name in exercise.__slots__}  # type: ignore[attr-defined]


def test_an_idle_database_is_refused_beyond_its_newest_commit(estate: Estate, place: Path) -> None:
    estate.lab.break_("canary-stopped")
    try:
        wait_for(lambda: _idle_seconds(estate) > 3, 20, "an idle database")
        newest = datetime.fromisoformat(estate.window().details["newest_commit"]["at"])
        refused = estate.restore(place / "now", at=estate.now())
        assert refused.verdict is Verdict.FAILED
        assert "outside the recovery window" in refused.reason
        assert newest.strftime("%Y-%m-%dT%H:%M:%S") in refused.findings[-1].hint
        assert not (place / "now").exists()
        exact = estate.restore(place / "newest", at=newest, start=True, port=free_base([0]))
        assert exact.verdict is Verdict.PASSED, why(exact)
        with copy_of(exact, estate) as copy:
            assert copy.execute("select pg_is_in_recovery()").fetchone() == (False,)
    finally:
        estate.lab.heal("canary-stopped")
        wait_for(lambda: _idle_seconds(estate) < 3, 20, "canaries again")


def _idle_seconds(estate: Estate) -> float:
    at = estate.sql("select timestamp from pg_last_committed_xact()")[0][0]
    return (estate.now() - at.astimezone(UTC)).total_seconds()


@pytest.mark.parametrize(
    "shift", [timedelta(days=-2), timedelta(days=1)], ids=["before the first backup", "in the future"]
)
def test_outside_the_window_is_refused_with_the_window(estate: Estate, place: Path, shift: timedelta) -> None:
    refused = estate.restore(place, at=estate.now() + shift)
    assert refused.verdict is Verdict.FAILED
    assert "outside the recovery window" in refused.reason
    assert "what can be restored: 20" in refused.findings[-1].hint
    assert not place.exists()


def test_another_time_zones_notation_and_a_leap_of_the_day_mean_the_same_moment(
    estate: Estate, place: Path
) -> None:
    at, _ = estate.commit_marked("time zone")
    estate.commit_marked("later")
    estate.await_archived(at + timedelta(seconds=1))
    local = at.astimezone(UTC) + timedelta(hours=14)  # the next day's date in Kiritimati
    written = local.strftime("%Y-%m-%dT%H:%M:%S.%f") + "+14:00"
    assert parse_moment(written) == at
    done = estate.restore(place, at=parse_moment(written), start=True, port=free_base([0]))
    assert done.verdict is Verdict.PASSED, why(done)
    with copy_of(done, estate) as copy:
        assert _marks(copy)[-1] == "time zone"


def test_the_archive_is_read_by_stock_tools(estate: Estate, tmp_path: Path) -> None:
    import io
    import tarfile

    import zstandard

    entry = next(e for e in estate.archive.catalogue()[0] if not e.incremental)
    store = estate.archive.store
    stream = b"".join(store.get(estate.archive.key(part.key)) for part in entry.parts)
    plain = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(stream), read_across_frames=True).read()
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        archive.extractall(tmp_path, filter="data")
    assert (tmp_path / "PG_VERSION").read_text().strip() == str(entry.major)
    for folder in ("pg_wal", "base"):
        assert (tmp_path / folder).is_dir()
    tools = estate.cluster.tools(entry.major)
    checked = subprocess.run(
        [tools["pg_verifybackup"], "--no-parse-wal", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_a_ledger_that_is_gone_stops_no_restore(estate: Estate, place: Path, tmp_path: Path) -> None:
    import yaml

    document = yaml.safe_load(estate.lab.inventory_path.read_text())
    document["ledger"] = "postgresql://nobody@127.0.0.1:1/ledger"
    inventory = estate.lab.directory / "no-ledger.yaml"
    inventory.write_text(yaml.safe_dump(document))
    command = [sys.executable, "-m", "ccobs_ops.cli.main", "--inventory", str(inventory), "postgres"]
    for words in (["window"], ["restore", "--latest", "--to", str(place)]):
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "ledger-offline.db" in done.stderr
    inventory.unlink()
    assert (place / "PG_VERSION").exists()


def test_only_the_wal_up_to_the_target_is_brought(estate: Estate, place: Path) -> None:
    at, _ = estate.commit_marked("early")
    # the first canary after the target bounds what is brought: on a busy machine it may be seconds late
    target = f"postgres/{NAME}"
    wait_for(
        lambda: (last := estate.ctx.ledger.last_canary(target)) and last.committed_at > at, 30, "a canary"
    )
    for _ in range(6):
        estate.sql("select pg_logical_emit_message(true, 'x', 'x')")
        estate.switch_wal()
    estate.await_archived(estate.now())
    early = estate.restore(place / "early", at=at)
    latest = estate.restore(place / "latest", latest=True)
    brought = [
        sum(1 for path in folder.glob("ccobs_recovery_*/ready/*"))
        for folder in (place / "early", place / "latest")
    ]
    assert early.verdict is latest.verdict is Verdict.PASSED
    assert brought[0] <= brought[1] - 4, brought
    started = estate.restore(place / "started", at=at, start=True, port=free_base([0]))
    assert started.verdict is Verdict.PASSED, why(started)
    with copy_of(started, estate) as copy:
        assert _marks(copy)[-1] == "early"


def test_a_folder_with_anything_in_it_is_left_alone(estate: Estate, place: Path) -> None:
    place.mkdir(parents=True)
    (place / "precious").write_text("keep")
    with pytest.raises(UsageError, match="not an empty folder"):
        estate.restore(place, latest=True)
    assert (place / "precious").read_text() == "keep"
    assert [path.name for path in place.iterdir()] == ["precious"]


def test_a_port_in_use_leaves_the_data_whole_and_says_so(estate: Estate, place: Path) -> None:
    taken = estate.sql("show port")[0][0]
    done = estate.restore(place, latest=True, start=True, port=int(taken))
    assert done.verdict is Verdict.FAILED
    assert "does not run" in done.reason
    assert "is whole" in done.findings[-1].hint
    assert (place / "PG_VERSION").exists() and not (place / "postmaster.pid").exists()


def test_a_retention_dry_run_deletes_nothing_and_names_the_key_that_is_missing(estate: Estate) -> None:
    from ccobs_ops.core.errors import RefusedError
    from ccobs_ops.core.postgres.retention import prune

    before = [entry.id for entry in estate.archive.catalogue()[0]]
    assert prune(estate.ctx, "observatory").details["dry_run"] is True
    with pytest.raises(RefusedError, match="not confirmed"):
        prune(estate.ctx, "observatory", dry_run=False, confirmation="observatory")
    assert [entry.id for entry in estate.archive.catalogue()[0]] == before
