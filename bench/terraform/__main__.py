"""`python -m bench.terraform`: what a scan finds, and what it costs. See docs/benchmarks.md.

`--corpus` recall and precision on seeded changes and noise; `--parse` a plan of 20,000 resources; `--wall` a scan of 1 and of
50 roots against Terraform by hand. Without any, the first two.
Exit status: 0 every promise held, 1 one was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.terraform import corpus, parse
from ccobs_ops.core.units import format_bytes


def main() -> int:
    """Measure, print, write."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 130)
    if options.wall:
        from bench.terraform import wall

        return wall.main(options.json)
    everything = not (options.corpus or options.parse)
    document: dict[str, Any] = {
        "host": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "measured_at": datetime.now(UTC).isoformat(),
    }
    kept = True
    if options.corpus or everything:
        scores = [corpus.score(seed) for seed in range(options.seed, options.seed + options.seeds)]
        _show_corpus(console, scores)
        document["corpus"] = [score.to_json() for score in scores]
        kept &= all(
            not (each.missed or each.wrong or each.impacts_missed or each.impacts_wrong) for each in scores
        )
    if options.parse or everything:
        parsed = parse.parse(resources=options.resources, rounds=options.rounds)
        _show_parse(console, parsed)
        document["parse"] = asdict(parsed)
        kept &= parsed.kept
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if kept else 1


def _show_corpus(console: Console, scores: list[corpus.Score]) -> None:
    table = Table(title="seeded corpus", title_justify="left")
    for column in ("seed", "changes", "noise", "recall", "precision", "impact recall", "impact precision"):
        table.add_column(column, justify="right")
    for each in scores:
        ratios = (each.recall, each.precision, each.impact_recall, each.impact_precision)
        table.add_row(
            str(each.seed), str(each.seeded), str(each.noise), *(f"{ratio:.4f}" for ratio in ratios)
        )
    console.print(table)
    console.print(
        "by class, first seed: " + ", ".join(f"{name} {count}" for name, count in scores[0].by_class.items())
    )
    for each in scores:
        for kind in ("missed", "wrong", "impacts_missed", "impacts_wrong"):
            for subject in getattr(each, kind):
                console.print(f"seed {each.seed} {kind}: {subject}", markup=False)


def _show_parse(console: Console, parsed: parse.Parsed) -> None:
    table = Table(
        title=f"plan of {parsed.resources} resources, {format_bytes(parsed.bytes)}, {parsed.drifted} drifted",
        title_justify="left",
    )
    for column in ("reader", "wall s", "peak", "entries of drift", "masks secrets"):
        table.add_column(column, justify="left" if column == "reader" else "right")
    for each in parsed.readings:
        table.add_row(
            each.reader,
            each.problem or f"{each.wall_seconds:.1f}",
            format_bytes(each.peak_bytes),
            str(each.drifted),
            "yes" if each is parsed.ours else "no",
        )
    console.print(table)
    console.print(
        f"{'kept' if parsed.kept else 'BROKEN'}: under {parse.WALL_SECONDS:.0f} s and {format_bytes(parse.PEAK_BYTES)}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.terraform", description=__doc__)
    parser.add_argument("--corpus", action="store_true", help="recall and precision only")
    parser.add_argument("--parse", action="store_true", help="the large plan only")
    parser.add_argument(
        "--wall", action="store_true", help="scans of 1 and 50 roots, side by side with Terraform by hand"
    )
    parser.add_argument("--seed", type=int, default=1, help="the first seed of the corpus; default 1")
    parser.add_argument("--seeds", type=int, default=3, help="how many corpora; default 3")
    parser.add_argument("--resources", type=int, default=parse.RESOURCES, help="resources of the large plan")
    parser.add_argument("--rounds", type=int, default=1, help="how often each reader reads it; default 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
