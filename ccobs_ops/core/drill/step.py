"""The steps of a drill: as they are planned, and as they came out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ccobs_ops.core.exercise import Verdict


class Kind(StrEnum):
    """What a step does."""

    PRECHECK = "precheck"
    RESTORE = "restore"
    VERIFY = "verify"
    PROBE = "probe"
    DRIFT = "drift"
    CLEANUP = "cleanup"


AFTERWARDS = (Kind.DRIFT, Kind.CLEANUP)
"""Kinds of steps that come after the service is ready."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: it begins when all that it `needs` has PASSED; a clean-up when all of that has come to an end at all."""

    name: str
    kind: Kind
    target: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step; `exercise` is the id of the exercise that holds its evidence."""

    verdict: Verdict
    reason: str
    exercise: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A step with its outcome. Offsets are seconds since the drill was declared, None if it was never started."""

    step: Step
    outcome: Outcome
    started_seconds: float | None = None
    finished_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """How long it took; 0 if it was never started."""
        if self.started_seconds is None or self.finished_seconds is None:
            return 0.0
        return self.finished_seconds - self.started_seconds

    def to_json(self) -> dict[str, Any]:
        """The stable JSON form (docs/json.md)."""
        return {
            "name": self.step.name,
            "target": self.step.target,
            "needs": list(self.step.needs),
            "kind": self.step.kind.value,
            "started_seconds": self.started_seconds,
            "finished_seconds": self.finished_seconds,
            "verdict": self.outcome.verdict.value,
            "reason": self.outcome.reason,
            "exercise": self.outcome.exercise,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Result:
        """The result that `to_json` wrote."""
        return cls(
            Step(row["name"], Kind(row["kind"]), row["target"], tuple(row["needs"])),
            Outcome(Verdict(row["verdict"]), row["reason"], row["exercise"]),
            row["started_seconds"],
            row["finished_seconds"],
        )


def service_ready_with(steps: Iterable[Step]) -> tuple[str, ...]:
    """The steps that the service is ready with once all of them PASSED: those before it that no other one needs."""
    before = [step for step in steps if step.kind not in AFTERWARDS]
    needed = {need for step in before for need in step.needs}
    return tuple(step.name for step in before if step.name not in needed)


def critical_path(results: Mapping[str, Result], ends: Iterable[str]) -> tuple[str, ...]:
    """The steps that decided when the last of `ends` was finished, in order; () if one of `ends` did not PASS.

    Each began the moment that the one before it ended, so their durations add up to the time from declared to the end.
    """
    last = [results[name] for name in ends]
    if not last or any(
        each.outcome.verdict is not Verdict.PASSED or each.finished_seconds is None for each in last
    ):
        return ()
    path = [_latest(last)]
    while path[-1].step.needs:
        path.append(_latest(results[need] for need in path[-1].step.needs))
    return tuple(each.step.name for each in reversed(path))


def _latest(results: Iterable[Result]) -> Result:
    return max(results, key=lambda each: each.finished_seconds or 0.0)
