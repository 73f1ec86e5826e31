"""`postgres restore`: what an operator uses in an emergency.

It is the path that validation drills every night: the same plan, the same unpacking and the same WAL feed, into a folder of
the operator's choice, with production's own configuration.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Literal

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError, UsageError
from ccobs_ops.core.exercise import Exercise, Recorder, Severity, failed, passed, rfc3339
from ccobs_ops.core.postgres.archive import Archive
from ccobs_ops.core.postgres.feed import FOLDER, Feeder, remove
from ccobs_ops.core.postgres.instance import conf, recovery_settings
from ccobs_ops.core.postgres.plan import Plan, bound, plan
from ccobs_ops.core.postgres.sandbox import server_user
from ccobs_ops.core.postgres.server import Cluster, Tools
from ccobs_ops.core.postgres.started import StartedServer
from ccobs_ops.core.postgres.target import RecoveryTarget
from ccobs_ops.core.postgres.unpack import unpack_chain
from ccobs_ops.core.postgres.view import View, look
from ccobs_ops.core.postgres.wal import format_lsn
from ccobs_ops.core.process import User, run
from ccobs_ops.core.units import format_seconds

_SYNC_SECONDS = 3600.0
_MARK = "# written by ccobs-ops for this recovery"


def restore(
    ctx: Context,
    name: str,
    target: RecoveryTarget,
    directory: Path,
    *,
    start: bool = False,
    action: Literal["promote", "pause"] = "promote",
    store: str | None = None,
    port: int | None = None,
) -> Exercise:
    """Restore cluster `name` to `target` into the empty or absent folder `directory`.

    Without `start` everything that recovery needs is put there and the commands to go on are in `details.next`; with it
    the server is started on `port` (its own one by default), recovers, and is left running: promoted, or with `action`
    pause readable and waiting at the target. `store` reads the archive's copy there.

    Claims `restored` and, when started, `reached` and `rto`. A restore that is interrupted or finds damage removes what it
    wrote. Raises UsageError for an unknown cluster or store or a folder that is not empty.
    """
    cluster = Cluster(ctx.inventory, name)
    archive = Archive(cluster.store(store), cluster.prefix)
    directory = directory.expanduser().absolute()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(
            f"{directory} is not an empty folder: nothing was touched",
            hint="name a folder that is empty or does not exist yet",
        )
    return attempt(
        ctx,
        cluster.target,
        "restore",
        "restored",
        lambda rec: _restore(
            ctx, rec, cluster, archive, target, directory, start=start, action=action, port=port
        ),
        must_record=False,
    )


def _restore(
    ctx: Context,
    rec: Recorder,
    cluster: Cluster,
    archive: Archive,
    target: RecoveryTarget,
    directory: Path,
    *,
    start: bool,
    action: Literal["promote", "pause"],
    port: int | None,
) -> str | None:
    began = ctx.timer()
    with rec.phase("plan"):
        view = look(ctx, archive, cluster.tools, timeline=target.timeline)
        rec.findings.extend(view.findings)
        wanted = plan(archive, view, target, stops_by=_bound(ctx, cluster, view, target))
        tools = cluster.tools(wanted.entry.major)
        user = server_user(cluster)
    rec.details |= {"target": wanted.goal, "backup_id": wanted.entry.id, "directory": str(directory)}
    ctx.progress.note(
        f"restoring {cluster.target} to {wanted.goal} from backup {wanted.entry.id} into {directory}"
    )
    for finding in view.findings:
        ctx.progress.note(f"{finding.severity.value}: {finding.message}")
    wal = directory / f"{FOLDER}_{secrets.token_hex(3)}"
    feeder = Feeder(ctx, archive, wanted, wal, user, bounded=start)
    with contextlib.ExitStack() as stack:
        fresh = not directory.exists()
        try:
            _make(directory, user)
            alone = len(wanted.chain) == 1  # pg_combinebackup wants its output folder empty
            if alone:
                stack.enter_context(feeder)
            unpack_chain(ctx, rec, archive, wanted.chain, directory, tools, user, durable=True)
            if not alone:
                stack.enter_context(feeder)
            _configure(directory, wal, wanted, user, action)
            if not start:
                ctx.progress.begin("wal", len(wanted.files) * wanted.segment_size)
                with rec.phase("wal"):  # what is left to fetch once the backup is unpacked
                    feeder.wait()
            with rec.phase("sync"):
                run([tools["initdb"], "--sync-only", "-D", directory], deadline=_SYNC_SECONDS, user=user)
        except BaseException:
            stack.close()
            _empty(directory, also_itself=fresh)
            raise
        # from here on, what is there is whole and stays, whatever happens
        rec.claim(
            passed(
                "restored",
                f"backup {wanted.entry.id} verified against its manifest and written to {directory}",
            )
        )
        if not start:
            return _hand_over(rec, tools, user, wal, wanted)
        return _start(ctx, rec, cluster, tools, user, wal, wanted, view, feeder, began, action, port)


def _bound(ctx: Context, cluster: Cluster, view: View, target: RecoveryTarget) -> int | None:
    try:
        return bound(ctx.ledger, cluster.target, view, target)
    except OpsError:
        return None  # without the ledger more WAL is fetched than needed, and no restore fails


def _make(directory: Path, user: User | None) -> None:
    """Make `directory` private and `user`'s."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    if user is not None:
        os.chown(directory, user.uid, user.gid)


