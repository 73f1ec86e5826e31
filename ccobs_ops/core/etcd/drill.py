"""The exercise `restore_drill`: restore a snapshot into a sandbox, start a real cluster of it, and prove what came back.

The path is the one of `etcd restore`: the same choice, download and etcdutl. Only the place differs.
"""

from __future__ import annotations

import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.etcd import proof
from ccobs_ops.core.etcd.archive import Archive, pick
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.etcd.copy import Copy, running, sandbox_members
from ccobs_ops.core.etcd.etcdutl import Bump, RestoredMember, check_flags, restore_member
from ccobs_ops.core.etcd.layout import Entry
from ccobs_ops.core.etcd.restore import DATABASE, fetch
from ccobs_ops.core.exercise import Exercise, Recorder, failed, passed
from ccobs_ops.core.postgres.sandbox import remove_tree, sandbox
from ccobs_ops.core.rehearsal import CAPABILITY as REHEARSED
from ccobs_ops.core.rehearsal import Rehearsal
from ccobs_ops.core.units import format_seconds


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a drill was asked for."""

    members: int
    snapshot: str | None
    at: datetime | None
    bump: Bump | None
    seed: int


def drill(
    ctx: Context,
    name: str,
    *,
    members: int | None = None,
    snapshot: str | None = None,
    at: datetime | None = None,
    store: str | None = None,
    bump_revision: int | None = None,
    seed: int | None = None,
    rehearsal: Rehearsal | None = None,
) -> Exercise:
    """Restore a snapshot of cluster `name` into a sandbox, start it with 1 or 3 `members`, and prove what came back.

    `snapshot` and `at` choose as for a restore; `store` reads the copy of the archive there; `seed` repeats the sample; with
    `bump_revision` the snapshot is restored once more with that, to see that old watches end. Claims `restorable`, `exact`
    (canaries), `counts`, `identical` (HashKV), `readable`, `writable`, `isolated`, `rto`, `rpo`; with three members
    `quorum`; with a bump `compacted`. Nothing of the sandbox is left. With a `rehearsal` it is one layer of a larger drill
    (`drill_restore`), which uses the copy and asks production nothing. Raises UsageError for wrong usage.
    """
    cluster = EtcdCluster(ctx.inventory, name)
    opened = cluster.store(store, read_only=True)
    archive = Archive(rehearsal.opened(opened) if rehearsal is not None else opened, cluster.prefix)
    count = members or cluster.config.drill.members
    if count not in (1, 3):
        raise UsageError(f"a drill has 1 or 3 members, not {count}", hint="leave --members out, or give 3")
    bump = Bump(bump_revision) if bump_revision is not None else None
    check_flags(cluster, bump)
    chosen = int.from_bytes(os.urandom(4)) if seed is None else seed
    wanted = Wanted(count, snapshot, at, bump, chosen)

    def body(rec: Recorder) -> str:
        rec.details |= {"store": store or cluster.config.store, "members": count, "seed": chosen}
        with rec.phase("plan"):
            entries, findings = archive.catalogue()
            rec.findings.extend(findings)
            entry = pick(entries, snapshot=snapshot, at=at, where=archive.locate("catalogue/"))
        rec.details |= {"snapshot_id": entry.id, "revision": entry.revision}
        return _Drill(ctx, rec, cluster, archive, entry, wanted, rehearsal).run()

    capability = "restore_drill" if rehearsal is None else REHEARSED
    return attempt(ctx, cluster.target, capability, "restorable", body)


class _Drill:
    """One drill on its way; exists so that its steps need not hand six things to each other."""

    def __init__(
        self,
        ctx: Context,
        rec: Recorder,
        cluster: EtcdCluster,
        archive: Archive,
        entry: Entry,
        wanted: Wanted,
        rehearsal: Rehearsal | None = None,
    ) -> None:
        self.ctx = ctx
        self.rec = rec
        self.cluster = cluster
        self.archive = archive
        self.entry = entry
        self.wanted = wanted
        self.began = ctx.timer()
        self.rehearsal = rehearsal
        self.lost_at = ctx.clock() if rehearsal is None else rehearsal.lost_at
        self.token = f"ccobs-drill-{secrets.token_hex(4)}"

    def run(self) -> str:
        """Restore, start, prove, tear down; returns the reason in one line."""
        members = sandbox_members(self.wanted.members)
        with sandbox(self.cluster, None, self.cluster.config.sandbox.ttl, by_path=False) as folder:
            database = folder / DATABASE
            fetch(self.ctx, self.rec, self.archive, self.entry, database)
            self._restore(folder, members)
            room = self.entry.db_bytes
            with running(self.ctx, self.cluster, folder, members, token=self.token, room=room) as copy:
                self._ready(copy)
                self.ctx.progress.begin("verify")
                with self.rec.phase("verify"):
                    self._prove(copy, database)
                if self.rehearsal is not None:
                    self.rehearsal.proven(self.rec, copy)
            if self.wanted.bump is not None:
                self._prove_bump(folder, self.wanted.bump)
        rto = format_seconds(self.rec.measurements["rto_seconds"])
        keys = self.entry.counts.get("", 0)
        return f"snapshot {self.entry.id}: revision {self.entry.revision}, {keys} keys, ready in {rto}"

    def _restore(self, folder: Path, members: list[RestoredMember]) -> None:
        self.ctx.progress.begin("restore")
        with self.rec.phase("restore") as meter, ThreadPoolExecutor(len(members)) as pool:
            done = [
                pool.submit(
                    restore_member,
                    self.cluster,
                    folder / DATABASE,
                    folder / member.name,
                    member,
                    members,
                    token=self.token,
                    verified=True,
                )
                for member in members
            ]
            for each in done:
                each.result()
                meter.add(self.entry.db_bytes)

    def _ready(self, copy: Copy) -> None:
        self.ctx.progress.begin("start")
        with self.rec.phase("start"):
            copy.await_ready()
        rto = self.ctx.timer() - self.began
        keys = self.entry.counts.get("", 0)
        self.rec.measurements |= {
            "rto_seconds": rto,
            "bytes_restored": float(self.entry.raw_bytes),
            "bytes_per_second": self.entry.raw_bytes / max(rto, 1e-9),
            "keys_per_second": keys / max(rto, 1e-9),
        }
        limit = self.cluster.config.objectives.rto.total_seconds()
        told = f"ready after {format_seconds(rto)}, promised within {format_seconds(limit)}"
        count = len(copy.clients)
        self.rec.claim(
            passed("restorable", f"snapshot {self.entry.id} started as a cluster of {count}, which answers")
        )
        self.rec.claim(passed("rto", told) if rto <= limit else failed("rto", told))
        if self.rehearsal is not None:
            self.rehearsal.ready(self.rec)

    def _prove(self, copy: Copy, database: Path) -> None:
        rec, entry = self.rec, self.entry
        file = proof.open_file(database)
        proof.prove_isolated(rec, copy)
        proof.prove_counts(rec, entry, copy, file.facts().revision)
        result = proof.prove_canaries(self.ctx, rec, self.cluster, entry, copy)
        newest = self.wanted.snapshot is None
        proof.prove_rpo(rec, self.cluster, result, reference=self.wanted.at or self.lost_at, counts=newest)
        sample = self.cluster.config.drill.sample
        survey = proof.prove_readable(rec, entry, copy, file, sample, self.wanted.seed)
        proof.report_objects(rec, entry, copy, survey)
        proof.prove_identical(rec, self.cluster, entry, copy, production=self.rehearsal is None)
        proof.prove_writable(rec, copy)
        if self.wanted.members == 3:
            proof.prove_quorum(self.ctx, rec, copy)

    def _prove_bump(self, folder: Path, bump: Bump) -> None:
        """Once more with the revision raised: the proofs before needed the revision that it was taken at."""
        members = sandbox_members(1)
        for member in sandbox_members(self.wanted.members):
            remove_tree(folder / member.name)
        with self.rec.phase("bump"):
            restore_member(
                self.cluster,
                folder / DATABASE,
                folder / members[0].name,
                members[0],
                members,
                token=self.token,
                bump=bump,
                verified=True,
            )
            with running(
                self.ctx, self.cluster, folder, members, token=self.token, room=self.entry.db_bytes
            ) as copy:
                copy.await_ready()
                proof.prove_compacted(self.rec, self.entry, copy, bump.by)
