"""Every fault of the lab is found and named, and gone after healing and a new backup."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ccobs_ops.core.exercise import Exercise, Verdict
from tests.postgres_support import Estate, codes, estate_in, wait_for, why


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A lab with a backup and a few archived segments, for this module alone."""
    with estate_in(tmp_path_factory.mktemp("faults") / "lab", "us", "postgres", "writer", "agent") as estate:
        for _ in range(3):
            estate.switch_wal()
        yield estate


def _healthy(estate: Estate) -> None:
    """After healing and a new backup, both exercises pass."""
    wait_for(lambda: estate.window().verdict is Verdict.PASSED, 40, "the window to pass again")
    backup = estate.backup()
    assert backup.verdict is Verdict.PASSED, why(backup)
    validation = estate.validate()
    assert validation.verdict is Verdict.PASSED, why(validation)
    assert validation.measurements["canaries_expected"] > 0
    assert validation.measurements["canaries_present"] == validation.measurements["canaries_expected"]
    window = estate.window()
    assert window.verdict is Verdict.PASSED, why(window)


def _named(exercise: Exercise, code: str, subject: str) -> None:
    assert exercise.verdict is Verdict.FAILED, why(exercise)
    assert any(f.code == code and subject in f.subject + f.message for f in exercise.findings), (
        f"no finding {code} names {subject}: {exercise.findings}"
    )


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("wal-gap", "wal_gap"),
        ("wal-corrupt", "wal_corrupt"),
        ("backup-corrupt", "backup_part_corrupt"),
        ("backup-missing", "backup_part_missing"),
        ("manifest-missing", "manifest_missing"),
    ],
)
def test_damage_in_the_store_is_named_object_by_object(estate: Estate, fault: str, code: str) -> None:
    damage = estate.lab.break_(fault, seed=7)
    window = estate.window()
    (key,) = damage.keys
    subject = Path(key).name.split("-")[0] if "/wal/" in key else key
    _named(window, code, subject)
    estate.lab.heal(fault)
    _healthy(estate)


def test_damaged_only_backup_fails_the_validation_itself(estate: Estate) -> None:
    for entry in estate.archive.catalogue()[0][:-1]:
        _forget(estate, entry.id)
    estate.lab.break_("backup-corrupt", seed=3)
    validation = estate.validate()
    assert validation.verdict is Verdict.FAILED, why(validation)
    assert "backup_part_corrupt" in codes(validation)
    estate.lab.heal("backup-corrupt")
    _healthy(estate)


def _forget(estate: Estate, backup_id: str) -> None:
    from ccobs_ops.core.guard import permit
    from ccobs_ops.core.postgres.layout import catalogue_key

    allowed = permit("test", backup_id, allowed={"test"}, dry_run=False, confirmation=backup_id)
    estate.archive.store.delete(estate.archive.key(catalogue_key(backup_id)), allowed)


def test_archiver_stopped_is_a_growing_loss(estate: Estate) -> None:
    estate.lab.break_("archiver-stopped")
    limit = estate.cluster.config.objectives.rpo.total_seconds()
    time.sleep(limit + 3)
    window = estate.window()
    assert window.verdict is Verdict.FAILED, why(window)
    assert "archive_behind" in codes(window)
    assert window.measurements["rpo_seconds"] > limit
    estate.lab.heal("archiver-stopped")
    _healthy(estate)


def test_store_down_is_unknown_never_a_pass(estate: Estate) -> None:
    estate.lab.break_("store-down")
    window, validation, backup = estate.window(), estate.validate(), estate.backup()
    assert [e.verdict for e in (window, validation)] == [Verdict.UNKNOWN] * 2, why(window) + why(validation)
    assert backup.verdict is not Verdict.PASSED, why(backup)
    assert all("us" in e.reason for e in (window, validation))
    estate.lab.heal("store-down")
    _healthy(estate)


def test_canary_stopped_is_unknown_because_nothing_tells_what_is_lost(estate: Estate) -> None:
    estate.lab.break_("canary-stopped")
    time.sleep(18)
    validation = estate.validate()
    assert validation.verdict is Verdict.UNKNOWN, why(validation)
    assert "canary_silent" in codes(validation)
    exact = validation.claim("exact")
    assert exact is not None and exact.verdict is Verdict.UNKNOWN
    estate.lab.heal("canary-stopped")
    wait_for(lambda: "canary_silent" not in codes(estate.window()), 20, "canaries again")
    time.sleep(2)
    _healthy(estate)


def test_missing_timeline_history_is_named(estate: Estate) -> None:
    estate.lab.break_("timeline-history-missing")
    wait_for(lambda: estate.window().verdict is Verdict.FAILED, 20, "WAL of the new timeline in the archive")
    window, validation = estate.window(), estate.validate()
    _named(window, "timeline_history_missing", "00000002.history")
    _named(validation, "timeline_history_missing", "00000002.history")
    estate.lab.heal("timeline-history-missing")
    across = estate.validate()
    assert across.verdict is Verdict.PASSED, why(across)
    _healthy(estate)
