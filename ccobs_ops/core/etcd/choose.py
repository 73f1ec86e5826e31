"""Which member gives the snapshot. Pure: decided from one look at all of them."""

from __future__ import annotations

from dataclasses import dataclass

from ccobs_ops.core.etcd.access import MemberStatus, View
from ccobs_ops.core.exercise import Finding, Severity


@dataclass(frozen=True, slots=True)
class Candidates:
    """Members that may give a snapshot, best first, and what speaks against the others."""

    usable: tuple[MemberStatus, ...]
    findings: tuple[Finding, ...]


def candidates(view: View, *, max_lag: int) -> Candidates:
    """Followers before the leader (it has other work), the least behind first.

    Refused are learners, members without a leader, with errors of their own, of another cluster than most, or more than
    `max_lag` raft entries behind the furthest.
    """
    findings = [down(each.endpoint, each.reason, each.hint) for each in view.silent]
    usable: list[MemberStatus] = []
    cluster = most_common([each.cluster_id for each in view.answered])
    furthest = max((each.raft_index for each in view.answered if each.cluster_id == cluster), default=0)
    for each in view.answered:
        found = problem(view, each, cluster=cluster, furthest=furthest, max_lag=max_lag)
        if found is None:
            usable.append(each)
        else:
            findings.append(found)
    usable.sort(key=lambda each: (each.is_leader, furthest - each.raft_applied_index, each.endpoint))
    return Candidates(tuple(usable), tuple(findings))


def problem(view: View, status: MemberStatus, *, cluster: int, furthest: int, max_lag: int) -> Finding | None:
    """What keeps one member that answered from being trusted with anything; None if nothing does."""
    name = view.name_of(status.member_id)
    where = f"{name} ({status.endpoint})"
    lag = furthest - status.raft_applied_index
    if status.cluster_id != cluster:
        return Finding(
            "wrong_cluster",
            Severity.CRITICAL,
            status.endpoint,
            f"{where} belongs to cluster {status.cluster_id:x}, the others to {cluster:x}",
            "correct the endpoints in the inventory",
        )
    if status.learner:
        return Finding(
            "learner", Severity.INFO, name, f"{where} is a learner: it may be far behind and has no vote"
        )
    if not status.leader:
        return Finding(
            "no_leader",
            Severity.CRITICAL,
            name,
            f"{where} has no leader: it is cut off from the others, or the cluster has lost its quorum",
            "see docs/runbooks/etcd.md, lost quorum",
        )
    if lag > max_lag:
        return Finding(
            "member_lagging",
            Severity.WARNING,
            name,
            f"{where} is {lag} raft entries behind, more than {max_lag}",
            "see whether its disk or its network is slow",
        )
    others = tuple(each for each in status.errors if "NOSPACE" not in each)
    if others:
        return Finding(
            "member_errors", Severity.CRITICAL, name, f"{where} says: {'; '.join(others)}", "see its log"
        )
    return None


def down(endpoint: str, reason: str, hint: str) -> Finding:
    """The finding for an endpoint that does not answer."""
    return Finding("member_down", Severity.CRITICAL, endpoint, f"{endpoint} does not answer: {reason}", hint)


def most_common(numbers: list[int]) -> int:
    """The number that is there most often, 0 if there is none."""
    return max(numbers, key=numbers.count, default=0)
