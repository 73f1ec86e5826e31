"""`etcd restore`: what an operator uses in an emergency. A data folder for each member, and the commands to go on with."""

from __future__ import annotations

import contextlib
import secrets
import shlex
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.etcd.archive import Archive, pick
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.etcd.etcdutl import Bump, RestoredMember, check_flags, initial_cluster, restore_member
from ccobs_ops.core.etcd.layout import Entry
from ccobs_ops.core.exercise import Exercise, Recorder, Severity, passed, rfc3339
from ccobs_ops.core.units import format_bytes, format_seconds

DATABASE = "snapshot.db"
_REGISTRY = "/registry"


def restore(
    ctx: Context,
    name: str,
    *,
    to: Path,
    snapshot: str | None = None,
    at: datetime | None = None,
    store: str | None = None,
    members: Sequence[str] = (),
    bump_revision: int | None = None,
    mark_compacted: bool = False,
) -> Exercise:
    """Restore a snapshot of cluster `name` into the empty or new folder `to`: one data folder for each member.

    `snapshot` is an id (or how one begins), `at` takes the newest that was finished by then, neither the newest. `members`
    are written NAME=PEER_URL or NAME=PEER_URL,CLIENT_URL; none means those of the snapshot. `bump_revision` is added to the
    revision, `mark_compacted` makes every older one count as compacted. Claims `restored`; the details' `next` are the
    commands to go on with. Raises UsageError for wrong usage.
    """
    cluster = EtcdCluster(ctx.inventory, name)
    archive = Archive(cluster.store(store, read_only=True), cluster.prefix)
    if mark_compacted and bump_revision is None:
        raise UsageError(
            "--mark-compacted needs --bump-revision: it marks what lies below the new revision",
            hint="add --bump-revision 1000000000",
        )
    bump = Bump(bump_revision, mark_compacted) if bump_revision is not None else None
    check_flags(cluster, bump)
    wanted = [parse_member(text) for text in members]
    if len({member.name for member in wanted}) < len(wanted):
        raise UsageError("two members have one name", hint="give each --member a name of its own")
    _require_empty(to)
    return attempt(
        ctx,
        cluster.target,
        "restore",
        "restored",
        lambda rec: _restore(ctx, rec, cluster, archive, to, (snapshot, at), wanted, bump),
        must_record=False,
    )


def parse_member(text: str) -> RestoredMember:
    """`NAME=PEER_URL` or `NAME=PEER_URL,CLIENT_URL`. Without the latter clients find it on port 2379 of the same host."""
    name, equals, urls = text.partition("=")
    peer, comma, client = urls.partition(",")
    scheme, _, rest = peer.partition("://")
    host, _, port = rest.rpartition(":")
    ok = bool(name and equals and scheme in ("http", "https") and host and port.isdigit())
    if not ok or (comma and "://" not in client) or any(each in text for each in " \t'\""):
        raise UsageError(
            f"--member {text!r} cannot be read",
            hint="write NAME=PEER_URL or NAME=PEER_URL,CLIENT_URL: m1=https://10.0.0.1:2380,https://10.0.0.1:2379",
        )
    return RestoredMember(name, peer, client or f"{scheme}://{host}:2379")


def fetch(ctx: Context, rec: Recorder, archive: Archive, entry: Entry, path: Path) -> None:
    """Download `entry` to `path`, checked to the last byte. Raises DamagedError, and then leaves no file."""
    ctx.progress.begin("fetch", entry.raw_bytes)
    with rec.phase("fetch") as meter:
        try:
            with path.open("xb") as file:
                path.chmod(0o600)
                for block in archive.blocks(entry):
                    file.write(block)
                    meter.add(len(block))
                    ctx.progress.advance(len(block))
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _restore(
    ctx: Context,
    rec: Recorder,
    cluster: EtcdCluster,
    archive: Archive,
    to: Path,
    wanted: tuple[str | None, datetime | None],
    members: list[RestoredMember],
    bump: Bump | None,
) -> str:
    with rec.phase("plan"):
        entries, findings = archive.catalogue()
        rec.findings.extend(findings)
        entry = pick(entries, snapshot=wanted[0], at=wanted[1], where=archive.locate("catalogue/"))
        members = members or _as_it_was(entry)
    rec.details |= {"snapshot_id": entry.id, "revision": entry.revision, "directory": str(to)}
    made = not to.exists()
    try:
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        fetch(ctx, rec, archive, entry, to / DATABASE)
        token = f"ccobs-{cluster.name}-{secrets.token_hex(4)}"
        ctx.progress.begin("restore")
        with rec.phase("restore") as meter:
            for member in members:
                directory = to / member.name
                # once by etcdutl as well as by us; the same file needs no third look
                verified = member is not members[0]
                restore_member(
                    cluster,
                    to / DATABASE,
                    directory,
                    member,
                    members,
                    token=token,
                    bump=bump,
                    verified=verified,
                )
                meter.add(entry.db_bytes)
        (to / DATABASE).unlink()
    except BaseException:
        _empty(to, remove=made)
        raise
    _warn(rec, entry, bump)
    seconds = (ctx.clock() - rec.started_at).total_seconds()
    rec.measurements |= {"restore_seconds": seconds, "bytes_restored": float(entry.raw_bytes)}
    rec.details |= {
        "members": {member.name: str(to / member.name) for member in members},
        "next": commands(cluster, to, members, token),
    }
    told = (
        f"snapshot {entry.id} of {rfc3339(entry.started_at)}, revision {entry.revision}, restored for "
        f"{', '.join(member.name for member in members)}: {format_bytes(entry.db_bytes)} each, in {format_seconds(seconds)}"
    )
    rec.claim(passed("restored", told))
    return told


