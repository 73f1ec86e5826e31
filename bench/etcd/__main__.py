"""`python -m bench.etcd`: snapshot and drill side by side with etcd's own programs by hand. See docs/benchmarks.md.

Exit status: 0 every promise held, 1 one was broken, 3 something could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.etcd import contender
from bench.etcd.contender import Result
from bench.etcd.estate import Estate, estate
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.units import format_bytes

SIZES = (50_000, 1_000_000)
SMALL = 2_000
OURS = "ccobs-ops"
CONTENDERS: dict[str, dict[str, Callable[[Estate], Result]]] = {
    "snapshot": {
        OURS: contender.ours_snapshot,
        "etcdctl save": contender.etcdctl_snapshot,
        "by hand": contender.hand_snapshot,
    },
    "drill": {OURS: contender.ours_drill, "by hand": contender.hand_drill},
}
PROMISES = (("snapshot", "etcdctl save", 1.2), ("snapshot", "by hand", 1.2), ("drill", "by hand", 1.15))
OWN_BYTES = 256 * 1024**2
Series = dict[str, dict[str, list[Result]]]


def main() -> int:
    """Measure, print, write."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 150)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    console.print(
        f"{platform.platform()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        highlight=False,
    )
    document: dict[str, Any] = {"measured_at": datetime.now(UTC).isoformat(), "sizes": []}
    broken = False
    for count in [SMALL] if options.small else options.keys or SIZES:
        with estate(count, say=say, keep_in=options.dir) as one:
            series = _measure(one, options.rounds, say)
        judged = _judge(series)
        _show(console, count, series, judged)
        broken |= not options.small and not all(kept for _, kept in judged)
        document["sizes"].append(
            {
                "keys": count,
                "series": {
                    act: {
                        name: [r.usage.to_json() | r.details for r in results]
                        for name, results in rows.items()
                    }
                    for act, rows in series.items()
                },
                "promises": [{"promise": told, "kept": kept} for told, kept in judged],
            }
        )
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 1 if broken else 0


def _measure(one: Estate, rounds: int, say: Callable[[str], None]) -> Series:
    """Every round all snapshots, then all drills; every second round in the opposite order."""
    series: Series = {act: {name: [] for name in rows} for act, rows in CONTENDERS.items()}
    for number in range(rounds):
        for act, rows in CONTENDERS.items():
            order = list(rows.items())
            for name, run in order if number % 2 == 0 else order[::-1]:
                if name == OURS and act == "snapshot":
                    one.canary()
                result = run(one)
                series[act][name].append(result)
                say(f"{name}: {act} {result.usage.wall_seconds:.2f} s")
    return series


def _median(results: list[Result], name: str) -> float:
    return statistics.median(getattr(result.usage, name) for result in results)


def _judge(series: Series) -> list[tuple[str, bool]]:
    judged = []
    for act, peer, limit in PROMISES:
        ratio = _median(series[act][OURS], "wall_seconds") / _median(series[act][peer], "wall_seconds")
        judged.append((f"{act} at most {limit} times {peer}: {ratio:.2f}", ratio <= limit))
    peak = max(result.usage.own_peak_bytes for rows in series.values() for result in rows[OURS])
    judged.append((f"own process at most 256 MiB: {format_bytes(peak)}", peak <= OWN_BYTES))
    wrong = [
        f"{name} {verdict}"
        for result in series["drill"][OURS]
        for name, verdict in result.details["claims"].items()
        if verdict != "PASSED"
    ]
    told = series["drill"][OURS][-1].details["identical"]
    but = f"; but {wrong[0]}" if wrong else ""
    judged.append((f"every drill PASSED: {told or 'identical was not claimed'}{but}", not wrong))
    return judged


def _show(console: Console, count: int, series: Series, judged: list[tuple[str, bool]]) -> None:
    stored = series["snapshot"][OURS][-1].details["measurements"]
    size = f"{count:,} keys, {format_bytes(stored['raw_bytes'])}, stored as {format_bytes(stored['stored_bytes'])}"
    for act, rows in series.items():
        table = Table(title=f"{act}: {size}; medians, memory the largest of all runs", title_justify="left")
        for column in ("tool", "runs", "wall s", "CPU s", "servers CPU s", "own peak", "phases (last run)"):
            table.add_column(column, justify="left" if column in ("tool", "phases (last run)") else "right")
        for name, results in rows.items():
            walls = [result.usage.wall_seconds for result in results]
            phases = results[-1].details.get("phases", {})
            table.add_row(
                name,
                str(len(results)),
                f"{_median(results, 'wall_seconds'):.2f} ({min(walls):.2f}-{max(walls):.2f})",
                f"{_median(results, 'cpu_seconds'):.2f}",
                f"{_median(results, 'servers_cpu_seconds'):.2f}",
                format_bytes(max(result.usage.own_peak_bytes for result in results)) if name == OURS else "",
                ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in phases.items()),
            )
        console.print(table)
    for told, kept in judged:
        console.print(f"{'kept  ' if kept else 'MISSED'}  {told}", highlight=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.etcd", description=__doc__)
    parser.add_argument(
        "--keys", type=int, action="append", help="how many keys; 50,000 and 1,000,000 by default"
    )
    parser.add_argument(
        "--small", action="store_true", help=f"{SMALL} keys: whether everything works, no verdicts"
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of everything; default 3")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement there")
    parser.add_argument("--dir", type=Path, help="where the lab and the restores go; default /var/tmp")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OpsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
