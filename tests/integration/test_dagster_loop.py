"""The operating loop by Dagster alone, on a real lab: what breaks is found, repaired, proven and closed by nobody.

Each is told of at a recording webhook and a real Alertmanager, when it opens and when it is over. Then again while daemon,
code server and run workers get kill -9: one fault, once. CCOBS_SWEEP=N makes N rounds with all of them, and all again
with the ledger on PostgreSQL.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ccobs_ops.core import incidents
from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.incident import Incident, State
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.remediation import history
from ccobs_ops.inventory_load import load
from ccobs_ops.lab import Lab
from ccobs_ops.lab.faults.base import Damage
from ccobs_ops.lab.plan import ARTIFACTS, write_private
from ccobs_ops.lab.s3 import client
from tests.alerts_support import ALERTMANAGER, Alertmanager, Webhook, needs_alertmanager
from tests.dagster_support import Dagster, pause
from tests.lab_support import take_down_and_check
from tests.ledger_support import database, server
from tests.postgres_support import Estate, wait_for, why

__all__ = ["server"]

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]
SWEEP = int(os.environ.get("CCOBS_SWEEP", "0"))
FAULTS = (
    ("archiver-stopped", "postgres/observatory"),
    ("replica-delete", "replication/artifacts"),
    ("drift-change", "terraform/production"),
)
TELLS = {
    "channels": {"hook": {"apprise": "file:secrets/hook", "timeout": "5s"}},
    "storm": {"size": 50, "window": "1m"},
}
LEDGERS = ("sqlite", "postgresql") if SWEEP else ("sqlite",)
BETWEEN_DISPATCHES = timedelta(seconds=60)
PATIENCE_SECONDS = 420.0
"""Two cores that others use too: half a minute a run is not rare."""


@dataclass
class Loop:
    """A lab with Dagster at it."""

    lab: Lab
    dagster: Dagster
    hook: Webhook
    """What the channel `hook` was told."""
    paged: Webhook
    """What Alertmanager told its own receiver."""

    @contextmanager
    def context(self) -> Iterator[Context]:
        inventory = load(self.lab.inventory_path)
        with Ledger.of(inventory) as ledger:
            yield Context(inventory, ledger)

    def incidents(self) -> list[Incident]:
        with self.context() as ctx:
            return incidents.listed(ctx.ledger, limit=1000)

    def of_fault(self, fault: str) -> list[Incident]:
        """The incidents that tell of `fault`."""
        told = {
            "archiver-stopped": lambda one: one.target == "ccobs/agents" and "postgres" in one.claim,
            "replica-delete": lambda one: one.target == "replication/artifacts" and one.claim == "complete",
            "drift-change": lambda one: one.target == "terraform/production" and one.capability == "drift",
        }[fault]
        return [one for one in self.incidents() if told(one)]

    def break_all(self, faults: tuple[tuple[str, str], ...] = FAULTS) -> dict[str, Damage]:
        return {fault: self.lab.break_(fault, at=at) for fault, at in faults}

    def repaired(self, broken: dict[str, Damage]) -> bool:
        """Whether reality is as it was: looked at itself, not at what the ledger says."""
        us, eu = client(self.lab.plan, "us"), client(self.lab.plan, "eu")
        if us.get_bucket_versioning(Bucket="observatory-uploads").get("Status") != "Enabled":
            return False
        for key in broken["replica-delete"].keys if "replica-delete" in broken else ():
            try:
                copy = eu.get_object(Bucket=ARTIFACTS, Key=key)["Body"].read()
            except eu.exceptions.NoSuchKey:
                return False
            if copy != us.get_object(Bucket=ARTIFACTS, Key=key)["Body"].read():
                return False
        return next(look for look in self.lab.status() if look.name == "agent").ok

    def settled(self) -> bool:
        """Whether every fault was found and nothing about a target is open any more."""
        known = self.incidents()
        return all(self.of_fault(fault) for fault, _ in FAULTS) and not any(
            one.is_open for one in known if one.target != "ccobs/dagster"
        )

    def told(self) -> str:
        rows = [
            f"{one.key}: {one.state.value}, {one.attempts} attempts, {one.reason}" for one in self.incidents()
        ]
        with self.context() as ctx:
            ended = ctx.ledger.events(kind=history.ENDED, limit=100)
        rows += [f"{each.at:%H:%M:%S} {each.subject}: {dict(each.details)}" for each in reversed(ended)]
        return "\n".join([*rows, self.dagster.tail("daemon")[-1500:]])


@pytest.fixture(scope="module", params=LEDGERS)
def loop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("loop")
    directory = folder / "lab"
    services = ("agent", "replication-agent", "filer-sync", "terraform")
    with ExitStack() as stack:
        stack.callback(take_down_and_check, directory)
        hook, paged = Webhook(), Webhook()
        stack.callback(hook.close)
        stack.callback(paged.close)
        lab = Lab.up(directory, scale=0.05, services=services)
        write_private(directory / "secrets" / "hook", hook.url)
        alerts = yaml.safe_load(yaml.safe_dump(TELLS))
        if ALERTMANAGER is not None:
            manager = Alertmanager(folder / "am", receiver=paged)
            stack.callback(manager.close)
            alerts["channels"]["am"] = {"alertmanager": manager.url}
        if request.param == "postgresql":
            text = lab.inventory_path.read_text().splitlines(keepends=True)
            url = database(request.getfixturevalue("server"))
            new = [f"ledger: {url}\n" if line.startswith("ledger:") else line for line in text]
            lab.inventory_path.write_text("".join([*([] if new != text else [f"ledger: {url}\n"]), *new]))
            for service in services[:3]:
                lab.restart_service(service)
        hurry(lab.inventory_path, alerts)
        with Estate.of(lab) as estate:
            for exercise in (
                estate.backup(),
                estate.validate(),
            ):  # a repair of what holds data rests on a proof
                assert exercise.verdict is Verdict.PASSED, why(exercise)
        dagster = stack.enter_context(Dagster.on(lab.inventory_path, folder / "dagster"))
        yield Loop(lab, dagster, hook, paged)


def hurry(path: Path, alerts: dict[str, Any]) -> None:
    """What production does every ten minutes to an hour, every minute; and production's root repaired without an approval."""
    document = yaml.safe_load(path.read_text())
    document["alerts"] = alerts
    document["schedules"] = {"terraform_scan": "* * * * *", "replication_sweep": "* * * * *"}
    document["watch"] |= {"interval": "5s"}
    document["terraform"] = {"production": document["terraform"]["production"]}
    # rounds of kills turn the same attribute again and again: with the default of 3 it counts as fought over, rightly
    repeatedly = {"automatic": True, "approval": False, "max_flips": 100}
    document["terraform"]["production"]["remediation"] |= repeatedly
    document["terraform"]["production"]["account"].pop("also_managed_by")
    document["terraform"]["production"]["account"]["exclude"] += ["observatory-*-dr", "observatory-staging*"]
    del document["replication"]["backups"]
    document["remediation"]["targets"].pop("replication/backups")
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def test_what_breaks_is_found_repaired_proven_and_closed_by_nobody(loop: Loop) -> None:
    broken = loop.break_all()
    try:
        wait_for(
            lambda: loop.repaired(broken) and loop.settled(),
            PATIENCE_SECONDS,
            "everything to be repaired, and every incident closed",
        )
    except AssertionError as error:
        raise AssertionError(f"{error}\n{loop.told()}") from None
    assert loop.repaired(broken)
    for fault, _ in FAULTS:
        found = loop.of_fault(fault)
        assert all(one.state is State.CLOSED and one.verified_by for one in found), fault
        repaired = [one for one in found if one.remediation_started_at is not None]
        assert repaired, f"{fault} closed without a repair: {found}"
        for one in repaired:
            assert one.detected_at >= broken[fault].at
            assert one.remediation_started_at is not None and one.restored_at is not None
            assert one.verified_at is not None
            assert one.detected_at <= one.remediation_started_at <= one.restored_at, one
            # a proof by the sensor may finish a moment before the repair says that it is done
            assert one.remediation_started_at <= one.verified_at, one


