"""The exercise `validation`: restore a backup for real into a sandbox, and prove what came back.

The path is the one of `postgres restore`: the same plan, unpacking, feeding and recovery. Only the place differs.
"""

from __future__ import annotations

import os
from datetime import date, datetime

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Claim, Exercise, Phase, Recorder, Verdict, failed, passed, rfc3339
from ccobs_ops.core.postgres import proof
from ccobs_ops.core.postgres.archive import Archive
from ccobs_ops.core.postgres.choose import choose
from ccobs_ops.core.postgres.feed import Feeder
from ccobs_ops.core.postgres.instance import Instance, Recovered
from ccobs_ops.core.postgres.plan import Plan, bound, plan
from ccobs_ops.core.postgres.sandbox import sandbox, server_user
from ccobs_ops.core.postgres.server import Cluster, Tools
from ccobs_ops.core.postgres.strategy import Strategy
from ccobs_ops.core.postgres.target import RecoveryTarget
from ccobs_ops.core.postgres.unpack import unpack_chain
from ccobs_ops.core.postgres.view import View, look_settled
from ccobs_ops.core.postgres.wal import format_lsn
from ccobs_ops.core.postgres.window import silent_canary
from ccobs_ops.core.process import User
from ccobs_ops.core.rehearsal import CAPABILITY as REHEARSED
from ccobs_ops.core.rehearsal import PostgresRehearsal
from ccobs_ops.core.units import format_seconds


def validate(
    ctx: Context,
    name: str,
    *,
    at: datetime | None = None,
    strategy: Strategy = Strategy.NEWEST,
    seed: int | None = None,
    day: date | None = None,
    store: str | None = None,
    rehearsal: PostgresRehearsal | None = None,
) -> Exercise:
    """Restore cluster `name` to `at`, or to where `strategy` says, into a sandbox, and prove what came back.

    `seed` makes the choice repeatable; `day` keeps it inside one UTC day; `store` reads the copy of the archive there,
    which is recorded as capability `replica_validation`: it says nothing of the target's own store. With a `rehearsal` it is
    one layer of a drill (`drill_restore`): that says where to stop, waits while the copy is used, and never asks production.
    Claims `exact`, `rpo`, `rto`, `isolated`, `data_checks`, `intact`, `writable` as the inventory asks for. Nothing of the
    sandbox is left. Raises UsageError for an unknown cluster or store.
    """
    cluster = Cluster(ctx.inventory, name)
    opened = cluster.store(store, read_only=True)
    archive = Archive(rehearsal.opened(opened) if rehearsal is not None else opened, cluster.prefix)
    chosen_seed = int.from_bytes(os.urandom(4)) if seed is None else seed

    def body(rec: Recorder) -> str | None:
        rec.details |= {"strategy": "at" if at is not None else strategy.value, "seed": chosen_seed}
        rec.details |= {"store": store or cluster.config.store} | ({"day": day.isoformat()} if day else {})
        if rehearsal is None:
            silent_canary(ctx, rec, cluster)
        with rec.phase("plan"):
            view = look_settled(ctx, archive, cluster.tools, cluster.config.archive.partial_interval)
            looked_at = ctx.clock()
            rec.findings.extend(view.findings)
            if rehearsal is not None and rehearsal.aim is not None:
                view, target = rehearsal.aim(view)
            elif at is not None:
                target = RecoveryTarget(at=at)
            else:
                target = choose(archive, view, strategy, seed=chosen_seed, day=day, tools_for=cluster.tools)
            wanted = plan(archive, view, target, stops_by=bound(ctx.ledger, cluster.target, view, target))
        rec.details |= {"target": wanted.goal, "backup_id": wanted.entry.id}
        return _Validation(ctx, rec, cluster, archive, view, wanted, looked_at, rehearsal).run()

    of_replica = store is not None and store != cluster.config.store
    capability = "replica_validation" if of_replica else "validation"
    if rehearsal is not None:
        capability = REHEARSED
    return attempt(ctx, cluster.target, capability, "exact", body)


