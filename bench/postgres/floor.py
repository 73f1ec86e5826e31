"""What no restore on this disk can beat: merely copying the data directory beside itself, and syncing the copy.

The source lies in the page cache, nothing is fetched, decompressed or checked.
"""

from __future__ import annotations

import statistics

from bench.postgres.estate import ROOT, Estate, Say, clear
from bench.postgres.measure import measure

RUNS = 3


def floor(estate: Estate, *, say: Say) -> float:
    """Median wall seconds of `cp -r DATA COPY; sync` over three runs."""
    seconds: list[float] = []
    for _ in range(RUNS):
        to = estate.emptied()
        try:
            script = f"mkdir -m 700 '{to}'; cp -r '{estate.lab.plan.data}/base' '{to}'; find '{to}' -exec sync {{}} +"
            usage = measure(["sh", "-ec", script], scratch=estate.scratch, cwd=ROOT).usage
            seconds.append(usage.wall_seconds)
        finally:
            clear(to)
    median = statistics.median(seconds)
    say(f"a plain copy with sync: {median:.1f} s")
    return median