def _as_it_was(entry: Entry) -> list[RestoredMember]:
    found = [
        RestoredMember(
            member.name, member.peer_urls[0], (member.client_urls or ("http://localhost:2379",))[0]
        )
        for member in sorted(entry.members, key=lambda each: each.name)
        if member.name and member.peer_urls and not member.learner
    ]
    if not found:
        raise UsageError(
            f"snapshot {entry.id} does not say which members there were",
            hint="name them: --member NAME=PEER_URL",
        )
    return found


def commands(cluster: EtcdCluster, to: Path, members: Sequence[RestoredMember], token: str) -> list[str]:
    """What the operator does next, in this order; each line can be given to a shell as it is."""
    steps = ["# no old member may run any more. Take each folder to its host, then start all of them:"]
    for member in members:
        words = [
            str(cluster.program_or_name("etcd")),
            f"--name={member.name}",
            f"--data-dir={to / member.name}",
            f"--listen-peer-urls={member.peer_url}",
            f"--listen-client-urls={member.client_url}",
            f"--advertise-client-urls={member.client_url}",
            f"--initial-advertise-peer-urls={member.peer_url}",
            f"--initial-cluster={initial_cluster(members)}",
            f"--initial-cluster-token={token}",
            *(flag.replace("{name}", member.name) for flag in cluster.config.member_flags),
        ]
        steps.append(shlex.join(words))
    steps.append("# then ask all of them:")
    endpoints = ",".join(member.client_url for member in members)
    asked = [str(cluster.program_or_name("etcdctl")), f"--endpoints={endpoints}", *_client_flags(cluster)]
    steps.append(shlex.join([*asked, "endpoint", "health"]))
    steps.append(shlex.join([*asked, "endpoint", "status", "--write-out=table"]))
    return steps


def _client_flags(cluster: EtcdCluster) -> list[str]:
    tls = cluster.config.tls
    if tls is None:
        return []
    flags = [
        f"--{flag}={cluster.inventory.resolve(path)}"
        for flag, path in (("cacert", tls.ca), ("cert", tls.cert))
        if path
    ]
    scheme, _, path = (tls.key or "").partition(":")
    if scheme == "file":
        flags.append(f"--key={cluster.inventory.resolve(path)}")
    return flags


def _warn(rec: Recorder, entry: Entry, bump: Bump | None) -> None:
    kubernetes = any(prefix.startswith(_REGISTRY) and count for prefix, count in entry.counts.items())
    if kubernetes and bump is None:
        rec.find(
            "revision_not_bumped",
            Severity.WARNING,
            entry.id,
            f"this is the store of a Kubernetes cluster, and its revision goes back to {entry.revision}: controllers and "
            "kubelets that saw later ones keep stale caches and miss changes until each of them is restarted",
            "restore with --bump-revision 1000000000 --mark-compacted (etcdutl 3.6 and later); else restart every API "
            "server, controller manager, scheduler and kubelet",
        )
    for kind in entry.alarms:
        rec.find(
            f"alarm_{kind.lower()}",
            Severity.WARNING,
            entry.id,
            f"the alarm {kind} was on when this snapshot was taken: the restored cluster has it too",
            "etcdctl alarm disarm, once there is room",
        )


def _require_empty(to: Path) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UsageError(f"{to} is not empty", hint="name an empty or a new folder; nothing is overwritten")


def _empty(to: Path, *, remove: bool) -> None:
    with contextlib.suppress(OSError):
        for path in to.iterdir():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        if remove:
            to.rmdir()


__all__ = ["commands", "fetch", "parse_member", "restore"]
