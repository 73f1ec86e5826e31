"""Restoring one member with etcd's own program, and what the program at hand can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ccobs_ops.core.errors import DamagedError, UsageError
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.process import ProcessError, run

DEADLINE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class RestoredMember:
    """A member of a cluster to be: where others reach it, and where clients do."""

    name: str
    peer_url: str
    client_url: str


@dataclass(frozen=True, slots=True)
class Bump:
    """Raise the revision by `by`, so that no client ever sees a revision twice; `mark_compacted` makes old watches fail."""

    by: int
    mark_compacted: bool = True


def check_flags(cluster: EtcdCluster, bump: Bump | None) -> None:
    """Raise UsageError when the etcdutl at hand cannot do what is asked."""
    if bump is not None and not cluster.supports("--bump-revision"):
        raise UsageError(
            f"the etcdutl in {cluster.program('etcdutl').parent} knows no --bump-revision",
            hint="use etcdutl 3.6 or newer (it restores snapshots of older servers); name its folder as bin_dir",
        )


def initial_cluster(members: Sequence[RestoredMember]) -> str:
    """The members as --initial-cluster takes them."""
    return ",".join(f"{member.name}={member.peer_url}" for member in members)


def restore_member(
    cluster: EtcdCluster,
    database: Path,
    directory: Path,
    member: RestoredMember,
    members: Sequence[RestoredMember],
    *,
    token: str,
    bump: Bump | None = None,
    verified: bool = False,
) -> None:
    """Restore the snapshot file `database` into the new folder `directory` as `member` of `members`.

    `verified` says that the file's checksum was looked at just now, so that it is not computed again. Raises DamagedError
    when etcdutl refuses the file.
    """
    argv: list[str | Path] = [
        cluster.program("etcdutl"),
        "snapshot",
        "restore",
        database,
        f"--data-dir={directory}",
        f"--name={member.name}",
        f"--initial-cluster={initial_cluster(members)}",
        f"--initial-cluster-token={token}",
        f"--initial-advertise-peer-urls={member.peer_url}",
    ]
    if verified:
        argv.append("--skip-hash-check")
    if bump is not None:
        argv.append(f"--bump-revision={bump.by}")
        if bump.mark_compacted:
            argv.append("--mark-compacted")
    try:
        run(argv, deadline=DEADLINE_SECONDS)
    except ProcessError as error:
        if error.returncode is None:
            raise
        lines = [line for line in error.tail.splitlines() if line.startswith("Error")] or [error.message]
        raise DamagedError(
            f"etcdutl cannot restore the snapshot: {lines[-1].removeprefix('Error: ')}",
            code="restore_failed",
            subject=str(database),
            hint="use another snapshot: ccobs-ops etcd snapshots",
        ) from error
