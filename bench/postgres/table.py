"""The result as people read it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bench.postgres.run import ACTS, Series
from bench.postgres.targets import HAND, OURS, Measured, Target
from ccobs_ops.core.units import format_bytes

COLUMNS = ("tool", "runs", "wall s", "CPU s", "servers CPU s", "own peak", "tree peak", "stored", "ours is")


def show(console: Console, measured: Measured, targets: Sequence[Target], *, judged: bool) -> None:
    """Two tables (backup, restore), replay, and the promises. Unless `judged`, this size says nothing about them."""
    size = f"pgbench scale {measured.scale}, {format_bytes(measured.data_bytes)}"
    for act in ACTS:
        table = Table(title=f"{act}: {size}; medians, memory the largest of all runs", title_justify="left")
        for column in COLUMNS:
            table.add_column(column, justify="left" if column == "tool" else "right")
        rows = [series for series in measured.series if series.act == act]
        ours = next((series for series in rows if series.tool == OURS), None)
        for series in rows:
            table.add_row(*_row(series, ours))
        console.print(table)
        for series in rows:
            if series.problem:
                console.print(f"  {series.tool}: {series.problem}", highlight=False, markup=False)
            elif act == "restore":
                console.print(f"  {series.tool} proves: {series.proves}", highlight=False, markup=False)
    console.print(
        f"merely copying the data directory on this disk, with sync: {measured.plain_copy_seconds:.1f} s",
        highlight=False,
    )
    if measured.replay is not None:
        replay = measured.replay
        console.print(
            f"replay: {format_bytes(replay.wal_bytes)} of WAL in {replay.replay_seconds:.1f} s, waited "
            f"{replay.waited_seconds:.2f} s ({replay.wait_ratio:.2%}); ready {replay.rto_seconds:.1f} s after the call",
            highlight=False,
        )
    for target in targets:
        verdict = target.verdict.value if judged else "not judged at this size"
        console.print(f"{verdict:<8} {target.name}: {target.told}", highlight=False)


def _row(series: Series, ours: Series | None) -> list[str]:
    if not series.results:
        return [series.tool, "0", *["-"] * (len(COLUMNS) - 2)]
    stored = series.median("stored_bytes")
    walls = [result.usage.wall_seconds for result in series.results]
    spread = f" ({min(walls):.1f}-{max(walls):.1f})" if len(walls) > 1 else ""
    return [
        series.tool,
        str(len(series.results)),
        f"{series.median('wall_seconds'):.1f}{spread}",
        f"{series.median('cpu_seconds'):.1f}",
        f"{series.median('servers_cpu_seconds'):.1f}",
        "-" if series.tool == HAND else format_bytes(series.peak("own_peak_bytes") or 0),
        format_bytes(series.peak("tree_peak_bytes") or 0),
        "" if stored is None else format_bytes(int(stored)),
        _compared(series, ours),
    ]


def _compared(series: Series, ours: Series | None) -> str:
    mine = ours.median("wall_seconds") if ours is not None and ours is not series else None
    theirs = series.median("wall_seconds")
    if mine is None or theirs is None:
        return ""
    return f"{theirs / mine:.2f}x faster" if mine <= theirs else f"{mine / theirs:.2f}x slower"
