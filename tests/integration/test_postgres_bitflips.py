"""One bit flipped anywhere in what a restore needs never yields PASSED.

Each flip is put in place as an attacker or a faulty tool would: same key, same metadata, a valid upload. Half of the flips
are looked at by a validator that cannot compare ETags (as with SSE-KMS), so that the checks while reading are tested as
well as those of the listing. CCOBS_SWEEP sets how many flips a kind (default 3; `make soak` runs 60).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ccobs_ops.core.exercise import Verdict
from ccobs_ops.inventory import Encryption
from tests.postgres_support import NAME, Estate, estate_in, wait_for, why

SWEEP = int(os.environ.get("CCOBS_SWEEP", "3"))


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A lab with a full and an incremental backup on it and a few segments of WAL after, the agent stopped."""
    with estate_in(
        tmp_path_factory.mktemp("flips") / "lab", "us", "postgres", "writer", "agent", scale=0.05
    ) as estate:
        assert estate.backup(incremental=True).verdict is Verdict.PASSED
        for _ in range(2):
            estate.switch_wal()
        estate.await_archived(estate.now())
        estate.lab.stop_service("writer")
        estate.lab.stop_service("agent")
        yield estate


def _blind(estate: Estate) -> Estate:
    """The same estate through eyes that cannot compare ETags with what is on record."""
    store = estate.ctx.inventory.stores["us"]
    kms = store.model_copy(update={"encryption": Encryption(mode="aws:kms", kms_key="x")})
    inventory = estate.ctx.inventory.model_copy(update={"stores": estate.ctx.inventory.stores | {"us": kms}})
    return Estate(estate.lab, replace(estate.ctx, inventory=inventory))


def _needed(estate: Estate, kind: str) -> list[str]:
    entries, _ = estate.archive.catalogue()
    if kind == "part":
        return [estate.archive.key(part.key) for entry in entries for part in entry.parts]
    if kind == "manifest":
        return [estate.archive.key(entry.manifest.key) for entry in entries]
    if kind == "catalogue":
        return [estate.archive.key(f"catalogue/{entry.id}.json") for entry in entries]
    size = entries[0].segment_size
    first = entries[-1].start_lsn // size
    listing = estate.archive.wal()
    last = max(name for name in listing.segments)
    return [s.key for s in listing.segments.values() if int(s.name[16:], 16) >= first and s.name < last]


def test_unharmed_it_passes_by_both_kinds_of_eyes(estate: Estate) -> None:
    for eyes in (estate, _blind(estate)):
        validation = eyes.validate(at=_target(estate))
        assert validation.verdict is Verdict.PASSED, why(validation)


def _target(estate: Estate):
    from datetime import datetime, timedelta

    newest = datetime.fromisoformat(estate.window().details["newest_commit"]["at"])
    return newest - timedelta(milliseconds=500)


@pytest.mark.parametrize("kind", ["part", "manifest", "catalogue", "wal"])
def test_no_flipped_bit_passes(estate: Estate, kind: str) -> None:
    dice = random.Random(f"{kind}-1")
    keys = _needed(estate, kind)
    target = _target(estate)
    store = estate.archive.store
    for number in range(SWEEP):
        key = dice.choice(keys)
        original = store.get(key)
        bit = dice.randrange(len(original) * 8)
        flipped = bytearray(original)
        flipped[bit // 8] ^= 1 << (bit % 8)
        eyes = _blind(estate) if number % 2 else estate
        store.put(key, bytes(flipped))
        try:
            if kind in ("part", "manifest", "catalogue"):
                window = estate.window(deep=True)
                assert window.verdict is Verdict.FAILED, f"bit {bit} of {key}: {why(window)}"
            validation = _validate_needing(eyes, kind, target)
            assert validation.verdict is not Verdict.PASSED, f"bit {bit} of {key}: {why(validation)}"
        finally:
            store.put(key, original)
    wait_for(lambda: estate.validate(at=target).verdict is Verdict.PASSED, 30, "an unharmed archive to pass")


def _validate_needing(eyes: Estate, kind: str, target: object):
    """Validate from the incremental backup, so that both links and all later WAL are needed."""
    entries, findings = eyes.archive.catalogue()
    if kind == "catalogue" and findings:
        # an entry that cannot be trusted is no backup: what needs it must not pass, which the window says
        return eyes.window()
    validation = eyes.validate(at=target)  # type: ignore[arg-type]
    if validation.verdict is Verdict.PASSED and validation.details["backup_id"] != entries[-1].id:
        return eyes.window()  # another backup was intact and did it: the flipped bytes were not needed
    return validation


def test_the_archive_of_this_module_is_what_it_says(estate: Estate) -> None:
    assert [entry.incremental for entry in estate.archive.catalogue()[0]] == [False, True]
    assert estate.cluster.name == NAME
