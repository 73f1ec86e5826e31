"""Inject faults, one after another and in pairs, and demand of everything else that it does its work.

    healthy? -> break -> look until each fault is found and named -> incident -> alert -> permitted repair -> heal
             -> look until every claim is proven again -> every incident closed by that proof

A fault counts as found when a claim that it must refute is not PASSED and a finding names it by its code. In a pair one
fault may hide the other (a store that is down hides what is damaged in it): that must show as UNKNOWN, and the hidden one
must be named once the other is healed. Anything else that opens an incident is a false alarm.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING

from ccobs_ops.core import incidents, ledger_chain
from ccobs_ops.core.attempt import attempt
from ccobs_ops.core.context import Silent
from ccobs_ops.core.errors import OpsError, UsageError
from ccobs_ops.core.exercise import Exercise, Recorder, Verdict
from ccobs_ops.core.incident import Incident
from ccobs_ops.core.loop import catch_up
from ccobs_ops.core.remediation.policy import Act
from ccobs_ops.core.remediation.run import due, remediate
from ccobs_ops.core.remediation.table import Action
from ccobs_ops.inventory_load import load
from ccobs_ops.lab.selftest.expectations import EXPECTATIONS, Expectation, expectation
from ccobs_ops.lab.selftest.looks import Look, exercise, look_of
from ccobs_ops.lab.selftest.outcome import Outcome, Round, conclude, measure

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.lab.faults import Damage
    from ccobs_ops.lab.lab import Lab

TARGET = "ccobs/selftest"
CAPABILITY = "selftest"
LOOK_AGAIN_SECONDS = 1.0
HEALTHY_SECONDS = 180.0
_MOST_TRANSITIONS = 10_000


@dataclass(slots=True)
class _Seen:
    """What is known of one fault while its round runs."""

    expected: Expectation
    damage: Damage
    detected_at: datetime | None = None
    named: bool = False
    not_passed: bool = False
    """Whether one of its looks did not PASS, for whatever reason."""
    hidden_by: str = ""
    incident: str = ""
    repaired_by: str = ""


Alerted = Callable[["Context", Incident, datetime], bool | None]
"""Sends what is due, and tells whether somebody was told of an incident since a moment; None where there is no channel."""


def paged(lab: Lab) -> Alerted:
    """Whether the lab's pager was told that an incident is open, or over: read from what it wrote down itself."""

    def look(ctx: Context, incident: Incident, since: datetime) -> bool | None:
        from ccobs_ops.core.alerts.dispatch import dispatch  # noqa: PLC0415 - apprise is heavy
        from ccobs_ops.lab.services.pager import messages  # noqa: PLC0415

        if not ctx.inventory.alerts.channels:
            return None
        dispatch(ctx)
        file = messages(lab.plan)
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        told = [json.loads(line) for line in lines]
        bodies = [each["body"] for each in told if datetime.fromisoformat(each["at"]) >= since]
        return any(
            body.get("key") == incident.key or incident.key in str(body.get("message"))
            for body in bodies
            if body.get("kind") in (("opened", "grown", "escalated") if incident.is_open else ("resolved",))
        )

    return look


def selftest(
    ctx: Context,
    lab: Lab,
    *,
    faults: Sequence[str] = (),
    pairs: int = 0,
    seed: int = 1,
    alerted: Alerted | None = None,
) -> Exercise:
    """Inject `faults` (all of the lab by default) one after another, then `pairs` seeded pairs of them.

    Claims `recall` (every fault was found and named), `no_false_alarm`, `closed` (every incident was closed by a proof) and,
    where the inventory has a channel, `told` (every incident reached one). Measurements: `recall_ratio`, `faults`, `pairs`,
    `false_alarms`, `not_closed`, and `time_to_detect_` and `time_to_restore_` with `p50_seconds` and `max_seconds`.
    Raises UsageError for an inventory whose environment is not `lab`, and for a fault that is not there.
    """
    if ctx.inventory.environment != "lab":
        raise UsageError(
            f"the self-test breaks things, and the environment of {ctx.inventory.path} is {ctx.inventory.environment!r}",
            hint="it runs on a lab only: ccobs-ops lab up --dir D, and --inventory D/inventory.yaml",
        )
    wanted = [expectation(name) for name in faults] or list(EXPECTATIONS)
    return attempt(
        ctx,
        TARGET,
        CAPABILITY,
        "recall",
        lambda rec: _Test(ctx, lab, rec, alerted or paged(lab)).run(wanted, pairs=pairs, seed=seed),
    )


def choose_pairs(
    wanted: Sequence[Expectation], count: int, seed: int
) -> list[tuple[Expectation, Expectation]]:
    """`count` different pairs of `wanted`, chosen by `seed`; all there are, where there are fewer."""
    every = list(itertools.combinations(wanted, 2))
    return Random(seed).sample(every, min(count, len(every)))


