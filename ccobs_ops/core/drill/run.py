"""The exercise `drill`: several restores as one plan, from declared to service ready, measured step by step.

Precheck → restore each → verify each → probe the service → scan for drift → clean up. Every restore is the one that proves
its target every night, into a sandbox of its own that a reaper ends if this process is killed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Context
from ccobs_ops.core.drill import approval, extract, probe, readiness
from ccobs_ops.core.drill.conclusion import conclude
from ccobs_ops.core.drill.engine import perform
from ccobs_ops.core.drill.held import Held
from ccobs_ops.core.drill.objects import rehearse_objects
from ccobs_ops.core.drill.plan import DrillPlan, Layer, plan
from ccobs_ops.core.drill.situation import Asked, Point, Situation
from ccobs_ops.core.drill.step import Kind, Outcome, Result
from ccobs_ops.core.errors import UnknownError, UsageError
from ccobs_ops.core.etcd.drill import drill as etcd_drill
from ccobs_ops.core.exercise import Exercise, Recorder, Verdict, passed, unknown
from ccobs_ops.core.folders import only_one, private
from ccobs_ops.core.guard import permit
from ccobs_ops.core.postgres.server import Cluster
from ccobs_ops.core.postgres.validate import validate
from ccobs_ops.core.rehearsal import PostgresRehearsal, Rehearsal
from ccobs_ops.core.terraform.scan import scan
from ccobs_ops.core.units import format_seconds

if TYPE_CHECKING:
    from ccobs_ops.core.context import Progress

CAPABILITY = "drill"


def drill(
    ctx: Context, name: str, asked: Asked, *, scenario: str | None = None, dry_run: bool = True
) -> Exercise:
    """Run the drill `name` (or another `scenario` on its targets) and record it as capability `drill` of `drill/NAME`.

    Claims `ready`, `approved` where it is asked for, each step by its name, `rto`, `rpo`, and what the scenario proves.
    Nothing restored is left. Raises RefusedError for a dry run (`plan` says what it would do), UsageError for wrong usage.
    """
    planned = plan(ctx.inventory, name, scenario=scenario)
    permit("drill", planned.target, allowed=("drill",), dry_run=dry_run, confirmation=planned.target)
    if asked.transaction is not None and not planned.scenario.extract:
        raise UsageError(
            f"{planned.scenario.name} is not about a transaction",
            hint="leave the transaction out, or name a moment",
        )
    if asked.at is not None and asked.at > ctx.clock():
        raise UsageError(
            "the moment of the disaster lies in the future", hint="name a moment that has passed"
        )

    def body(rec: Recorder) -> str:
        if planned.config.approval and (waits := _approved(ctx, rec, planned, asked)):
            return waits
        return _Drill(ctx, rec, planned, asked).run()

    lock = private(ctx.inventory.state / "drill") / f"{planned.name}.lock"
    with only_one(lock, f"{planned.target} is running already", hint="wait for it to end"):
        return attempt(ctx, planned.target, CAPABILITY, "finished", body)


def _approved(ctx: Context, rec: Recorder, planned: DrillPlan, asked: Asked) -> str:
    """Claim `approved`; returns why the drill has to wait, "" if it has not."""
    found = approval.take(ctx, planned, asked)
    rec.details["approval"] = found.to_json(ctx.clock())
    if found.approved_by is not None:
        rec.claim(passed("approved", f"{found.id}, by {found.approved_by}"))
        return ""
    told = f"proposed as {found.id}; it waits for an approval"
    rec.claim(unknown("approved", told))
    rec.details["next"] = [f"ccobs-ops drill approve {planned.name} --by WHO --reason WHY"]
    return told


class _Drill:
    """One drill on its way."""

    def __init__(self, ctx: Context, rec: Recorder, planned: DrillPlan, asked: Asked) -> None:
        self.ctx = ctx
        self.rec = rec
        self.plan = planned
        self.asked = asked
        self.began = ctx.timer()
        self.situation = Situation(ctx, planned, asked, ctx.clock())
        self.point: Point | None = None
        self.held = {layer.target: Held(layer.target, self._begin(layer)) for layer in planned.layers}

    def run(self) -> str:
        """Take every step, then say what they come to."""
        self.ctx.progress.note(f"{self.plan.target} ({self.plan.scenario.name}) is declared")
        results = perform(
            self.plan.steps,
            {step.name: self._action(step.name, step.kind, step.target) for step in self.plan.steps},
            timer=self.ctx.timer,
            began=self.began,
            deadline=self.plan.config.deadline.total_seconds(),
            abandon=self._abandon,
            tell=self._tell,
        )
        return conclude(self.rec, self.situation, self.point, results, self.held)

    def _action(self, name: str, kind: Kind, target: str) -> Callable[[], Outcome]:
        if kind is Kind.PRECHECK:
            return self._precheck
        if kind is Kind.PROBE:
            return self._probe
        if kind is Kind.DRIFT:
            return lambda: self._drift(target.partition("/")[2])
        held = self.held[target]
        if kind is Kind.RESTORE:
            return held.restore
        if kind is Kind.CLEANUP:
            return held.clean_up
        return held.verify if name.startswith("verify_") else lambda: self._extract(target)

    def _precheck(self) -> Outcome:
        claim, findings = readiness.readiness(self.ctx.ledger, self.plan, now=self.ctx.clock())
        self.rec.claim(claim)
        self.rec.findings.extend(findings)
        self.point = self.plan.scenario.settle(self.situation)
        return Outcome(Verdict.PASSED, f"to be restored: {self.point.told}")

    def _probe(self) -> Outcome:
        databases = {
            layer.target: _database(self.ctx, layer) for layer in self.plan.layers if layer.noun == "postgres"
        }
        return probe.ask_all(self.plan.config.probes, self.held, databases)

    def _extract(self, target: str) -> Outcome:
        copy = self.held[target].copy
        cluster = Cluster(self.ctx.inventory, target.partition("/")[2])
        return extract.extract(
            copy,
            copy.tools,
            str(self.plan.config.table),
            _database(self.ctx, _layer(self.plan, target)),
            cluster.config.sandbox.role,
        )

    def _drift(self, root: str) -> Outcome:
        exercise = scan(replace(self.ctx, progress=_Quiet(lambda: None)), root)
        claim = readiness.drift(exercise, root)
        return Outcome(claim.verdict, claim.reason, exercise.id)

    def _begin(self, layer: Layer) -> Callable[[Held], Exercise]:
        def begin(held: Held) -> Exercise:
            point = self.point
            if point is None:
                raise UnknownError("nothing says where to restore to")
            ctx = replace(
                self.ctx,
                inventory=point.inventory,
                progress=_Quiet(held.check),
                sleep=_checked(self.ctx.sleep, held.check),
            )
            if layer.noun == "postgres":
                rehearsal = PostgresRehearsal(
                    point.lost_at, held.ready, held.proven, point.opened, point.aims.get(layer.name)
                )
                return validate(ctx, layer.name, store=layer.store, rehearsal=rehearsal)
            rehearsal = Rehearsal(point.lost_at, held.ready, held.proven, point.opened)
            if layer.noun == "replication":
                return rehearse_objects(
                    ctx, layer.name, store=layer.store, at=point.before, rehearsal=rehearsal
                )
            chosen = point.snapshots.get(layer.name)
            return etcd_drill(
                ctx,
                layer.name,
                members=point.members,
                snapshot=chosen,
                at=None if chosen else point.before,
                store=layer.store,
                rehearsal=rehearsal,
            )

        return begin

    def _abandon(self, why: str) -> None:
        for held in self.held.values():
            held.abandon(why)

    def _tell(self, result: Result) -> None:
        took = "" if result.started_seconds is None else f" in {format_seconds(result.seconds)}"
        self.ctx.progress.note(
            f"{result.outcome.verdict.value:<8} {result.step.name}{took}: {result.outcome.reason}"
        )


class _Quiet:
    """Progress of one layer among several: only the drill's own steps are shown, and one that was given up ends here."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def begin(self, phase: str, total_bytes: int | None = None, *, unit: str = "bytes") -> None:
        """Go on, or not."""
        self._check()

    def advance(self, count: int) -> None:
        """Go on, or not."""
        self._check()

    def note(self, message: str) -> None:
        """Say nothing."""


if TYPE_CHECKING:
    _: Progress = _Quiet(lambda: None)


def _checked(sleep: Callable[[float], None], check: Callable[[], None]) -> Callable[[float], None]:
    def sleeping(seconds: float) -> None:
        check()
        sleep(seconds)

    return sleeping


def _layer(planned: DrillPlan, target: str) -> Layer:
    return next(layer for layer in planned.layers if layer.target == target)


def _database(ctx: Context, layer: Layer) -> str:
    """The database that a question is asked of when it names none."""
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    config: Any = ctx.inventory.postgres[layer.name]
    return str(config.canary.database or conninfo_to_dict(config.dsn).get("dbname") or "postgres")


__all__ = ["CAPABILITY", "Asked", "drill"]
