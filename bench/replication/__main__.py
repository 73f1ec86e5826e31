"""`python -m bench.replication`: objects a second of ours and of other tools, against one list server, in the same run."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.postgres.measure import Usage, measure
from bench.replication.exports import measure_exports
from bench.replication.plant import Planted, plant
from bench.replication.rows import Packed
from bench.replication.server import serving_processes
from bench.replication.tools import CONTENDERS, Contender
from ccobs_ops.core.errors import OpsError

PROMISES = (
    ("rclone check --size-only", "at least 5 times as fast", 5.0),
    ("boto3", "at least 20 times as fast", 20.0),
    ("raw drain", "within 3 times of it", 1 / 3),
)
MEMORY_LIMIT = 300 * 1024 * 1024
GROWTH_LIMIT = 1.1


def main() -> int:
    """Run what is asked for; 0 only if every promise that could be judged was kept."""
    options = _options()
    results: dict[str, Any] = {"cores": os.cpu_count(), "sizes": []}
    with ExitStack() as stack:
        if options.dir is None:
            folder = Path(tempfile.mkdtemp(prefix="ccobs-bench-replication-"))
            stack.callback(shutil.rmtree, folder)
        else:
            folder = options.dir.absolute()
        for count in options.objects or (() if options.rows else (1_000_000, 10_000_000)):
            results["sizes"].append(_at(count, folder, options))
        if options.rows:
            results["exports"] = measure_exports(folder, options.rows, write_only=options.write_only)
    kept = _judge(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0 if kept else 1


def _at(count: int, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    print(f"{count:,} objects a side", flush=True)
    here = folder / f"{count}{'-other-times' if options.other_times else ''}"
    here.mkdir(exist_ok=True, parents=True)
    planted = plant(here, count, same_times=not options.other_times)
    buckets = {"srcbucket": here / "source", "dstbucket": here / "replica"}

    def open_buckets() -> Mapping[str, Packed]:
        return {name: Packed(path) for name, path in buckets.items()}

    if options.write_only:
        return {"objects": count, "tools": {}}
    found: dict[str, Any] = {"objects": count, "planted": planted.counts(), "tools": {}}
    with serving_processes(open_buckets, options.servers) as (endpoint, _pids):
        for contender in CONTENDERS:
            if options.only and contender.name not in options.only:
                continue
            if count > contender.most_objects and not options.all:
                print(f"  {contender.name:<28} left out at this size: it would take too long", flush=True)
                continue
            found["tools"][contender.name] = _measured(contender, endpoint, here, planted, options.rounds)
    if options.dir is None:
        shutil.rmtree(here)
    return found


def _measured(
    contender: Contender, endpoint: str, folder: Path, planted: Planted, rounds: int
) -> dict[str, Any]:
    usages: list[Usage] = []
    wrong = ""
    for _ in range(rounds):
        place = Path(tempfile.mkdtemp(dir=folder))
        try:
            command = contender.command(endpoint, place)
            outcome = measure(
                command, scratch=place, cwd=Path.cwd(), env=contender.environment(endpoint), ok=contender.ok
            )
        except OpsError as error:
            print(f"  {contender.name:<28} {str(error).splitlines()[0]}", flush=True)
            return {"problem": str(error)}
        usages.append(outcome.usage)
        wrong = contender.check(outcome.stdout, place, planted)
        shutil.rmtree(place)
    seconds = statistics.median(usage.wall_seconds for usage in usages)
    peak = max(usage.tree_peak_bytes for usage in usages)
    rate = 2 * planted.objects / seconds
    print(
        f"  {contender.name:<28} {seconds:7.2f} s  {rate:11,.0f} objects/s  {peak / 2**20:6.0f} MiB  {wrong or 'right'}",
        flush=True,
    )
    return {
        "seconds": seconds,
        "objects_per_second": rate,
        "peak_bytes": peak,
        "cpu_seconds": statistics.median(usage.cpu_seconds for usage in usages),
        "wrong": wrong,
        "runs": [usage.to_json() for usage in usages],
    }


def _judge(results: Mapping[str, Any]) -> bool:
    """Print and record each promise."""
    lines: list[tuple[bool | None, str]] = []
    peaks: list[int] = []
    for size in results["sizes"]:
        tools = size["tools"]
        ours = tools.get("ccobs-ops")
        if not ours or "problem" in ours:
            continue
        peaks.append(ours["peak_bytes"])
        lines.append(
            (
                not ours["wrong"],
                f"{size['objects']:,}: {ours['wrong'] or 'all planted differences, no other'}",
            )
        )
        lines.append(
            (
                ours["peak_bytes"] < MEMORY_LIMIT,
                f"{size['objects']:,}: peak {ours['peak_bytes'] >> 20} MiB < 300",
            )
        )
        for name, told, factor in PROMISES:
            peer = tools.get(name)
            if peer and "seconds" in peer:
                ratio = peer["seconds"] / ours["seconds"]
                shown = f"{ratio:.1f} times as fast" if factor >= 1 else f"{1 / ratio:.2f} times its time"
                lines.append((ratio >= factor, f"{size['objects']:,}: {name}: {shown}, promised {told}"))
    if len(peaks) > 1:
        growth = peaks[-1] / peaks[0]
        lines.append(
            (growth <= GROWTH_LIMIT, f"memory at the largest is {growth:.2f} times that at the smallest")
        )
    for kept, told in lines:
        print(f"{'kept  ' if kept else 'MISSED'} {told}")
    if isinstance(results, dict):
        results["promises"] = [{"kept": kept, "told": told} for kept, told in lines]
    return all(kept for kept, _ in lines)


def _options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.replication", description=__doc__)
    parser.add_argument("--objects", type=int, action="append", help="a side; default 1000000 and 10000000")
    parser.add_argument(
        "--rows", type=int, default=0, help="also compare exports of so many rows a side (50000000)"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--servers", type=int, default=2, help="processes of the list server")
    parser.add_argument("--only", action="append", help="only this tool; repeat for several")
    parser.add_argument("--all", action="store_true", help="slow tools at every size")
    parser.add_argument(
        "--other-times", action="store_true", help="the replica's LastModified differs everywhere"
    )
    parser.add_argument(
        "--dir", type=Path, help="keep the listings there and use those that are there already"
    )
    parser.add_argument("--write-only", action="store_true", help="only write the listings, with --dir")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