class _Validation:
    """One validation on its way; exists so that its steps need not hand seven things to each other."""

    def __init__(
        self,
        ctx: Context,
        rec: Recorder,
        cluster: Cluster,
        archive: Archive,
        view: View,
        wanted: Plan,
        looked_at: datetime,
        rehearsal: PostgresRehearsal | None = None,
    ) -> None:
        self.ctx = ctx
        self.rec = rec
        self.cluster = cluster
        self.archive = archive
        self.view = view
        self.plan = wanted
        self.looked_at = looked_at if rehearsal is None else rehearsal.lost_at
        self.rehearsal = rehearsal
        self.tools: Tools = cluster.tools(wanted.entry.major)
        self.user: User | None = server_user(cluster)
        self.began = ctx.timer()

    def run(self) -> str:
        """Restore, prove, tear down; returns the reason in one line."""
        with sandbox(self.cluster, self.user, self.cluster.config.sandbox.ttl) as folder:
            copy = Instance(self.ctx, self.cluster, self.tools, folder, self.user)
            wal = folder / "wal"
            copy.data.mkdir(mode=0o700)
            wal.mkdir(mode=0o700)
            if self.user is not None:
                os.chown(copy.data, self.user.uid, self.user.gid)
            with Feeder(self.ctx, self.archive, self.plan, wal, self.user, bounded=True) as feeder:
                unpack_chain(
                    self.ctx, self.rec, self.archive, self.plan.chain, copy.data, self.tools, self.user
                )
                copy.configure(self.plan, wal)
                return self._prove(copy, feeder)

    def _prove(self, copy: Instance, feeder: Feeder) -> str:
        parts: list[Claim] = []
        with copy.running():
            end = self._recover(copy, feeder)
            result = proof.prove_exact(self.ctx, self.rec, self.cluster, self.view, self.plan, copy, end)
            proof.prove_rpo(self.rec, self.cluster, self.plan, end, result, self.looked_at)
            proof.prove_isolated(self.rec, copy)
            proof.prove_data(self.rec, self.cluster, copy, end, production=self.rehearsal is None)
            parts += proof.prove_structure(self.ctx, self.rec, self.cluster, self.tools, copy, self.user)
            if self.cluster.config.validation.promote:
                proof.prove_writable(self.rec, copy)
            if self.rehearsal is not None:
                if any(part.verdict is not Verdict.PASSED for part in parts):
                    proof.conclude_intact(self.rec, parts)  # the drill must not go on with it
                    parts = []
                self.rehearsal.proven(self.rec, copy)
            if self.cluster.config.validation.checksums:
                copy.stop()
                parts.append(proof.prove_checksums(self.rec, self.tools, copy, self.user))
        if not any(claim.name == "intact" for claim in self.rec.claims):
            proof.conclude_intact(self.rec, parts)
        self._bound()
        point = rfc3339(end.last_commit_at) if end.last_commit_at else format_lsn(end.replay_lsn)
        count = f", {result.present} of {result.expected} canaries present, none later" if result else ""
        return f"restored to {point} in {format_seconds(self.rec.measurements['rto_seconds'])}{count}"

    def _recover(self, copy: Instance, feeder: Feeder) -> Recovered:
        ctx, rec = self.ctx, self.rec
        ctx.progress.begin("replay")
        started = ctx.timer()
        redo, done = copy.await_recovery(feeder, self.cluster.config.sandbox.ttl.total_seconds())
        ready = ctx.timer()
        end = copy.recovered()
        waited = feeder.waited()
        rec.phases += [
            Phase("start", max(0.0, redo - started)),
            Phase("replay", max(0.0, done - redo), feeder.bytes),
            Phase("ready", max(0.0, ready - done)),
        ]
        rto = ready - self.began
        limit = self.cluster.config.objectives.rto.total_seconds()
        rec.measurements |= {
            "rto_seconds": rto,
            "bytes_restored": float(self.plan.raw_bytes),
            "wal_segments_replayed": float(feeder.segments),
            "replay_wait_ratio": waited / max(ready - started, 1e-9),
        }
        rec.details |= {
            "recovered_lsn": format_lsn(end.replay_lsn),
            "recovered_to": rfc3339(end.last_commit_at) if end.last_commit_at else None,
            "timeline": self.plan.timeline,
        }
        told = f"ready after {format_seconds(rto)}, promised within {format_seconds(limit)}"
        rec.claim(passed("rto", told) if rto <= limit else failed("rto", told))
        if self.rehearsal is not None:
            self.rehearsal.ready(rec)
        return end

    def _bound(self) -> None:
        """How often a restore may fail and these passes still be as likely as 5 %: 1 - 0.05^(1/n), about 3/n."""
        streak = self.ctx.ledger.streak(self.cluster.target, self.rec.capability) + 1
        self.rec.measurements |= {
            "passes_in_a_row": float(streak),
            "failure_bound_ratio": 1 - 0.05 ** (1 / streak),
        }