def test_each_of_them_was_told_when_it_opened_and_when_it_was_over(loop: Loop) -> None:
    for fault, _ in FAULTS:
        for one in loop.of_fault(fault):
            wait_for(lambda one=one: words(loop.hook, one)[-1:] == ["resolved"], 60, f"{one.key} to be over")
            assert words(loop.hook, one)[0] == "opened", one.key
    assert all(loop.of_fault(fault) for fault, _ in FAULTS)


def words(hook: Webhook, one: Incident) -> list[str]:
    return [kind for kind, key in hook.told if key == one.key]


@needs_alertmanager
def test_a_real_alertmanager_fired_and_resolved_each_of_them(loop: Loop) -> None:
    def status(one: Incident) -> list[str]:
        labels = {"target": one.target, "capability": one.capability, "claim": one.claim}
        return [
            alert["status"]
            for body in loop.paged.bodies
            for alert in body["alerts"]
            if labels.items() <= alert["labels"].items()
        ]

    fired = 0
    for one in [each for fault, _ in FAULTS for each in loop.of_fault(fault)]:
        assert one.verified_at is not None
        if one.verified_at - one.detected_at < BETWEEN_DISPATCHES and "firing" not in status(one):
            continue  # over before anybody was told: to an Alertmanager nothing has happened
        wait_for(lambda one=one: status(one)[-1:] == ["resolved"], 60, f"{one.key} to be resolved")
        assert "firing" in status(one), one.key
        fired += 1
    assert fired


