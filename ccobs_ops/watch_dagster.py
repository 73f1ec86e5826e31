"""What an instance of Dagster knows about itself, for `ccobs_ops.core.watch.dagster`.

    python -m ccobs_ops.watch_dagster

prints it as one JSON document, for processes that do not import Dagster. It reads the instance that DAGSTER_HOME
names, as Dagster's own daemon does: no webserver and no daemon has to run.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.events import DagsterEventType
from dagster._core.scheduler.instigation import InstigatorStatus, ScheduleInstigatorData

from ccobs_ops.core.watch.dagster import FAILED_STATUS, Facts, Run, Schedule

_MOST_RUNS = 500
_LOOKED_AT = 40
_EXPLAINS = ("exercise", "incident")
"""Metadata of a failure that say that something of ours is on record about it."""


def facts_of(instance: dg.DagsterInstance, crons: Mapping[str, str], *, runs_since: datetime) -> Facts:
    """The facts of `instance`; `crons` are the schedules of the code location, and when each is due."""
    return Facts(_daemons(instance), _schedules(instance, crons), _runs(instance, runs_since))


def crons_of(repository: dg.RepositoryDefinition) -> dict[str, str]:
    """The schedules of a code location by name."""
    return {each.name: str(each.cron_schedule) for each in repository.schedule_defs}


def _daemons(instance: dg.DagsterInstance) -> dict[str, datetime | None]:
    beats = instance.get_daemon_heartbeats()
    return {
        kind: _moment(beats[kind].timestamp) if kind in beats else None
        for kind in instance.get_required_daemon_types()
    }


def _schedules(instance: dg.DagsterInstance, crons: Mapping[str, str]) -> tuple[Schedule, ...]:
    found: list[Schedule] = []
    for state in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE):
        data = state.instigator_data
        if state.name not in crons or state.status is InstigatorStatus.STOPPED:
            continue
        if not isinstance(data, ScheduleInstigatorData) or data.start_timestamp is None:
            continue
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        last = _moment(ticks[0].timestamp) if ticks else None
        found.append(Schedule(state.name, crons[state.name], _moment(data.start_timestamp), last))
    return tuple(found)


def _runs(instance: dg.DagsterInstance, since: datetime) -> tuple[Run, ...]:
    records = instance.get_run_records(dg.RunsFilter(created_after=since), limit=_MOST_RUNS)
    found: list[Run] = []
    looked_at = 0
    for record in records:  # the newest first
        run = record.dagster_run
        failed = run.status is dg.DagsterRunStatus.FAILURE
        looked_at += failed
        limit = run.tags.get("dagster/max_runtime", "")
        found.append(
            Run(
                id=run.run_id,
                root=run.root_run_id or run.run_id,
                job=run.job_name,
                status=FAILED_STATUS if failed else run.status.value,
                created_at=record.create_timestamp.astimezone(UTC)
                if record.create_timestamp.tzinfo
                else record.create_timestamp.replace(tzinfo=UTC),
                started_at=None if record.start_time is None else _moment(record.start_time),
                will_retry=run.tags.get("dagster/will_retry") == "true",
                explained=failed and looked_at <= _LOOKED_AT and _explained(instance, run.run_id),
                limit_seconds=float(limit) if limit.replace(".", "", 1).isdigit() else None,
            )
        )
    return tuple(found)


def _explained(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether every step that failed did so because an exercise did not pass: that one is on record and has its incident."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.STEP_FAILURE).records
    failures: list[bool] = []
    for record in records:
        event = record.event_log_entry.dagster_event
        data = None if event is None else event.step_failure_data.user_failure_data
        failures.append(data is not None and any(name in data.metadata for name in _EXPLAINS))
    return bool(failures) and all(failures)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def main(_argv: Sequence[str] | None = None) -> int:
    """The command line of this module."""
    from ccobs_ops.definitions import defs  # noqa: PLC0415 - it needs the inventory
    from ccobs_ops.resources.source import InventorySource  # noqa: PLC0415

    window: timedelta = InventorySource.find().inventory.watch.run_window
    definitions = defs() if callable(defs) else defs
    repository = definitions.get_repository_def()
    with dg.DagsterInstance.get() as instance:
        found = facts_of(instance, crons_of(repository), runs_since=datetime.now(UTC) - window)
    json.dump(found.to_json(), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
