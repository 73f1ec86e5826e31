"""`python -m bench.report DIR`: what a report and a full verification take on a ledger made by `bench.ledger.make DIR`.

Gathering grows with the ledger, rendering does not: both are told. Peaks of memory are of a process of their own each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

PARTS = ("gather", "render", "verify", "command")


def main() -> int:
    """Measure each part, three times but for the verification, and print the best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.part:
        print(json.dumps(_measure(asked.directory, asked.part)))
        return 0
    found: dict[str, Any] = {}
    for part in PARTS:
        command = [sys.executable, "-m", "bench.report", str(asked.directory), "--part", part]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[part] = json.loads(told.splitlines()[-1])
        print(
            f"{part:<8}", ", ".join(f"{name} {value:,.2f}" for name, value in found[part].items()), flush=True
        )
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def _measure(directory: Path, part: str) -> dict[str, float]:
    import resource

    from ccobs_ops.core.context import Context
    from ccobs_ops.core.evidence import chain
    from ccobs_ops.core.ledger import Ledger
    from ccobs_ops.core.report import gather, render
    from ccobs_ops.inventory_load import load

    path = directory / "inventory.yaml"
    if part == "command":
        began = time.monotonic()
        command = [sys.executable, "-m", "ccobs_ops.cli.main", "--inventory", str(path)]
        target = str(directory / "r.html")
        subprocess.run([*command, "report", "--output", target], check=True, capture_output=True)
        return {"seconds": time.monotonic() - began}
    inventory = load(path)
    with Ledger.of(inventory) as ledger:
        ctx = Context(inventory, ledger)
        times: list[tuple[float, float]] = []
        rows = 0
        for _ in range(1 if part == "verify" else 3):
            report = gather.gather(ctx, since=timedelta(days=90)) if part == "render" else None
            began, cpu = time.monotonic(), time.process_time()
            if part == "verify":
                verified = chain.verify(ledger)
                rows = verified.rows
                assert verified.holds
            elif report is not None:
                render.html(report)
            else:
                gather.gather(ctx, since=timedelta(days=90))
            times.append((time.monotonic() - began, time.process_time() - cpu))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    told = {
        "seconds": min(times)[0],
        "first_seconds": times[0][0],
        "cpu_seconds": min(times)[1],
        "peak_mib": peak,
    }
    return told | ({"rows_per_second": rows / times[0][0]} if rows else {})


if __name__ == "__main__":
    sys.exit(main())
