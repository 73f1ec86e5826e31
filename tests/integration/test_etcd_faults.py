"""Every fault of etcd in the lab is found and named, and gone after healing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ccobs_ops.core.etcd.access import MemberStatus, Unreachable, View
from ccobs_ops.core.etcd.defragment import defragment
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.process import run
from ccobs_ops.lab.faults.steps_etcd import MoveLeader
from ccobs_ops.lab.plan import ETCD_MEMBERS
from tests.etcd_support import NAME, EtcdEstate, etcd_estate_in, named
from tests.postgres_support import wait_for, why

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdEstate]:
    """A small cluster under churn with canaries, for this module alone."""
    directory = tmp_path_factory.mktemp("faults") / "lab"
    with etcd_estate_in(directory, "us", "etcd-writer", "etcd-agent", scale=0.01) as estate:
        wait_for(lambda: estate.ctx.ledger.last_canary("etcd/observatory"), 30, "a canary")
        yield estate


def verdict_of(exercise: Exercise, claim: str) -> Verdict:
    found = exercise.claim(claim)
    assert found is not None, why(exercise)
    return found.verdict


def look(estate: EtcdEstate) -> View:
    with estate.cluster.access() as access:
        return access.look()


def healthy(estate: EtcdEstate) -> None:
    wait_for(lambda: estate.health().verdict is Verdict.PASSED, 40, "a healthy cluster")
    newest = estate.ctx.ledger.last_canary("etcd/observatory")
    assert newest is not None
    wait_for(
        lambda: estate.ctx.ledger.last_canary("etcd/observatory").seq > newest.seq,  # type: ignore[union-attr]
        40,
        "canaries again",
    )
    taken = estate.snapshot()
    assert taken.verdict is Verdict.PASSED, why(taken)
    drill = estate.drill()
    assert drill.verdict is Verdict.PASSED, why(drill)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("snapshot-truncated", "snapshot_truncated"),
        ("snapshot-bitflip", "snapshot_corrupt"),
        ("snapshot-missing", "snapshot_missing"),
    ],
)
def test_damage_in_the_store_is_named_object_by_object(estate: EtcdEstate, fault: str, code: str) -> None:
    damage = estate.lab.break_(fault, seed=7)
    (key,) = damage.keys
    named(estate.listing(), code, key)
    drill = estate.drill()
    assert drill.verdict is Verdict.FAILED, why(drill)
    assert any(key in finding.subject + finding.message for finding in drill.findings), why(drill)
    assert verdict_of(drill, "restorable") is Verdict.FAILED
    assert estate.sandboxes() == []
    estate.lab.heal(fault)
    listing = estate.listing(deep=True)
    assert listing.verdict is Verdict.PASSED, why(listing)


def test_a_member_that_is_down_is_named_and_the_others_go_on(estate: EtcdEstate) -> None:
    damage = estate.lab.break_("etcd-member-down", at="etcd-2")
    assert damage.lines == ("killed (-9) the service etcd-2",)
    health = estate.health()
    named(health, "member_down", estate.lab.plan.etcd_url("etcd-2"))
    assert "no_member_to_spare" in {finding.code for finding in health.findings}
    assert verdict_of(health, "quorum") is Verdict.PASSED
    taken = estate.snapshot()
    assert taken.verdict is Verdict.PASSED, why(taken)
    assert taken.details["member"] in ("etcd-1", "etcd-3")
    assert "member_down" in {finding.code for finding in taken.findings}
    drill = estate.drill()
    assert drill.verdict is Verdict.PASSED, why(drill)
    estate.lab.heal("etcd-member-down")
    healthy(estate)


def test_without_a_quorum_nothing_is_claimed_that_nobody_can_know(estate: EtcdEstate) -> None:
    before = [entry.id for entry in estate.entries]
    estate.lab.break_("etcd-quorum-lost", seed=3)

    def leaderless() -> bool:
        return all(each.leader == 0 for each in look(estate).answered)

    wait_for(leaderless, 30, "the last member to notice that it is alone")
    named(estate.health(), "quorum_lost", "1 of 3" if not leaderless() else "0 of 3")
    taken = estate.snapshot()
    assert taken.verdict is Verdict.UNKNOWN, why(taken)
    assert "no leader" in taken.reason
    assert [entry.id for entry in estate.entries] == before
    estate.lab.heal("etcd-quorum-lost")
    healthy(estate)


def test_a_full_cluster_is_named_and_the_snapshot_says_so(estate: EtcdEstate) -> None:
    estate.lab.break_("etcd-nospace", seed=1)
    health = estate.health()
    named(health, "alarm_nospace")
    assert verdict_of(health, "no_alarms") is Verdict.FAILED
    taken = estate.snapshot()
    assert "alarm" in {finding.code for finding in taken.findings}
    assert estate.entries[-1].alarms == ("NOSPACE",)
    drill = estate.drill()
    assert verdict_of(drill, "writable") is Verdict.FAILED
    assert "database space exceeded" in drill.claim("writable").reason  # type: ignore[union-attr]
    dry = defragment(estate.ctx, NAME)
    assert dry.verdict is Verdict.PASSED, why(dry)  # the alarm does not keep from what cures it
    estate.lab.heal("etcd-nospace")
    healthy(estate)


def test_a_member_that_is_cut_off_is_refused(estate: EtcdEstate) -> None:
    MoveLeader(member="etcd-3").apply(estate.lab, Path())  # the hardest: the one that is cut off leads
    estate.lab.break_("etcd-lagging")
    url = estate.lab.plan.etcd_url("etcd-3")

    def cut_off() -> bool:
        found = next((each for each in look(estate).answered if each.endpoint == url), None)
        return isinstance(found, MemberStatus) and not found.leader

    wait_for(cut_off, 40, "etcd-3 to lose its leader")
    wait_for(lambda: behind(estate, url) > 10, 40, "etcd-3 to fall behind")
    health = estate.health()
    named(health, "no_leader", "etcd-3")
    assert verdict_of(health, "quorum") is Verdict.PASSED
    patient = estate.cluster.config.health.model_copy(update={"max_lag": 5})
    strict = estate.changed(health=patient).health()
    assert verdict_of(strict, "caught_up") is Verdict.FAILED
    for _ in range(2):
        taken = estate.snapshot()
        assert taken.verdict is Verdict.PASSED, why(taken)
        assert taken.details["member"] != "etcd-3"
    estate.lab.heal("etcd-lagging")
    wait_for(lambda: behind(estate, url) < 5, 40, "etcd-3 to catch up")
    healthy(estate)


def behind(estate: EtcdEstate, url: str) -> int:
    found = look(estate).answered
    furthest = max(each.raft_index for each in found)
    return furthest - next(each.raft_applied_index for each in found if each.endpoint == url)


def test_an_expired_certificate_is_named_with_its_day(estate: EtcdEstate) -> None:
    estate.lab.break_("certificate-expired", at="etcd-1")
    url = estate.lab.plan.etcd_url("etcd-1")
    (silent,) = look(estate).silent
    assert isinstance(silent, Unreachable)
    assert (silent.endpoint, "its certificate has expired on 2" in silent.reason) == (url, True)
    health = estate.health()
    named(health, "member_down", url)
    assert "has expired" in health.reason
    estate.lab.heal("certificate-expired")
    healthy(estate)


def test_a_certificate_that_expires_soon_is_a_warning(estate: EtcdEstate) -> None:
    from datetime import timedelta

    wide = estate.cluster.config.health.model_copy(update={"certificate_left": timedelta(days=400)})
    health = estate.changed(health=wide).health()
    named(health, "certificate_expires", "our certificate", verdict=Verdict.PASSED)
    assert health.measurements["certificate_left_seconds"] > 300 * 86400


def test_a_file_near_its_quota_is_named(estate: EtcdEstate) -> None:
    size = max(each.db_bytes for each in look(estate).answered)
    health = estate.changed(quota=int(size * 1.1)).health()
    named(health, "quota", "of its quota")
    assert verdict_of(health, "within_quota") is Verdict.FAILED


def test_a_learner_gives_no_snapshot(estate: EtcdEstate) -> None:
    """A member that was added without a vote, and never started, does not count against the quorum."""
    ctl = [estate.cluster.program("etcdctl"), f"--endpoints={estate.lab.plan.etcd_url('etcd-1')}"]
    ctl += [
        f"--cacert={estate.lab.plan.secret_file('etcd_ca.crt')}",
        f"--cert={estate.lab.plan.secret_file('etcd_client.crt')}",
        f"--key={estate.lab.plan.secret_file('etcd_client.key')}",
    ]
    run([*ctl, "member", "add", "late", "--learner", "--peer-urls=https://127.0.0.1:9"], deadline=30)
    try:
        health = estate.health()
        assert verdict_of(health, "quorum") is Verdict.PASSED
        assert "3 of 3" in health.claim("quorum").reason  # type: ignore[union-attr]
        assert estate.snapshot().verdict is Verdict.PASSED
    finally:
        with estate.client() as client:
            late = next(each for each in client.members() if each.learner)
        run([*ctl, "member", "remove", f"{late.id:x}"], deadline=30)


def test_members_that_hold_different_things_are_named(estate: EtcdEstate) -> None:
    """The mismatch cannot be made in a healthy cluster, so two answers of a real one are told apart by hand."""
    from ccobs_ops.core.etcd.access import KvHash
    from ccobs_ops.core.etcd.direct import DirectAccess

    class Forked(DirectAccess):
        def hash_kv(self, endpoint: str, revision: int) -> KvHash:
            found = super().hash_kv(endpoint, revision)
            odd = endpoint == estate.lab.plan.etcd_url(ETCD_MEMBERS[1])
            return KvHash(found.hash ^ 1, revision, found.compact_revision) if odd else found

    import ccobs_ops.core.etcd.direct as direct

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct, "DirectAccess", Forked)
        health = estate.health()
    named(health, "hash_mismatch", "etcd-2")
    assert verdict_of(health, "consistent") is Verdict.FAILED


def test_store_down_is_unknown_never_a_pass(estate: EtcdEstate) -> None:
    estate.lab.break_("store-down")
    listing, drill, taken = estate.listing(), estate.drill(), estate.snapshot()
    assert [each.verdict for each in (listing, drill)] == [Verdict.UNKNOWN] * 2, why(listing) + why(drill)
    assert taken.verdict is not Verdict.PASSED, why(taken)
    assert estate.health().verdict is Verdict.PASSED, "the cluster itself does not need the store"
    estate.lab.heal("store-down")
    healthy(estate)
