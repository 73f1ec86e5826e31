"""The exercise `health`: members, quorum, alarms, room, agreement. Changes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.etcd.access import Access, CompactedError, KvHash, MemberStatus, View
from ccobs_ops.core.etcd.choose import down, most_common, problem
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.etcd.direct import DirectAccess
from ccobs_ops.core.etcd.tls import server_valid_until, valid_until
from ccobs_ops.core.exercise import Claim, Exercise, Recorder, Severity, failed, passed, unknown
from ccobs_ops.core.units import format_bytes, format_duration


def examine(ctx: Context, name: str) -> Exercise:
    """Look at cluster `name`: every member, what it says of itself, and whether all of them hold the same.

    Claims `members` (all answer, none in trouble), `quorum` (a majority of the cluster's members follows one leader),
    `no_alarms`, `within_quota`, `caught_up` and, unless the inventory switches it off, `consistent` (HashKV is the same on
    every member). Raises UsageError for an unknown cluster.
    """
    cluster = EtcdCluster(ctx.inventory, name)
    return attempt(ctx, cluster.target, "health", "members", lambda rec: _examine(ctx, rec, cluster))


def _examine(ctx: Context, rec: Recorder, cluster: EtcdCluster) -> str:
    config = cluster.config
    with cluster.access() as access:
        with rec.phase("look"):
            view = access.look()
        _members(rec, view, config.health.max_lag)
        _quorum(rec, view)
        if not view.answered:
            return "no member answers"
        _alarms(rec, access, view)
        _room(rec, cluster, view)
        _caught_up(rec, view, config.health.max_lag)
        if config.health.hash:
            with rec.phase("hash"):
                rec.claim(_consistent(rec, access, view))
        if isinstance(access, DirectAccess):
            with rec.phase("certificates"):
                _certificates(ctx, rec, cluster, access, view)
    leader = next((view.name_of(each.member_id) for each in view.answered if each.is_leader), "none")
    newest = max(view.answered, key=lambda each: each.revision)
    rec.measurements["revision"] = float(newest.revision)
    rec.details |= {
        "leader": leader,
        "raft_term": newest.raft_term,
        "etcd_version": newest.version,
        "cluster_id": f"{newest.cluster_id:x}",
        "members": [
            {
                "name": view.name_of(each.member_id),
                "endpoint": each.endpoint,
                "leader": each.is_leader,
                "learner": each.learner,
                "revision": each.revision,
                "raft_applied_index": each.raft_applied_index,
                "db_bytes": each.db_bytes,
                "db_in_use_bytes": each.db_in_use_bytes,
                "version": each.version,
            }
            for each in view.answered
        ],
    }
    return f"{len(view.answered)} members answer, {leader} leads, revision {newest.revision}"


def _members(rec: Recorder, view: View, max_lag: int) -> None:
    cluster = most_common([each.cluster_id for each in view.answered])
    furthest = max((each.raft_index for each in view.answered if each.cluster_id == cluster), default=0)
    found = [down(each.endpoint, each.reason, each.hint) for each in view.silent]
    for each in view.answered:
        wrong = problem(view, each, cluster=cluster, furthest=furthest, max_lag=max_lag)
        if wrong is not None:
            found.append(wrong)
    asked = {each.member_id for each in view.answered}
    for member in view.members:
        silent = {each.endpoint for each in view.silent}
        if member.id not in asked and not silent.intersection(member.client_urls):
            rec.find(
                "member_not_named",
                Severity.INFO,
                member.name or f"{member.id:x}",
                f"the cluster has a member {member.name!r} that no endpoint of the inventory is",
                f"add {', '.join(member.client_urls) or 'its client URL'} to the endpoints, or remove the member",
            )
    versions = sorted({each.version for each in view.answered})
    if len(versions) > 1:
        rec.find(
            "version_skew",
            Severity.WARNING,
            rec.target,
            f"the members run different versions: {', '.join(versions)}",
            "finish the upgrade",
        )
    rec.findings.extend(found)
    worst = [each for each in found if each.severity is not Severity.INFO]
    rec.measurements |= {
        "members_answering": float(len(view.answered)),
        "members": float(max(len(view.members), len(view.answered) + len(view.silent))),
    }
    if not view.answered and worst:
        rec.claim(unknown("members", "; ".join(each.message for each in worst)))
    elif worst:
        rec.claim(failed("members", "; ".join(each.message for each in worst)))
    else:
        rec.claim(
            passed("members", f"all {len(view.answered)} members answer, and none says it is in trouble")
        )


def _quorum(rec: Recorder, view: View) -> None:
    voters = [member for member in view.members if not member.learner]
    if not voters:
        rec.claim(unknown("quorum", "no member that answers tells who belongs to the cluster"))
        return
    needed = len(voters) // 2 + 1
    led = [each for each in view.answered if each.leader and not each.learner]
    leader = most_common([each.leader for each in led])
    following = sum(each.leader == leader for each in led)
    spare = following - needed
    rec.measurements["members_to_spare"] = float(spare)
    told = f"{following} of {len(voters)} members follow a leader, {needed} are needed"
    if spare < 0:
        hint = "see docs/runbooks/etcd.md, lost quorum"
        rec.find("quorum_lost", Severity.CRITICAL, rec.target, f"there is no quorum: {told}", hint)
        rec.claim(failed("quorum", f"there is no quorum: {told}"))
        return
    if spare == 0 and len(voters) > 1:
        hint = "bring the missing member back before another one fails"
        rec.find("no_member_to_spare", Severity.WARNING, rec.target, f"{told}: one more loss ends it", hint)
    rec.claim(passed("quorum", told))


def _alarms(rec: Recorder, access: Access, view: View) -> None:
    problem_told = ""
    for each in view.answered:
        try:
            found = access.alarms(each.endpoint)
        except OpsError as error:
            problem_told = error.message
            continue
        for alarm in found:
            name = view.name_of(alarm.member_id)
            rec.find(
                "alarm_nospace" if alarm.kind == "NOSPACE" else f"alarm_{alarm.kind.lower()}",
                Severity.CRITICAL,
                name,
                f"the alarm {alarm.kind} is on for {name}: "
                + (
                    "its file has reached the quota, and the whole cluster refuses writes"
                    if alarm.kind == "NOSPACE"
                    else "its data differs from the others'"
                ),
                "compact, defragment, then etcdctl alarm disarm: see docs/runbooks/etcd.md"
                if alarm.kind == "NOSPACE"
                else "replace that member: see docs/runbooks/etcd.md, lost member",
            )
        told = ", ".join(f"{alarm.kind} on {view.name_of(alarm.member_id)}" for alarm in found)
        rec.claim(failed("no_alarms", told) if found else passed("no_alarms", "no alarm is on"))
        return
    rec.claim(unknown("no_alarms", f"nobody tells which alarms are on: {problem_told}"))


def _room(rec: Recorder, cluster: EtcdCluster, view: View) -> None:
    health = cluster.config.health
    worst = 0.0
    over: list[str] = []
    for each in view.answered:
        quota = each.quota_bytes or cluster.config.quota
        share = each.db_bytes / quota
        free = 1 - each.db_in_use_bytes / each.db_bytes if each.db_bytes else 0.0
        name = view.name_of(each.member_id)
        worst = max(worst, share)
        if share >= health.quota_ratio:
            message = (
                f"the file of {name} has {format_bytes(each.db_bytes)}, {share:.0%} of its quota of "
                f"{format_bytes(quota)}; {format_bytes(each.db_in_use_bytes)} of it is in use"
            )
            over.append(message)
            rec.find(
                "quota",
                Severity.CRITICAL,
                name,
                message,
                f"ccobs-ops etcd defragment {cluster.name}, or raise --quota-backend-bytes",
            )
        if free >= health.fragmentation_ratio and each.db_bytes > 16 * 1024**2:
            rec.find(
                "fragmented",
                Severity.WARNING,
                name,
                f"{free:.0%} of the file of {name} is free",
                f"ccobs-ops etcd defragment {cluster.name}",
            )
        rec.measurements["fragmentation_ratio"] = max(rec.measurements.get("fragmentation_ratio", 0.0), free)
    rec.measurements |= {
        "quota_used_ratio": worst,
        "db_bytes": float(max(each.db_bytes for each in view.answered)),
    }
    rec.claim(
        failed("within_quota", over[0])
        if over
        else passed("within_quota", f"at most {worst:.1%} of the quota is used")
    )


def _caught_up(rec: Recorder, view: View, max_lag: int) -> None:
    furthest = max(each.raft_index for each in view.answered)
    lags = {view.name_of(each.member_id): furthest - each.raft_applied_index for each in view.answered}
    name, lag = max(lags.items(), key=lambda item: item[1])
    rec.measurements["raft_lag_entries"] = float(lag)
    told = f"{name} is {lag} raft entries behind, at most {max_lag} are allowed"
    rec.claim(failed("caught_up", told) if lag > max_lag else passed("caught_up", told))


def _consistent(rec: Recorder, access: Access, view: View) -> Claim:
    """HashKV of every member at the revision that all of them have."""
    common = min(each.revision for each in view.answered)
    with ThreadPoolExecutor(len(view.answered), thread_name_prefix="hash") as pool:
        answers = list(pool.map(lambda each: _hash(access, each, common), view.answered))
    hashes = {
        view.name_of(status.member_id): answer
        for status, answer in zip(view.answered, answers, strict=True)
        if isinstance(answer, KvHash)
    }
    reasons = [answer for answer in answers if isinstance(answer, str)]
    rec.details["hashes"] = {name: found.hash for name, found in hashes.items()}
    groups: dict[int, dict[int, list[str]]] = {}
    for name, found in hashes.items():
        groups.setdefault(found.compact_revision, {}).setdefault(found.hash, []).append(name)
    for compacted, found in groups.items():
        if len(found) > 1:
            told = "; ".join(f"{', '.join(names)}: {number}" for number, names in found.items())
            rec.find(
                "hash_mismatch",
                Severity.CRITICAL,
                rec.target,
                f"the members do not hold the same at revision {common} (compacted up to {compacted}): {told}",
                "take no snapshot from the odd one out; replace that member: see docs/runbooks/etcd.md",
            )
            return failed("consistent", f"the members do not hold the same at revision {common}: {told}")
    largest = max((len(names) for found in groups.values() for names in found.values()), default=0)
    if reasons or largest < len(view.answered):
        why = reasons[0] if reasons else "they have compacted up to different revisions"
        return unknown("consistent", f"hashes at revision {common} could not be compared: {why}")
    if largest < 2 and len(view.members) > 1:
        return unknown("consistent", "only one member answers: there is nothing to compare it with")
    return passed("consistent", f"{largest} members have the same hash at revision {common}")


def _hash(access: Access, status: MemberStatus, revision: int) -> KvHash | str:
    try:
        return access.hash_kv(status.endpoint, revision)
    except CompactedError:
        return f"{status.endpoint} has compacted past it"
    except OpsError as error:
        return error.message


def _certificates(
    ctx: Context, rec: Recorder, cluster: EtcdCluster, access: DirectAccess, view: View
) -> None:
    """Certificates that soon expire. An expired one was found already: its endpoint did not answer."""
    left = cluster.config.health.certificate_left
    now = ctx.clock()
    shown: list[tuple[str, datetime]] = []
    for each in view.answered:
        if each.endpoint.startswith("https:"):
            try:
                until = server_valid_until(each.endpoint, access.tls)
            except OSError:
                continue
            if until is not None:
                shown.append((f"the certificate of {each.endpoint}", until))
    mine = valid_until(access.tls.cert) if access.tls.cert else None
    if mine is not None:
        shown.append((f"our certificate {access.tls.cert_path}", mine))
    for what, until in shown:
        rest = until - now
        if rest < left:
            rec.find(
                "certificate_expires",
                Severity.WARNING,
                what,
                f"{what} expires on {until:%Y-%m-%d %H:%M} UTC, in less than {format_duration(left)}",
                "renew it: kubeadm certs renew",
            )
    if shown:
        rec.measurements["certificate_left_seconds"] = (
            min(until for _, until in shown) - now
        ).total_seconds()
