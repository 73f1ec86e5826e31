"""The operating loop: `watch` looks at agents, freshness and Dagster, `incidents` reduces, `remediation` launches repairs.

`remediation` is the only sensor that repairs: no two can be at the same thing. All three read the ledger; what a
repair rests on is looked at again by its job.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from ccobs_ops.assets.reporting import failures_for_people
from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Clock, utc_now
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.loop import catch_up
from ccobs_ops.core.remediation.policy import Act
from ccobs_ops.core.remediation.run import Due, due
from ccobs_ops.core.watch.agents import watch_agents
from ccobs_ops.core.watch.dagster import Facts, watch_dagster
from ccobs_ops.core.watch.freshness import watch_freshness
from ccobs_ops.inventory import Inventory
from ccobs_ops.jobs.remediation import JOB, OP, RemediateConfig
from ccobs_ops.watch_dagster import crons_of, facts_of

INCIDENT, TARGET = "ccobs/incident", "ccobs/target"
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_LEAST_SLOT_SECONDS = 60.0
_MOST_RUNS = 100


def loop_sensors(inventory: Inventory, *, running: bool, clock: Clock = utc_now) -> list[dg.SensorDefinition]:
    """`watch`, `incidents` and `remediation`, where `inventory` protects anything. On from the start only if `running`."""
    if not any((inventory.postgres, inventory.etcd, inventory.replication, inventory.terraform)):
        return []
    seconds = max(1, int(inventory.watch.interval.total_seconds()))
    status = dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name="watch",
        minimum_interval_seconds=seconds,
        default_status=status,
        description="Looks at the agents' signs of life, at how old backups and snapshots are, and at Dagster's own daemons, "
        "schedules and runs; records what changed. `ccobs-ops watch` does the same from cron where no daemon runs.",
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        def facts() -> Facts:
            since = clock() - inventory.watch.run_window
            crons = {} if context.repository_def is None else crons_of(context.repository_def)
            return facts_of(context.instance, crons, runs_since=since)

        with failures_for_people(), Ledger.of(inventory) as ledger:
            ctx = Context(inventory, ledger, clock=clock)
            found = [watch_agents(ctx), *watch_freshness(ctx), watch_dagster(ctx, facts)]
        told = [f"{one.target} {one.capability}: {one.verdict.value}" for one in found if one is not None]
        return dg.SkipReason("; ".join(told) or "nothing changed")

    @dg.sensor(
        name="incidents",
        minimum_interval_seconds=seconds,
        default_status=status,
        description="Opens an incident for every claim that stopped being PASSED, and closes it by the exercise that "
        "proves it again.",
    )
    def incidents() -> dg.SkipReason:
        with failures_for_people(), Ledger.of(inventory) as ledger:
            news = catch_up(Context(inventory, ledger, clock=clock))
        return dg.SkipReason("; ".join(f"{one.name}: {one.incident.key}" for one in news[:20]) or "no news")

    @dg.sensor(
        name="remediation",
        job_name=JOB,
        minimum_interval_seconds=seconds,
        default_status=status,
        description="Launches the smallest repair that the inventory allows for each open incident, bounded by attempts, "
        "back-off and a circuit breaker. The run looks again before it acts, and afterwards.",
    )
    def remediation(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        if not inventory.remediation.automatic:
            yield dg.SkipReason("the inventory says `remediation: {automatic: false}`")
            return
        busy = _busy(context.instance)
        with failures_for_people(), Ledger.of(inventory) as ledger:
            ctx = Context(inventory, ledger, clock=clock)
            catch_up(ctx)
            found = due(ctx)
        asked = False
        for one in found:
            if isinstance(one.decision, Act) and one.subject not in busy:
                busy.add(one.subject)
                asked = True
                yield request(
                    one, one.decision, clock(), slot_seconds=max(_LEAST_SLOT_SECONDS, 4.0 * seconds)
                )
        if not asked:
            yield dg.SkipReason(_told(found))

    return [watch, incidents, remediation]


def request(one: Due, decision: Act, now: datetime, *, slot_seconds: float) -> dg.RunRequest:
    """The run for one attempt. Its key holds the time in slots: a run that died before it began the attempt is
    launched again.
    """
    slot = datetime.fromtimestamp(int(now.timestamp() // slot_seconds * slot_seconds), UTC)
    config = RemediateConfig(
        incident=one.incident.id,
        dry_run=False,
        confirm=one.subject,
        operator="sensor remediation",
        reason=f"{decision.action.value}: {one.incident.key}"[:400],
        automatic=True,
    )
    return dg.RunRequest(
        run_key=f"{one.incident.id}/{decision.action.value}-{decision.number}/{slot:%Y%m%dT%H%M%S}",
        run_config=dg.RunConfig(ops={OP: config}),
        tags={INCIDENT: one.incident.id, TARGET: one.subject},
    )


def _busy(instance: dg.DagsterInstance) -> set[str]:
    """The targets that a run of the job is at."""
    runs = instance.get_runs(dg.RunsFilter(job_name=JOB, statuses=UNFINISHED), limit=_MOST_RUNS)
    return {run.tags[TARGET] for run in runs if TARGET in run.tags}


def _told(found: list[Due]) -> str:
    if not found:
        return "no incident is open"
    said = [
        f"{one.incident.id} {one.incident.key}: "
        + ("its repair is under way" if isinstance(one.decision, Act) else one.decision.reason)
        for one in found[:20]
    ]
    return "; ".join(said)
