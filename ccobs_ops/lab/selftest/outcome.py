"""What came of the rounds of a self-test: times, what was missed, what nothing explains; and the claims that follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ccobs_ops.core.exercise import Recorder, Severity, failed, passed, rfc3339, unknown


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one fault in one round. Moments are aware UTC; None where it did not happen."""

    fault: str
    at: str
    injected_at: datetime
    detected_at: datetime | None = None
    named: bool = False
    hidden_by: str = ""
    incident: str = ""
    alerted: bool | None = None
    repaired_by: str = ""
    verified_at: datetime | None = None

    @property
    def found(self) -> bool:
        """Whether it was found and named."""
        return self.detected_at is not None and self.named


@dataclass(frozen=True, slots=True)
class Round:
    """One round: its faults, the incidents that none of them explains, and what was still open or unproven in the end.

    `left_out` says why the faults cannot be broken here, `error` why the round came to no end.
    """

    faults: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    false_alarms: tuple[str, ...] = ()
    not_closed: tuple[str, ...] = ()
    left_out: str = ""
    error: str = ""


def measure(rec: Recorder, rounds: Sequence[Round]) -> None:
    """Put measurements, findings and the rounds themselves into `rec`."""
    done = [one for each in rounds for one in each.outcomes]
    missed = [one for one in done if not one.found]
    alarms = [told for each in rounds for told in each.false_alarms]
    stuck = [told for each in rounds for told in each.not_closed]
    rec.measurements |= {
        "faults": float(len({one.fault for one in done})),
        "pairs": float(sum(len(each.faults) == 2 and bool(each.outcomes) for each in rounds)),
        "injected": float(len(done)),
        "recall_ratio": 1.0 - len(missed) / len(done) if done else 0.0,
        "false_alarms": float(len(alarms)),
        "not_closed": float(len(stuck)),
    }
    rec.measurements |= _spread(
        "time_to_detect", [_between(one.injected_at, one.detected_at) for one in done]
    )
    rec.measurements |= _spread(
        "time_to_restore", [_between(one.injected_at, one.verified_at) for one in done]
    )
    rec.details |= {"rounds": [_round_json(each) for each in rounds]}
    for one in missed:
        rec.find(
            "not_detected",
            Severity.CRITICAL,
            one.fault,
            f"{one.fault} at {one.at} was not found and named",
            "see details",
        )
    for told in alarms:
        rec.find(
            "false_alarm", Severity.CRITICAL, told.partition(":")[0], f"nothing was broken there: {told}"
        )
    for each in rounds:
        if each.left_out:
            rec.find("left_out", Severity.WARNING, " + ".join(each.faults), each.left_out)
        if each.error:
            rec.find("not_done", Severity.CRITICAL, " + ".join(each.faults), each.error)


def conclude(rec: Recorder, rounds: Sequence[Round]) -> None:
    """Put claims, measurements, findings and the rounds themselves into `rec`."""
    measure(rec, rounds)
    done = [one for each in rounds for one in each.outcomes]
    missed = [one.fault for one in done if not one.found]
    missed += [" + ".join(each.faults) for each in rounds if each.error]
    alarms = [told for each in rounds for told in each.false_alarms]
    stuck = [told for each in rounds for told in each.not_closed]
    untold = [one for one in done if one.alerted is False]
    if not done:
        rec.claim(unknown("recall", "no fault could be injected"))
        return
    told = f"{sum(one.found for one in done)} of {len(done)} injected faults found and named, {len(rounds)} rounds"
    rec.claim(passed("recall", told) if not missed else failed("recall", f"{told}; not {missed[0]}"))
    told = f"{len(alarms)} incidents that no fault explains"
    rec.claim(
        passed("no_false_alarm", told) if not alarms else failed("no_false_alarm", f"{told}: {alarms[0]}")
    )
    told = f"{len(stuck)} incidents or looks that no proof closed"
    rec.claim(passed("closed", told) if not stuck else failed("closed", f"{told}: {stuck[0]}"))
    if any(one.alerted is not None for one in done):
        told = f"{len(untold)} incidents that no channel was told of"
        rec.claim(passed("told", told) if not untold else failed("told", f"{told}: {untold[0].fault}"))


def _between(begin: datetime, end: datetime | None) -> float | None:
    return None if end is None else (end - begin).total_seconds()


def _spread(name: str, values: Iterable[float | None]) -> dict[str, float]:
    known = sorted(value for value in values if value is not None)
    if not known:
        return {}
    return {f"{name}_p50_seconds": known[len(known) // 2], f"{name}_max_seconds": known[-1]}


def _round_json(one: Round) -> dict[str, Any]:
    return {
        "faults": list(one.faults),
        "left_out": one.left_out,
        "error": one.error,
        "false_alarms": list(one.false_alarms),
        "not_closed": list(one.not_closed),
        "outcomes": [
            {
                "fault": each.fault,
                "at": each.at,
                "injected_at": rfc3339(each.injected_at),
                "found": each.found,
                "hidden_by": each.hidden_by,
                "time_to_detect_seconds": _between(each.injected_at, each.detected_at),
                "time_to_restore_seconds": _between(each.injected_at, each.verified_at),
                "incident": each.incident,
                "alerted": each.alerted,
                "repaired_by": each.repaired_by,
            }
            for each in one.outcomes
        ],
    }
