"""Which member may give a snapshot: followers first, and nobody who could give an old or a foreign one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ccobs_ops.core.etcd.access import Member, MemberStatus, Unreachable, View
from ccobs_ops.core.etcd.choose import candidates

BASE = MemberStatus("e", 7, 1, "3.5.1", 100, 2, 500, 500, 1, learner=False, db_bytes=10, db_in_use_bytes=10)
LEADER = replace(BASE, endpoint="https://a:1", member_id=1)
NEAR = replace(BASE, endpoint="https://b:1", member_id=2, raft_applied_index=498)
FAR = replace(BASE, endpoint="https://c:1", member_id=3, raft_applied_index=450)


def view(*looks: MemberStatus, silent: tuple[Unreachable, ...] = ()) -> View:
    return View(looks, silent, tuple(Member(n, f"m{n}", (), ()) for n in (1, 2, 3)))


def names(found: View, max_lag: int = 100) -> list[int]:
    return [each.member_id for each in candidates(found, max_lag=max_lag).usable]


def codes(found: View, max_lag: int = 100) -> list[str]:
    return [each.code for each in candidates(found, max_lag=max_lag).findings]


def test_followers_come_first_and_the_least_behind_of_them() -> None:
    assert names(view(LEADER, FAR, NEAR)) == [2, 3, 1]
    assert codes(view(LEADER, FAR, NEAR)) == []


def test_a_leader_alone_will_do() -> None:
    assert names(view(LEADER)) == [1]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"learner": True}, "learner"),
        ({"leader": 0}, "no_leader"),
        ({"raft_applied_index": 300}, "member_lagging"),
        ({"raft_index": 100, "raft_applied_index": 100}, "member_lagging"),
        ({"cluster_id": 8}, "wrong_cluster"),
        ({"errors": ("memberID:3 alarm:CORRUPT",)}, "member_errors"),
    ],
)
def test_who_cannot_be_trusted_is_refused_and_named(changes: dict[str, object], code: str) -> None:
    found = view(LEADER, NEAR, replace(FAR, **changes))
    assert names(found) == [2, 1]
    (finding,) = candidates(found, max_lag=100).findings
    assert finding.code == code
    assert finding.subject in ("m3", "https://c:1")


def test_a_full_disk_does_not_keep_from_giving_one() -> None:
    assert names(view(LEADER, replace(NEAR, errors=("memberID:2 alarm:NOSPACE",)))) == [2, 1]


def test_an_endpoint_that_is_silent_is_named() -> None:
    found = view(LEADER, silent=(Unreachable("https://b:1", "connection refused"),))
    assert codes(found) == ["member_down"]
    assert "https://b:1" in candidates(found, max_lag=1).findings[0].message
