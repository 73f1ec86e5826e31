"""What was promised, held against what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.postgres.replay import Replay
from bench.postgres.run import ACTS, Act, Series
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.units import format_bytes

OURS = "ccobs-ops"
HAND = "by hand"
BARMAN = "barman-cloud"
MEMORY_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """One promise: UNKNOWN when something that it needs was not measured."""

    name: str
    verdict: Verdict
    told: str


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything of one scale. `data_bytes` is the size of the cluster without its WAL.

    `plain_copy_seconds` is what merely copying and syncing the data directory takes: a restore's lower bound.
    """

    scale: int
    data_bytes: int
    series: Sequence[Series]
    replay: Replay | None
    plain_copy_seconds: float

    def own_peak(self) -> int | None:
        """The largest resident set of our own process in any run of backup, restore and replay; None if one is missing."""
        peaks = [s.peak("own_peak_bytes") for s in self.series if s.tool == OURS and not s.problem]
        if self.replay is not None:
            peaks.append(self.replay.usage.own_peak_bytes)
        known = [peak for peak in peaks if peak is not None]
        return max(known) if len(known) == len(peaks) >= len(ACTS) else None

    def median(self, tool: str, act: Act, name: str) -> float | None:
        """A tool's median, None where it was not measured."""
        found = next((s for s in self.series if s.tool == tool and s.act == act), None)
        return found.median(name) if found and not found.problem else None


def judge(measured: Measured) -> list[Target]:
    """Every promise at this scale."""
    wall = "wall_seconds"
    judged = [
        _ratio(measured, "restore at most 1.15 times the pipeline by hand", "restore", wall, HAND, 1.15),
        _ratio(
            measured,
            "restore at least 3 times faster than barman-cloud",
            "restore",
            wall,
            BARMAN,
            1 / 3,
        ),
        _ratio(measured, "backup no slower than barman-cloud", "backup", wall, BARMAN, 1.0),
        _ratio(measured, "a third of barman-cloud's stored bytes", "backup", "stored_bytes", BARMAN, 1 / 3),
    ]
    peak = measured.own_peak()
    name = "own process at most 256 MiB in every run"
    if peak is None:
        judged.append(Target(name, Verdict.UNKNOWN, "not measured"))
    else:
        judged.append(_target(name, peak <= MEMORY_BYTES, f"at most {format_bytes(peak)}"))
    if measured.replay is not None:
        ratio = measured.replay.wait_ratio
        told = f"{ratio:.2%} of {measured.replay.replay_seconds:.1f} s, {measured.replay.segments} segments"
        judged.append(_target("replay waits for WAL less than 5 % of its time", ratio < 0.05, told))
    return judged


def _ratio(measured: Measured, name: str, act: Act, what: str, peer: str, limit: float) -> Target:
    ours, theirs = measured.median(OURS, act, what), measured.median(peer, act, what)
    if ours is None or theirs is None or theirs == 0:
        return Target(name, Verdict.UNKNOWN, "not measured")
    ratio = ours / theirs
    return _target(name, ratio <= limit, f"{ratio:.3f} of {peer}'s, promised at most {limit:.3f}")


def _target(name: str, holds: bool, told: str) -> Target:
    return Target(name, Verdict.PASSED if holds else Verdict.FAILED, told)
