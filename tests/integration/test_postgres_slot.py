"""The archiver's slot on a real server: a stuck connection is ended, a dropped slot made again, the gap put on record."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.postgres.slot import renew
from ccobs_ops.core.watch import freshness
from tests.postgres_support import NAME, Estate, estate_in, wait_for, why

pytestmark = [pytest.mark.lab]


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    with estate_in(tmp_path_factory.mktemp("slot") / "lab", "agent", scale=0.05) as made:
        yield made


def holder(estate: Estate) -> int | None:
    rows = estate.sql("select active_pid from pg_replication_slots where slot_name = %s", estate.cluster.slot)
    return rows[0][0] if rows else None


def test_the_connection_that_holds_the_slot_is_ended_and_another_streams(estate: Estate) -> None:
    before = holder(estate)
    assert before is not None
    done = renew(estate.ctx, NAME)
    assert done.verdict is Verdict.PASSED, why(done)
    assert holder(estate) not in (None, before)
    estate.switch_wal()


def test_a_dropped_slot_is_made_again_and_what_may_be_lost_is_on_record(estate: Estate) -> None:
    estate.lab.stop_service("agent")
    wait_for(lambda: holder(estate) is None, 30, "the slot to be free")
    estate.sql("select pg_drop_replication_slot(%s)", estate.cluster.slot)
    done: list[Exercise] = []
    repair = threading.Thread(target=lambda: done.append(renew(estate.ctx, NAME)))
    repair.start()
    found = "select count(*) from pg_replication_slots where slot_name = %s"
    wait_for(lambda: estate.sql(found, estate.cluster.slot) == [(1,)], 30, "the slot to be there again")
    estate.lab.start_service("agent")
    repair.join(120)
    assert done and done[0].verdict is Verdict.PASSED, why(done[0])
    stale = freshness.judge(estate.ctx.inventory, estate.ctx.ledger, f"postgres/{NAME}", estate.ctx.clock())
    assert {claim.name: claim.verdict for claim in stale.claims}["wal"] is Verdict.FAILED
    assert estate.backup(incremental=False).verdict is Verdict.PASSED
    fresh = freshness.judge(estate.ctx.inventory, estate.ctx.ledger, f"postgres/{NAME}", estate.ctx.clock())
    assert {claim.name: claim.verdict for claim in fresh.claims}["wal"] is Verdict.PASSED
