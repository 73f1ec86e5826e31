"""What the operating loop costs on a large ledger: `python -m bench.ledger.loop DIR`, after `bench.ledger.make DIR`.

`replay`: every exercise read for the first time; `idle`: nothing new; `one`: one new failure; `status`: the command as a
user runs it, a new process each time. `floor`: reading every row of the chain and of the exercises once, and no more.
What the loop had made of this ledger before is forgotten first, links included.
Exit status: 0 every promise held (`idle` and `one` under 50 ms, `status` under 2 s), 1 one was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa

from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core import loop
from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Claim, Exercise, Verdict, utc_now
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.outlook import outlook
from ccobs_ops.core.recovery import exposure, recovery_times
from ccobs_ops.core.status import look
from ccobs_ops.inventory_load import load

ROUNDS = 5


def timed(run: Callable[[], object], rounds: int = ROUNDS) -> float:
    """The median of some rounds, in seconds."""
    seconds: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return median(seconds)


def measure(directory: Path) -> dict[str, Any]:
    """Every figure; the ledger's incidents are forgotten first, so that it can be repeated."""
    inventory = load(directory / "inventory.yaml")
    with Ledger.of(inventory) as ledger:
        ctx = Context(inventory, ledger)
        _forget(ledger)
        found: dict[str, Any] = {"floor_seconds": timed(lambda: _read_all(ledger), 1)}
        found["replay_seconds"] = timed(lambda: loop.catch_up(ctx), 1)
        found["replay_peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found["idle_seconds"] = timed(lambda: loop.catch_up(ctx), 50)
        found["one_seconds"] = median(_one(ctx) for _ in range(9))
        with ledger.reading() as connection:
            for name in ("exercises", "incidents", "transitions"):
                table = schema.metadata.tables[f"ccobs_{name}"]
                found[name] = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        now = utc_now()
        targets = [each.target for each in look(inventory, ledger, now=now)]
        since = now.replace(year=now.year - 1)
        found["look_seconds"] = timed(lambda: look(inventory, ledger, now=now))
        found["outlook_seconds"] = timed(lambda: outlook(ledger, inventory, targets, now))
        found["recovery_times_seconds"] = timed(lambda: recovery_times(ledger, since))
        found["exposure_of_a_year_seconds"] = timed(
            lambda: [exposure(ledger, inventory, each, since, now) for each in targets]
        )
        found["targets"] = len(targets)
    command = [sys.executable, "-m", "ccobs_ops.cli.main", "status", "--json"]
    environment = os.environ | {"CCOBS_INVENTORY": str(directory / "inventory.yaml")}
    found["status_seconds"] = timed(
        lambda: subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    )
    return found


def _forget(ledger: Ledger) -> None:
    """As before the first run: what the loop itself wrote is the end of the chain."""
    with ledger.writing() as connection:
        connection.execute(sa.delete(schema.chain).where(schema.chain.c.kind == "transition"))
        for table in (schema.incidents, schema.transitions, schema.cursors):
            connection.execute(sa.delete(table))


def _read_all(ledger: Ledger) -> int:
    joined = schema.chain.join(schema.exercises, schema.exercises.c.id == schema.chain.c.row)
    with ledger.reading() as connection:
        query = sa.select(schema.chain.c.seq, schema.exercises.c.verdict).select_from(joined)
        return sum(1 for _ in connection.execution_options(yield_per=2_000).execute(query))


def _one(ctx: Context) -> float:
    now = utc_now()
    claims = (Claim("rpo", Verdict.FAILED, "it does not hold"),)
    name = f"bench-{secrets.token_hex(6)}"
    made = Exercise(name, f"postgres/{name}", "window", Verdict.FAILED, "why", now, now, claims)
    ctx.ledger.record(made)
    began = time.perf_counter()
    assert [each.name for each in loop.catch_up(ctx)] == ["opened"]
    return time.perf_counter() - began


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = measure(asked.directory)
    for name, value in found.items():
        print(f"{name:<28} {value:,.4f}" if isinstance(value, float) else f"{name:<28} {value:,}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n")
    kept = found["idle_seconds"] < 0.05 and found["one_seconds"] < 0.05 and found["status_seconds"] < 2
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
