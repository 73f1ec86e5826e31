"""The order of a drill's steps, how they are taken, and the path that decides when the service is ready."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccobs_ops.core.drill.engine import perform
from ccobs_ops.core.drill.plan import plan
from ccobs_ops.core.drill.step import Kind, Outcome, Result, Step, critical_path, service_ready_with
from ccobs_ops.core.errors import OpsError, UnknownError, UsageError
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.inventory_load import loads
from ccobs_ops.inventory_problems import InventoryError
from ccobs_ops.inventory_rules_drills import cycle

ESTATE = """\
version: 1
environment: lab
stores:
  us: {bucket: backups-us}
  eu: {bucket: backups-eu, region: eu-west-1}
postgres:
  main: {dsn: host=db, store: us}
  billing: {dsn: host=db2, store: us}
etcd:
  control: {endpoints: ["https://10.0.0.1:2379"], store: us}
terraform:
  production: {dir: tf}
drills:
  whole:
    scenario: control-plane-and-data
    targets:
      - {target: etcd/control, needs: [postgres/main, postgres/billing]}
      - {target: postgres/main}
      - {target: postgres/billing}
    probes: [{name: rows, target: postgres/main, sql: select 1, expect: 1}]
"""
GOOD = Outcome(Verdict.PASSED, "good")


def test_a_target_is_restored_once_all_that_it_needs_was_verified() -> None:
    steps = {step.name: step for step in plan(loads(ESTATE), "whole").steps}
    assert steps["restore_postgres_main"].needs == ("precheck",)
    assert steps["restore_etcd_control"].needs == (
        "precheck",
        "verify_postgres_main",
        "verify_postgres_billing",
    )
    assert set(steps["probe"].needs) == {
        "verify_postgres_main",
        "verify_postgres_billing",
        "verify_etcd_control",
    }
    assert steps["drift_production"].needs == steps["cleanup_etcd_control"].needs == ("probe",)
    assert service_ready_with(steps.values()) == ("probe",)


def test_a_scenario_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="restores etcd/control, which database-loss does not"):
        plan(loads(ESTATE), "whole", scenario="database-loss")
    with pytest.raises(UsageError, match="has no drill 'hole'"):
        plan(loads(ESTATE), "hole")
    with pytest.raises(UsageError, match="has no lost_region"):
        plan(loads(ESTATE), "whole", scenario="region-loss")


@pytest.mark.parametrize(
    ("old", "new", "key", "told"),
    [
        (
            "{target: postgres/main}",
            "{target: postgres/man}",
            "targets[1].target",
            "no target 'postgres/man'",
        ),
        (
            "{target: postgres/main}",
            "{target: terraform/production}",
            "targets[1].target",
            "there is no target",
        ),
        (
            "{target: postgres/main}",
            "{target: postgres/main, store: ue}",
            "targets[1].store",
            "no store 'ue'",
        ),
        ("{target: postgres/billing}", "{target: postgres/main}", "targets[2].target", "twice"),
        (
            "{target: postgres/billing}",
            "{target: postgres/billing, needs: [etcd/control]}",
            "targets",
            "the order goes in a circle: etcd/control needs postgres/billing needs etcd/control",
        ),
        ("needs: [postgres/main, ", "needs: [postgres/other, ", "targets[0].needs", "does not restore"),
        ("sql: select 1, expect: 1", "sql: select 1", "probes[0]", "expects nothing"),
        ("sql: select 1, expect: 1", "expect: 1", "probes[0]", "asks nothing"),
        ("sql: select 1, expect: 1", "path: /health", "probes[0].target", "asked of a restored etcd copy"),
        ("    probes:", "    drift: [other]\n    probes:", "drift", "no terraform root 'other'"),
        ("control-plane-and-data", "region-loss", "lost_region", "does not say which region"),
        (
            "control-plane-and-data",
            "region-loss\n    lost_region: us-east-1",
            "targets[1].store",
            "lies in the lost region",
        ),
        ("control-plane-and-data", "database-loss", "targets[0].target", "database-loss does not restore"),
    ],
)
def test_what_contradicts_itself_is_found_with_its_key(old: str, new: str, key: str, told: str) -> None:
    assert old in ESTATE
    with pytest.raises(InventoryError) as caught:
        loads(ESTATE.replace(old, new, 1), "inv.yaml")
    found = [problem for problem in caught.value.problems if problem.key == f"drills.whole.{key}"]
    assert found, caught.value.problems
    assert told in found[0].message
    assert found[0].line > 0


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3).map(tuple)))
def test_a_circle_is_named_exactly_where_there_is_one(needs: dict[str, tuple[str, ...]]) -> None:
    found = cycle(needs)
    left = dict(needs)
    while free := [name for name, those in left.items() if not any(n in left for n in those)]:
        for name in free:
            del left[name]
    assert bool(found) == bool(left)
    for one, two in zip(found, (*found[1:], *found[:1]), strict=True):
        assert two in needs[one]


class Clock:
    """A timer that moves only when a step says that it took time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float, outcome: Outcome = GOOD) -> Callable[[], Outcome]:
        def act() -> Outcome:
            with self.lock:
                self.now += seconds
            return outcome

        return act


