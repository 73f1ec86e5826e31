"""The measurement itself: every tool in turn, the order turned round from one round to the next, nothing dropped."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.postgres.contender import Barman, ByHand, Contender, Ours, Result
from bench.postgres.estate import Estate, Say, clear, size_of
from bench.postgres.pgbackrest import PgBackRest
from ccobs_ops.core.errors import OpsError

Act = Literal["backup", "restore"]
ACTS: tuple[Act, ...] = ("backup", "restore")
WHOLE = 0.95
"""A restore that wrote less than this share of what was backed up is none."""


@dataclass(slots=True)
class Series:
    """All that one tool did of one kind at one scale. `problem` says why there is nothing, or why it stopped."""

    tool: str
    act: Act
    proves: str = ""
    results: list[Result] = field(default_factory=list)
    problem: str = ""

    def median(self, name: str) -> float | None:
        """The median of a measurement: a field of Usage, or `stored_bytes`."""
        values = [
            result.stored_bytes if name == "stored_bytes" else getattr(result.usage, name)
            for result in self.results
        ]
        known = [value for value in values if value is not None]
        return statistics.median(known) if known else None

    def peak(self, name: Literal["own_peak_bytes", "tree_peak_bytes"]) -> int | None:
        """The largest of all runs: a bound on memory that is kept in the median is not kept."""
        return max((getattr(result.usage, name) for result in self.results), default=None)

    def to_json(self) -> dict[str, Any]:
        """As it is written to the JSON document: every single run, not only the medians."""
        return {
            "tool": self.tool,
            "act": self.act,
            "proves": self.proves,
            "problem": self.problem,
            "runs": [
                result.usage.to_json() | {"stored_bytes": result.stored_bytes} | result.details
                for result in self.results
            ],
        }


def makers(estate: Estate, barman: Callable[[], Path]) -> dict[str, Callable[[], Contender]]:
    """Every tool by the name that `--only` takes, in the order of the table."""
    return {
        "ccobs-ops": lambda: Ours(estate),
        "by-hand": lambda: ByHand(estate),
        "barman": lambda: Barman(estate, barman()),
        "barman-lz4": lambda: Barman(estate, barman(), "lz4"),
        "barman-gzip": lambda: Barman(estate, barman(), "gzip"),
        "pgbackrest": lambda: PgBackRest(estate),
    }


def compare(
    estate: Estate, names: Sequence[str], rounds: int, barman: Callable[[], Path], *, say: Say
) -> list[Series]:
    """Measure backup and restore of the tools called `names`, `rounds` times each.

    Each round does all backups, then all restores; every second round in the opposite order. A tool that cannot be
    set up or fails stays in the result with its problem.
    """
    series: dict[tuple[str, Act], Series] = {}
    ready: list[tuple[str, Contender]] = []
    try:
        for name in names:
            try:
                contender = makers(estate, barman)[name]()
            except OpsError as error:
                for act in ACTS:
                    series[name, act] = Series(name, act, problem=str(error))
                say(f"{name}: {error}")
                continue
            ready.append((name, contender))
            for act in ACTS:
                series[name, act] = Series(contender.name, act, contender.proves)
        for number in range(rounds):
            order = ready if number % 2 == 0 else ready[::-1]
            for act in ACTS:
                for name, contender in order:
                    _once(estate, contender, series[name, act], say=say)
    finally:
        for _, contender in ready:
            contender.close()
    return [series[name, act] for act in ACTS for name in names]


def _once(estate: Estate, contender: Contender, series: Series, *, say: Say) -> None:
    if series.problem:
        return
    try:
        estate.settle()
        if series.act == "backup":
            result = contender.backup()
        else:
            to = estate.emptied()
            try:
                result = contender.restore(to)
                _check(to, contender.data_bytes())
            finally:
                clear(to)
    except OpsError as error:
        series.problem = str(error)
        say(f"{contender.name}: {series.act} failed: {error}")
        return
    series.results.append(result)
    say(f"{contender.name}: {series.act} {result.usage.wall_seconds:.1f} s")


def _check(folder: Path, expected: int) -> None:
    found = size_of(folder)
    if found < WHOLE * expected or not (folder / "global/pg_control").exists():
        raise OpsError(f"it brought back {found} bytes of about {expected}")