def test_cron_reads_the_same_instance_without_importing_dagster(loop: Loop) -> None:
    from ccobs_ops.cli.watch import facts

    found = facts(loop.dagster.home, loop.lab.inventory_path)
    assert {"SENSOR", "SCHEDULER"} <= {name for name, at in found.daemons.items() if at is not None}
    assert {"terraform_scan", "replication_sweep"} <= {
        one.name for one in found.schedules if one.last_tick_at
    }
    assert {"remediate_incident"} <= {run.job for run in found.runs}


@pytest.mark.parametrize("seed", range(SWEEP or 1))
def test_kills_leave_nothing_open_and_nothing_done_twice(loop: Loop, seed: int) -> None:
    rng = random.Random(seed)
    loop.lab.heal()
    broken = loop.break_all(FAULTS if SWEEP else FAULTS[:1])
    killed: list[str] = []
    for _ in range(4):
        pause(rng.uniform(4, 14))
        victim = rng.choice(("daemon", "code", "worker", "worker"))
        if loop.dagster.kill(victim, rng):
            killed.append(victim)
        loop.dagster.ensure()
    try:
        wait_for(
            lambda: loop.repaired(broken) and loop.settled(), PATIENCE_SECONDS, "everything to be closed"
        )
    except AssertionError as error:
        raise AssertionError(f"after kills of {killed}: {error}\n{loop.told()}") from None
    once(loop)


def once(loop: Loop) -> None:
    """No attempt was begun or ended twice, and nothing was repaired that no attempt was begun for."""
    with loop.context() as ctx:
        begun: Counter[tuple[str, int]] = Counter()
        acts: Counter[tuple[str, str]] = Counter()
        for one in loop.incidents():
            for each in incidents.history(ctx.ledger, one.id):
                if each.name == "remediating":
                    begun[one.id, each.details["number"]] += 1
                    subject = "postgres/observatory" if one.target == "ccobs/agents" else one.target
                    acts[subject, each.details["action"]] += 1
        assert begun and set(begun.values()) == {1}
        ends = Counter(
            (each.subject, each.details["attempt"])
            for each in ctx.ledger.events(kind=history.ENDED, limit=1000)
            if each.details["action"] != "look"
        )
        assert set(ends) <= set(begun) and set(ends.values()) == {1}
        for target, capability, action in (
            ("postgres/observatory", "restart", "restart"),
            ("replication/artifacts", "repair", "objects"),
            ("terraform/production", "remediation", "plan"),
        ):
            done = ctx.ledger.exercises(target=target, capability=capability, limit=1000)
            assert len(done) <= acts[target, action], f"{capability} of {target} was done without an attempt"
