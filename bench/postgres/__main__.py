"""`python -m bench.postgres`: backup and restore side by side with the peers, and replay. See docs/benchmarks.md.

Exit status: 0 every promise held, 1 one was broken, 3 something could not be measured.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.postgres.contender import barman_environment
from bench.postgres.estate import estate
from bench.postgres.floor import floor
from bench.postgres.replay import replay
from bench.postgres.run import compare
from bench.postgres.table import show
from bench.postgres.targets import Measured, judge
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.process import run

TOOLS = ("ccobs-ops", "by-hand", "barman", "barman-lz4", "barman-gzip", "pgbackrest")
DEFAULT = ("ccobs-ops", "by-hand", "barman", "barman-lz4", "pgbackrest")
SCALES = (65, 325)
SMALL = 5
CHEAP = 100
"""Up to this scale everything is measured three times, above once."""


def main() -> int:
    """Measure, print, write."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 150)
    scales = [SMALL] if options.small else options.scale or list(SCALES)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    with _barman(options.barman, say) as barman:
        measured = [_measure(scale, options, barman, say, first=scale == scales[0]) for scale in scales]
    judged = [judge(one) for one in measured]
    console.print(
        f"{platform.platform()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        highlight=False,
    )
    for one, targets in zip(measured, judged, strict=True):
        show(console, one, targets, judged=one.scale > SMALL)
    document = {
        "host": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "versions": _versions(),
        "measured_at": datetime.now(UTC).isoformat(),
        "scales": [
            {
                "scale": one.scale,
                "data_bytes": one.data_bytes,
                "plain_copy_seconds": one.plain_copy_seconds,
                "series": [series.to_json() for series in one.series],
                "replay": one.replay.to_json() if one.replay else None,
                "targets": [asdict(target) for target in targets],
            }
            for one, targets in zip(measured, judged, strict=True)
        ],
    }
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    verdicts = [target.verdict for targets in judged for target in targets]
    if options.small:
        broken = any(series.problem for one in measured for series in one.series)
        return Verdict.UNKNOWN.exit_status if broken else 0
    worst = Verdict.FAILED if Verdict.FAILED in verdicts else Verdict.UNKNOWN
    return 0 if all(verdict is Verdict.PASSED for verdict in verdicts) else worst.exit_status


def _measure(scale: int, options: argparse.Namespace, barman: Any, say: Any, *, first: bool) -> Measured:
    rounds = options.rounds or (3 if scale <= CHEAP else 1)
    with estate(scale, say=say, keep_in=options.dir) as one:
        size = one.data_bytes()
        series = compare(one, options.only or DEFAULT, rounds, barman, say=say)
        copied = floor(one, say=say)
        wal = options.replay << 20 if options.replay is not None else (64 << 20 if options.small else 1 << 30)
        replayed = None
        if first and wal and "ccobs-ops" in (options.only or DEFAULT):
            replayed = replay(one, wal, say=say)
    return Measured(scale, size, series, replayed, copied)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.postgres", description=__doc__)
    parser.add_argument(
        "--scale", type=int, action="append", help="pgbench scale; 65 is 1 GB, 325 is 5 GB (both by default)"
    )
    parser.add_argument(
        "--small", action="store_true", help=f"scale {SMALL} only: whether everything works, no verdicts"
    )
    parser.add_argument("--rounds", type=int, help="runs of everything; default 3 up to scale 100, 1 above")
    parser.add_argument(
        "--only", action="append", choices=TOOLS, help="measure this tool; repeat for several"
    )
    parser.add_argument("--replay", type=int, metavar="MIB", help="WAL to replay, 0 for none; default 1024")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement there")
    parser.add_argument(
        "--barman",
        type=Path,
        metavar="BIN",
        help="folder that barman-cloud-backup is in; default: install it",
    )
    parser.add_argument("--dir", type=Path, help="where the lab and the restores go; default /var/tmp")
    return parser.parse_args()


@contextlib.contextmanager
def _barman(bin_dir: Path | None, say: Any) -> Iterator[Any]:
    """How to get the folder of barman's programs: installed once, when first asked for; an error is kept, too."""
    folder = Path(tempfile.mkdtemp(prefix="ccobs-bench-barman-"))

    @functools.cache
    def get() -> Path:
        if bin_dir is not None:
            return bin_dir.absolute()
        say("installing barman-cloud")
        return barman_environment(folder / "venv")

    try:
        yield get
    finally:
        shutil.rmtree(folder)


def _versions() -> dict[str, str]:
    found = {}
    for name, argv in {"pgbackrest": ["pgbackrest", "version"], "zstd": ["zstd", "--version"]}.items():
        with contextlib.suppress(OpsError):
            found[name] = run(argv, deadline=10).stdout.strip()
    return found


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OpsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