class _Test:
    """One run. It leaves the lab healed, whatever happens."""

    def __init__(self, ctx: Context, lab: Lab, rec: Recorder, alerted: Alerted) -> None:
        self.tell = ctx.progress.note
        self.ctx = replace(ctx, progress=Silent())  # a line a round, and not one for each phase of each look
        self.lab, self.rec, self.alerted = lab, rec, alerted
        self.rounds: list[Round] = []

    def run(self, wanted: Sequence[Expectation], *, pairs: int, seed: int) -> str:
        looks = sorted({look for each in wanted for look in each.looks})
        with self.rec.phase("healthy"):
            if sick := self._until_healthy(looks):
                raise OpsError(
                    f"the lab is not healthy to begin with: {'; '.join(sick)}",
                    hint="ccobs-ops lab heal, then again",
                )
        singles = [(each,) for each in wanted]
        both = choose_pairs(wanted, pairs, seed)
        total = len(singles) + len(both)
        for name, plans in (("singles", singles), ("pairs", both)):
            with self.rec.phase(name):
                for plan in plans:
                    self.rounds.append(self._whole_round(plan, seed=seed + len(self.rounds)))
                    self.tell(_line(len(self.rounds), total, self.rounds[-1]))
        conclude(self.rec, self.rounds)
        return ""

    def _whole_round(self, plan: Sequence[Expectation], *, seed: int) -> Round:
        """A round, or why it came to no end; the lab is whole again in any case, or there is no other round."""
        try:
            try:
                return self._round(plan, seed=seed)
            except OpsError as error:
                self.lab.heal()
                left = self._until_healthy(sorted({look for each in plan for look in each.looks}))
                return Round(
                    tuple(each.fault for each in plan), (), not_closed=tuple(left), error=error.message
                )
            except BaseException:
                self.lab.heal()
                raise
        except BaseException:
            measure(self.rec, self.rounds)
            raise

    def _round(self, plan: Sequence[Expectation], *, seed: int) -> Round:
        since, began = self._head(), self.ctx.clock()
        names = tuple(each.fault for each in plan)
        looks = sorted({look for each in plan for look in each.looks})
        seen, problem = self._break(plan, looks, seed)
        if not seen and len(plan) > 1:  # what is down cannot be damaged; damaged first, it can go down
            seen, _ = self._break(plan[::-1], looks, seed)
        if not seen:
            return Round(names, (), left_out=problem)
        try:
            self._detect(seen, looks)
            fresh = list(self._moved(since).values())
            told = {each.id: self.alerted(self.ctx, each, began) for each in fresh}
            for one in seen:
                mine = [each for each in fresh if _explains(one.expected, each) and _of(one, each)]
                one.incident = mine[0].id if mine else ""
            self._repair(seen, fresh)
        finally:
            self.lab.heal()
        sick = self._until_healthy(looks)
        after = self._moved(since)
        # what agents found by themselves: a fault breaks more than what it is looked for by
        if others := sorted(
            {look for each in after.values() if each.is_open and (look := look_of(each)) is not None}
        ):
            sick += self._until_healthy(others)
            after = self._moved(since)
        for one in seen:
            incident = after.get(one.incident)
            if incident is not None and told.get(one.incident):
                told[one.incident] = self.alerted(self.ctx, incident, began)
        return Round(
            names,
            tuple(self._outcome(one, after, told) for one in seen),
            false_alarms=tuple(
                f"{each.key}: {each.reason}"
                for each in after.values()
                if not any(_explains(one.expected, each) for one in seen)
            ),
            not_closed=(*(each.key for each in after.values() if each.is_open), *sick),
        )

    def _break(
        self, plan: Sequence[Expectation], looks: Sequence[Look], seed: int
    ) -> tuple[list[_Seen], str]:
        """Inject all of `plan` in this order, or none of it; then it is said why."""
        seen: list[_Seen] = []
        for each in plan:
            try:
                seen.append(_Seen(each, self.lab.break_(each.fault, at=each.at or None, seed=seed)))
            except OpsError as error:
                self.lab.heal()
                self._until_healthy(looks)
                return [], f"{each.fault} cannot be broken here: {error.message.splitlines()[0]}"
        return seen, ""

    def _detect(self, seen: Sequence[_Seen], looks: Sequence[Look]) -> None:
        """Look until all are named; what is then hidden by the other is looked for with the other healed."""
        self._look_until_named(seen, looks)
        for one in [each for each in seen if not each.named]:
            others = [each for each in seen if each is not one]
            hiding = next((each for each in others if each.named and one.not_passed), None)
            if hiding is None:
                continue
            self.lab.heal(hiding.expected.fault)
            one.hidden_by = hiding.expected.fault
            self._look_until_named([one], one.expected.looks)

    def _look_until_named(self, seen: Sequence[_Seen], looks: Sequence[Look]) -> None:
        until = time.monotonic() + max(one.expected.within for one in seen)
        self._read_inventory()
        while True:
            for look in looks:
                done = exercise(self.ctx, look)
                for one in seen:
                    _notice(one, look, done)
            catch_up(self.ctx)
            if all(one.named for one in seen) or time.monotonic() > until:
                return
            time.sleep(LOOK_AGAIN_SECONDS)

    def _repair(self, seen: Sequence[_Seen], fresh: Sequence[Incident]) -> None:
        """What the inventory allows to be done by itself, once."""
        mine = {each.id for each in fresh}
        for each in due(self.ctx):
            if each.incident.id not in mine or not isinstance(each.decision, Act):
                continue
            if each.decision.action is Action.LOOK:
                continue
            done = remediate(
                self.ctx,
                each.incident.id,
                dry_run=False,
                confirmation=each.subject,
                by="selftest",
                by_hand=False,
            )
            for one in seen:
                if _explains(one.expected, each.incident):
                    one.repaired_by = f"{done.action.value}: {done.outcome}"

    def _until_healthy(self, looks: Iterable[Look]) -> list[str]:
        """Look until every claim is PASSED; returns what still is not when the time is over."""
        until = time.monotonic() + HEALTHY_SECONDS
        left = list(looks)
        self._read_inventory()
        while True:
            results = [(look, exercise(self.ctx, look)) for look in left]
            left = [look for look, done in results if done.verdict is not Verdict.PASSED]
            catch_up(self.ctx)
            if not left:
                return []
            if time.monotonic() > until:
                return [
                    f"{look.target} {look.capability}: {done.reason}"
                    for look, done in results
                    if look in left
                ]
            time.sleep(LOOK_AGAIN_SECONDS)

    def _read_inventory(self) -> None:
        """Some faults put something between us and a region, and write that into the lab's inventory."""
        self.ctx = replace(self.ctx, inventory=load(self.lab.inventory_path))

    def _head(self) -> int:
        with self.ctx.ledger.reading() as connection:
            return ledger_chain.head(connection)

    def _moved(self, since: int) -> dict[str, Incident]:
        """The incidents to which something happened behind position `since` of the chain, by id, as they are now."""
        moved = incidents.transitions(self.ctx.ledger, after=since, limit=_MOST_TRANSITIONS)
        return {each.incident.id: each.incident for each in moved}

    def _outcome(self, one: _Seen, after: dict[str, Incident], told: dict[str, bool | None]) -> Outcome:
        incident = after.get(one.incident)
        return Outcome(
            one.expected.fault,
            one.damage.target,
            one.damage.at,
            one.detected_at,
            one.named,
            one.hidden_by,
            one.incident,
            told.get(one.incident),
            one.repaired_by,
            incident.verified_at if incident else None,
        )


