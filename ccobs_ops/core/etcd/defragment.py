"""Defragmentation: the members of a cluster one at a time, the leader last, and only while all of them are well."""

from __future__ import annotations

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError, RefusedError, UnknownError
from ccobs_ops.core.etcd.access import Access, MemberStatus, View
from ccobs_ops.core.etcd.choose import candidates
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.exercise import Exercise, Recorder, passed
from ccobs_ops.core.folders import only_one
from ccobs_ops.core.guard import permit
from ccobs_ops.core.units import format_bytes

DEADLINE_SECONDS = 600.0
SETTLE_SECONDS = 60.0
ACTION = "defragment"


def defragment(ctx: Context, name: str, *, dry_run: bool = True, confirmation: str | None = None) -> Exercise:
    """Defragment the members of cluster `name` one by one, the leader last; a dry run (default) says what it would do.

    A member answers nothing while it rewrites its file. Therefore each is begun only while every member answers, has caught
    up and follows a leader, and the next one only when all of that holds again. Claims `defragmented`. Raises
    RefusedError when the guard refuses, UsageError for an unknown cluster.
    """
    cluster = EtcdCluster(ctx.inventory, name)
    if not dry_run:
        _permit(cluster, confirmation)
    return attempt(
        ctx,
        cluster.target,
        "defragmentation",
        "defragmented",
        lambda rec: _run(ctx, rec, cluster, dry_run=dry_run, confirmation=confirmation),
    )


def _permit(cluster: EtcdCluster, confirmation: str | None) -> None:
    permit(ACTION, cluster.target, allowed=cluster.config.allow, dry_run=False, confirmation=confirmation)


def _run(
    ctx: Context, rec: Recorder, cluster: EtcdCluster, *, dry_run: bool, confirmation: str | None
) -> str:
    busy = f"a defragmentation of {cluster.target} is running already"
    with (
        only_one(cluster.state / "defragment.lock", busy, hint="wait for it to end"),
        cluster.access() as access,
    ):
        view = _all_well(cluster, access)
        order = sorted(view.answered, key=lambda each: (each.is_leader, each.endpoint))
        free = sum(each.db_bytes - each.db_in_use_bytes for each in order)
        rec.details |= {
            "order": [view.name_of(each.member_id) for each in order],
            "dry_run": dry_run,
        }
        rec.measurements |= {
            "db_bytes": float(sum(each.db_bytes for each in order)),
            "free_bytes": float(free),
        }
        if dry_run:
            names = ", ".join(rec.details["order"])
            told = f"{names} would be defragmented, freeing {format_bytes(free)}"
            rec.claim(passed("defragmented", told))
            return told
        after = 0
        for member in order:
            _permit(cluster, confirmation)
            after += _one(ctx, rec, cluster, access, view, member)
        saved = sum(each.db_bytes for each in order) - after
        rec.measurements["freed_bytes"] = float(saved)
        told = f"{len(order)} members defragmented, {format_bytes(saved)} freed"
        rec.claim(passed("defragmented", told))
        return told


def _one(
    ctx: Context, rec: Recorder, cluster: EtcdCluster, access: Access, view: View, member: MemberStatus
) -> int:
    name = view.name_of(member.member_id)
    ctx.progress.note(f"defragmenting {name}, {format_bytes(member.db_bytes)}")
    with rec.phase(f"defragment {name}"):
        access.defragment(member.endpoint, DEADLINE_SECONDS)
        began = ctx.timer()
        while True:
            try:
                now = _all_well(cluster, access)
                break
            except OpsError:
                if ctx.timer() - began > SETTLE_SECONDS:
                    raise
                ctx.sleep(0.2)
    return next(each.db_bytes for each in now.answered if each.member_id == member.member_id)


def _all_well(cluster: EtcdCluster, access: Access) -> View:
    """The view in which every member is well. Raises RefusedError naming what is not."""
    view = access.look()
    found = candidates(view, max_lag=cluster.config.health.max_lag)
    if not view.answered:
        raise UnknownError(f"no member of {cluster.target} answers", hint="see etcd health")
    if found.findings or len(found.usable) < len(view.members):
        why = found.findings[0].message if found.findings else "a member has no endpoint in the inventory"
        raise RefusedError(
            f"nothing is defragmented while a member is not well: {why}",
            hint="a member answers nothing while it defragments, so the others must be able to do without it",
        )
    return view