def _empty(directory: Path, *, also_itself: bool) -> None:
    """Remove what this restore has written."""
    for path in list(directory.iterdir()) if directory.is_dir() else ():
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    if also_itself:
        with contextlib.suppress(OSError):
            directory.rmdir()


def _configure(directory: Path, wal: Path, wanted: Plan, user: User | None, action: str) -> None:
    settings = recovery_settings(wanted, Path(wal.name), action)
    settings |= {"primary_conninfo": "", "primary_slot_name": ""}
    auto = directory / "postgresql.auto.conf"
    known = auto.read_text() if auto.exists() else ""
    lines = [f"{line}  {_MARK}\n" for line in conf(settings).splitlines()]
    _write(auto, known + ("" if known.endswith("\n") or not known else "\n") + "".join(lines), user)
    if not (directory / "postgresql.conf").exists():
        _write(
            directory / "postgresql.conf",
            "# the backup held no postgresql.conf: put production's here\n",
            user,
        )
    for name, text in (("pg_hba.conf", "local all all peer\n"), ("pg_ident.conf", "")):
        if not (directory / name).exists():
            _write(directory / name, text, user)
    (directory / "standby.signal").unlink(missing_ok=True)
    _write(directory / "recovery.signal", "", user)


def unconfigure(wal: Path, user: User | None) -> None:
    """Take our recovery settings out again and remove the WAL folder, once recovery is over."""
    auto = wal.parent / "postgresql.auto.conf"
    kept = [line for line in auto.read_text().splitlines(keepends=True) if _MARK not in line]
    _write(auto, "".join(kept), user)
    remove(wal)


def _write(path: Path, text: str, user: User | None) -> None:
    path.write_text(text)
    path.chmod(0o600)
    if user is not None:
        os.chown(path, user.uid, user.gid)


def _hand_over(rec: Recorder, tools: Tools, user: User | None, wal: Path, wanted: Plan) -> str:
    directory = wal.parent
    prefix = f"setpriv --reuid={user.name} --regid={user.gid} --clear-groups " if user is not None else ""
    rec.details["next"] = [
        f"{prefix}{tools['pg_ctl']} -D {directory} -l {directory}/server.log -w -t 86400 start",
        f"rm -r {wal}",
    ]
    rec.find(
        "archiving_as_configured",
        Severity.WARNING,
        str(directory),
        "the restored server has production's configuration: its port, its archive_command, its background workers",
        "look through postgresql.conf before you start it while the old server may still run",
    )
    return (
        f"{wanted.entry.id} is in {directory} with all of its WAL; start it with the command in details.next"
    )


def _start(
    ctx: Context,
    rec: Recorder,
    cluster: Cluster,
    tools: Tools,
    user: User | None,
    wal: Path,
    wanted: Plan,
    view: View,
    feeder: Feeder,
    began: float,
    action: Literal["promote", "pause"],
    port: int | None,
) -> str:
    directory = wal.parent
    ctx.progress.begin("replay")
    server = StartedServer(ctx, cluster, tools, directory, user, port)
    with rec.phase("replay") as meter:
        end = server.start_and_recover(feeder, paused=action == "pause" and not wanted.target.latest)
        meter.add(feeder.bytes)
    rto = ctx.timer() - began
    rec.measurements |= {
        "rto_seconds": rto,
        "bytes_restored": float(wanted.raw_bytes),
        "wal_segments_replayed": float(feeder.segments),
        "replay_wait_ratio": feeder.waited() / max(rec.phases[-1].seconds, 1e-9),
    }
    rec.details |= {
        "recovered_lsn": format_lsn(end.replay_lsn),
        "recovered_to": rfc3339(end.last_commit_at) if end.last_commit_at else None,
        "port": server.port,
        "log": str(server.log),
    }
    if action == "promote" or wanted.target.latest:
        unconfigure(wal, user)
        rec.details["next"] = [
            f"ccobs-ops postgres backup {cluster.name}  # once applications use the new server"
        ]
    else:
        rec.details["next"] = ["select pg_wal_replay_resume();  -- promotes at this point"]
    newest = view.newest
    if wanted.target.latest and newest is not None and end.replay_lsn <= newest.lsn:
        told = f"replay ended at {format_lsn(end.replay_lsn)}, before the newest commit at {format_lsn(newest.lsn)}"
        rec.find("target_not_reached", Severity.CRITICAL, str(directory), told)
        rec.claim(failed("reached", told))
    else:
        rec.claim(passed("reached", f"recovered to {wanted.goal}: {format_lsn(end.replay_lsn)}"))
    limit = cluster.config.objectives.rto.total_seconds()
    told = f"ready after {format_seconds(rto)}, promised within {format_seconds(limit)}"
    rec.claim(passed("rto", told) if rto <= limit else failed("rto", told))
    return f"recovered to {rec.details['recovered_to'] or wanted.goal} and running on port {server.port}"