def _notice(one: _Seen, look: Look, done: Exercise) -> None:
    """Whether `done` shows the fault: a claim that it refutes, or for what only warns the finding alone."""
    if look not in one.expected.looks:
        return
    named = any(finding.code in one.expected.codes for finding in done.findings)
    refuted = any(
        claim.verdict is not Verdict.PASSED
        and f"{done.target} {done.capability} {claim.name}" in one.expected.claims
        for claim in done.claims
    )
    one.not_passed = one.not_passed or done.verdict is not Verdict.PASSED
    if one.detected_at is None and (refuted or (named and not one.expected.claims)):
        one.detected_at = done.finished_at
    one.named = one.named or (named and (refuted or not one.expected.claims))


def _explains(expected: Expectation, incident: Incident) -> bool:
    return incident.key in expected.claims or any(fnmatchcase(incident.key, each) for each in expected.also)


def _of(one: _Seen, incident: Incident) -> bool:
    """Whether it was not over before the fault began."""
    return incident.verified_at is None or incident.verified_at >= one.damage.at


def _line(number: int, total: int, one: Round) -> str:
    what = " + ".join(one.faults)
    if one.left_out:
        return f"{number:>3}/{total}  left out  {what}: {one.left_out}"
    if one.error:
        return f"{number:>3}/{total}  NOT DONE  {what}: {one.error}"
    found = "found" if all(each.found for each in one.outcomes) else "MISSED"
    more = f", {len(one.false_alarms)} false alarms" if one.false_alarms else ""
    more += f", {len(one.not_closed)} not closed" if one.not_closed else ""
    return f"{number:>3}/{total}  {found:<8}  {what}{more}"
