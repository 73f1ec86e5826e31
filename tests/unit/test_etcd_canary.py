"""What a copy has against what is on record: one canary too many or too few, or at another revision, is seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ccobs_ops.core.etcd.canary import LOST, Slot, compare, recorded_at, slot_key
from ccobs_ops.core.ledger import Canary, Event, Ledger

BEGIN = datetime(2026, 11, 23, tzinfo=UTC)
TARGET = "etcd/x"


def canary(seq: int, revision: int | None = None, *, timeline: int = 1, at: datetime | None = None) -> Canary:
    where = revision if revision is not None else 100 + seq * 2
    return Canary(TARGET, seq, timeline, at or BEGIN + timedelta(seconds=seq), where, where)


def slot(one: Canary) -> Slot:
    return Slot(one.seq, one.timeline, one.committed_at, one.lsn_high)


RECORDED = [canary(seq) for seq in range(1, 31)]
RING = [slot(one) for one in RECORDED[10:20]]
"""A copy of revision 140: canaries up to 20, of which a ring of ten slots holds the last ten."""


def test_the_last_ones_up_to_the_revision_are_exactly_right() -> None:
    result = compare(RECORDED, RING, revision=140, keep=10, lost=[])
    assert result.exact
    assert (result.expected, result.present) == (10, 10)
    assert result.last == RECORDED[19]


def test_one_that_is_missing_is_named() -> None:
    result = compare(RECORDED, [s for s in RING if s.seq != 15], revision=140, keep=10, lost=[])
    assert not result.exact
    assert (result.missing, result.unexpected, result.changed) == ((15,), (), ())


def test_one_from_later_is_named() -> None:
    late = [*[s for s in RING if s.seq != 11], slot(RECORDED[20])]
    result = compare(RECORDED, late, revision=140, keep=10, lost=[])
    assert (result.missing, result.unexpected) == ((11,), (21,))


def test_one_at_another_revision_is_named() -> None:
    moved = [Slot(s.seq, s.timeline, s.at, s.revision + (s.seq == 13)) for s in RING]
    result = compare(RECORDED, moved, revision=140, keep=10, lost=[])
    assert result.changed == (13,)
    assert result.last == RECORDED[19]


def test_a_ring_that_is_not_full_yet() -> None:
    result = compare(RECORDED[:3], [slot(one) for one in RECORDED[:3]], revision=500, keep=10, lost=[])
    assert result.exact
    assert result.expected == 3


def test_nothing_on_record_proves_nothing() -> None:
    result = compare([], [], revision=10, keep=10, lost=[])
    assert (result.expected, result.last) == (0, None)


def test_slots_go_round() -> None:
    assert slot_key("/c/", 3, 10) == slot_key("/c/", 13, 10) != slot_key("/c/", 4, 10)


@pytest.fixture
def ledger(tmp_path) -> Ledger:  # type: ignore[no-untyped-def]
    return Ledger.open(f"sqlite:///{tmp_path}/ledger.db")


def test_after_a_restore_the_lost_ones_are_not_expected(ledger: Ledger) -> None:
    """Canaries 11 to 20 were lost by restoring revision 120; the revisions after it were given out again."""
    first = [canary(seq) for seq in range(1, 21)]
    restored = BEGIN + timedelta(hours=1)
    second = [
        canary(seq, 121 + seq - 21, timeline=2, at=restored + timedelta(seconds=seq)) for seq in range(21, 41)
    ]
    ledger.record_canaries([*first, *second])
    ledger.record_event(Event(TARGET, LOST, "11", restored, {"first_seq": 11, "last_seq": 20, "timeline": 1}))
    began = restored + timedelta(minutes=5)
    recorded, lost = recorded_at(ledger, TARGET, began, began, keep=10, revision=130)
    found = [slot(one) for one in second[:10]]
    result = compare(recorded, found, revision=130, keep=10, lost=lost)
    assert result.exact, result
    assert result.last == second[9]


def test_a_snapshot_from_before_a_restore_is_compared_with_what_it_saw(ledger: Ledger) -> None:
    first = [canary(seq) for seq in range(1, 21)]
    restored = BEGIN + timedelta(hours=1)
    ledger.record_canaries(first)
    ledger.record_canaries([canary(seq, 121 + seq - 21, timeline=2, at=restored) for seq in range(21, 31)])
    ledger.record_event(Event(TARGET, LOST, "11", restored, {"first_seq": 11, "last_seq": 20, "timeline": 1}))
    began = BEGIN + timedelta(seconds=30)
    recorded, lost = recorded_at(ledger, TARGET, began, began, keep=10, revision=140)
    result = compare(recorded, [slot(one) for one in first[10:20]], revision=140, keep=10, lost=lost)
    assert result.exact, result