def run(steps: list[Step], actions: dict[str, Callable[[], Outcome]], clock: Clock, **more: object):
    told: list[str] = []
    results = perform(
        steps,
        actions,
        timer=clock,
        began=100.0,
        deadline=1e9,
        abandon=told.append,
        **more,  # type: ignore[arg-type]
    )
    return results, told


def chain(*names: str, kind: Kind = Kind.RESTORE) -> list[Step]:
    return [
        Step(name, kind, "postgres/main", (names[position - 1],) if position else ())
        for position, name in enumerate(names)
    ]


def test_the_durations_on_the_critical_path_add_up_to_the_end() -> None:
    clock = Clock()
    steps = [
        *chain("precheck", "restore", "verify"),
        Step("beside", Kind.RESTORE, "etcd/control", ("precheck",)),
        Step("probe", Kind.PROBE, "drill/x", ("verify", "beside")),
        Step("cleanup", Kind.CLEANUP, "postgres/main", ("probe",)),
    ]
    gate = threading.Event()
    slow = clock.spend(5.0)

    def beside() -> Outcome:
        gate.wait(10)
        return clock.spend(1.0)()

    def verify() -> Outcome:
        done = slow()
        gate.set()
        return done

    actions: dict[str, Callable[[], Outcome]] = {
        "precheck": clock.spend(1.0),
        "restore": clock.spend(2.0),
        "verify": verify,
        "beside": beside,
        "probe": clock.spend(0.5),
        "cleanup": clock.spend(9.0),
    }
    results, _ = run(steps, actions, clock)
    path = critical_path(results, service_ready_with(steps))
    assert path[0] == "precheck"
    assert path[-1] == "probe"
    assert sum(results[name].seconds for name in path) == pytest.approx(results["probe"].finished_seconds)
    for one, two in pairwise(path):
        assert results[one].finished_seconds == results[two].started_seconds
    assert results["cleanup"].finished_seconds == pytest.approx(18.5)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(OpsError("it is broken"), Verdict.FAILED), (UnknownError("no answer"), Verdict.UNKNOWN)],
)
def test_a_step_that_fails_stops_what_depends_on_it_and_is_still_cleaned_up(
    error: OpsError, verdict: Verdict
) -> None:
    clock = Clock()
    steps = [
        *chain("precheck", "restore", "verify"),
        Step("other", Kind.RESTORE, "etcd/control", ("precheck",)),
        Step("cleanup", Kind.CLEANUP, "postgres/main", ("verify",)),
    ]
    cleaned: list[str] = []

    def broken() -> Outcome:
        raise error

    actions: dict[str, Callable[[], Outcome]] = {
        "precheck": clock.spend(1.0),
        "restore": broken,
        "verify": lambda: pytest.fail("it was started"),
        "other": clock.spend(1.0),
        "cleanup": lambda: cleaned.append("yes") or GOOD,
    }
    results, _ = run(steps, actions, clock)
    assert results["restore"].outcome == Outcome(verdict, error.message)
    assert results["verify"].started_seconds is None
    assert results["verify"].outcome == Outcome(Verdict.UNKNOWN, "not started: restore did not pass")
    assert results["other"].outcome.verdict is Verdict.PASSED
    assert cleaned == ["yes"]
    assert critical_path(results, ("verify", "other")) == ()


def test_an_error_that_nobody_expects_is_raised_once_all_is_cleaned_up() -> None:
    clock = Clock()
    cleaned: list[str] = []

    def defect() -> Outcome:
        raise KeyError("defect")

    steps = [*chain("restore"), Step("cleanup", Kind.CLEANUP, "postgres/main", ("restore",))]
    with pytest.raises(KeyError, match="defect"):
        run(steps, {"restore": defect, "cleanup": lambda: cleaned.append("yes") or GOOD}, clock)
    assert cleaned == ["yes"]


def test_a_drill_that_takes_too_long_is_given_up_and_cleaned_up() -> None:
    given_up = threading.Event()
    cleaned: list[str] = []
    now = [0.0]

    def hangs() -> Outcome:
        now[0] = 11.0
        assert given_up.wait(30)
        return Outcome(Verdict.UNKNOWN, "given up")

    steps = [
        *chain("restore", "verify"),
        Step("cleanup", Kind.CLEANUP, "postgres/main", ("verify",)),
    ]
    results = perform(
        steps,
        {"restore": hangs, "verify": lambda: GOOD, "cleanup": lambda: cleaned.append("yes") or GOOD},
        timer=lambda: now[0],
        began=0.0,
        deadline=10.0,
        abandon=lambda why: given_up.set() or cleaned.append(why),
    )
    assert cleaned == ["the drill ran for longer than its deadline of 10 s", "yes"]
    assert results["verify"].started_seconds is None


def test_a_result_is_read_back_as_it_was_written() -> None:
    one = Result(Step("a", Kind.VERIFY, "etcd/x", ("b",)), Outcome(Verdict.FAILED, "why", "id"), 1.5, 2.5)
    assert Result.from_json(one.to_json()) == one
    assert one.seconds == 1.0
