"""Make a large ledger from a seed, with the inventory that belongs to it: `python -m bench.ledger.make DIR [--count N]`.

It looks like the estate of a middling company over more than a year: every target exercised on its own clock, proofs that
stop holding for a while, runs that could not look, databases that grow. Every row is chained as `Ledger.record` does it.
The same seed and count give the same exercises, up to the moment that the last one ends (`--until`, default now).
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ccobs_ops.core import ledger_chain as chain
from ccobs_ops.core import ledger_schema as schema
from ccobs_ops.core.exercise import rfc3339
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.ledger_schema import to_microseconds

BATCH = 5_000
GIB = 1024**3


@dataclass(frozen=True)
class Kind:
    """A capability: its claims, every how many minutes it is exercised, how long that takes in seconds."""

    name: str
    claims: tuple[str, ...]
    minutes: float
    seconds: float


KINDS = {
    "postgres": (
        Kind("backup", ("complete", "in_time"), 1440, 140),
        Kind("window", ("no_wal_gap", "backups_intact", "fresh", "rpo"), 60, 4),
        Kind(
            "validation", ("exact", "rpo", "isolated", "data_checks", "rto", "writable", "intact"), 1440, 400
        ),
    ),
    "etcd": (
        Kind("snapshot", ("complete", "in_time"), 60, 6),
        Kind("health", ("members", "quorum", "no_alarms", "within_quota", "caught_up"), 5, 1),
        Kind("restore_drill", ("restorable", "exact", "counts", "identical", "rto", "rpo"), 1440, 30),
    ),
    "replication": (
        Kind("comparison", ("complete", "content", "no_extra"), 1440, 200),
        Kind("canary", ("watched", "arriving", "lag"), 60, 1),
        Kind("sweep", ("complete", "content", "no_extra"), 60, 9),
    ),
    "terraform": (Kind("drift", ("complete", "no_critical_drift", "no_drift"), 10, 12),),
}
NAMES = {
    "postgres": ("observatory", "billing", "events", "search"),
    "etcd": ("control", "edge"),
    "replication": ("backups", "artifacts", "exports", "models"),
    "terraform": tuple(f"root_{number:02d}" for number in range(1, 11)),
}
BREAKS = 0.0004
"""The chance that a claim stops holding, at each exercise."""
INVENTORY = """\
version: 1
environment: lab
ledger: {ledger}
stores:
  us: {{bucket: backups-us}}
  eu: {{bucket: backups-eu}}
postgres:
{postgres}
etcd:
{etcd}
replication:
{replication}
terraform:
{terraform}
"""


@dataclass
class Clock:
    """One capability of one target on its way through time."""

    target: str
    kind: Kind
    rng: random.Random
    broken: str = ""
    verdict: str = "FAILED"
    left: int = 0
    raw: float = 0.0
    growth: float = 0.0
    turns: int = field(default=0)

    def turn(self, at: datetime, number: int) -> dict[str, Any]:
        """The row of the exercise that starts `at`."""
        self.turns += 1
        self._fate()
        took = self.kind.seconds * self.rng.uniform(0.9, 1.15)
        phases: list[dict[str, Any]] = [{"name": "look", "seconds": round(took, 6)}]
        measurements: dict[str, float] = {}
        if self.kind.name in ("validation", "restore_drill"):
            took, phases, measurements = self._restore()
        finished = at + timedelta(seconds=took)
        identifier = f"{at.strftime('%Y%m%dT%H%M%SZ')}-{number:010x}"
        claims = [{"name": name, "verdict": "PASSED", "reason": "it holds"} for name in self.kind.claims]
        verdict, reason, findings = "PASSED", "every claim holds", []
        if self.left:
            verdict, reason = self.verdict, f"{self.broken} does not hold in {self.target}"
            for claim in claims:
                if claim["name"] == self.broken:
                    claim |= {"verdict": verdict, "reason": reason}
            severity = "critical" if verdict == "FAILED" else "warning"
            findings = [
                {"code": f"{self.broken}_broken", "severity": severity, "subject": self.target, "message": reason,
                 "hint": "see the runbook"}
            ]  # fmt: skip
        details: dict[str, Any] = {"seed": number}
        if self.kind.name == "sweep":
            details["prefix"] = f"folder-{self.turns % 24:02d}/"
        document = {
            "id": identifier, "target": self.target, "capability": self.kind.name, "verdict": verdict, "reason": reason,
            "started_at": rfc3339(at), "finished_at": rfc3339(finished), "claims": claims, "phases": phases,
            "measurements": measurements, "findings": findings, "details": details,
        }  # fmt: skip
        return {
            "id": identifier,
            "target": self.target,
            "capability": self.kind.name,
            "verdict": verdict,
            "started_at": to_microseconds(at),
            "finished_at": to_microseconds(finished),
            "document": json.dumps(document, separators=(",", ":")),
        }

    def _fate(self) -> None:
        if self.left:
            self.left -= 1
            return
        if self.rng.random() < BREAKS * len(self.kind.claims):
            self.broken = self.rng.choice(self.kind.claims)
            self.verdict = self.rng.choices(("FAILED", "UNKNOWN"), (3, 1))[0]
            self.left = 1 + int(self.rng.expovariate(0.4))

    def _restore(self) -> tuple[float, list[dict[str, Any]], dict[str, float]]:
        raw = self.raw + self.growth * self.turns
        wal = self.rng.uniform(0.2, 1.0) * 0.02 * raw
        noise = self.rng.lognormvariate(0, 0.05)
        fetch, replay = raw / 180e6 * noise, wal / 40e6 * noise
        phases = [
            {"name": "plan", "seconds": 1.2},
            {"name": "fetch", "seconds": round(fetch * 0.4, 6), "bytes": int(raw / 3)},
            {"name": "unpack", "seconds": round(fetch * 0.4, 6), "bytes": int(raw)},
            {"name": "verify", "seconds": round(fetch * 0.2, 6), "bytes": int(raw)},
            {"name": "start", "seconds": 2.0},
            {"name": "replay", "seconds": round(replay, 6), "bytes": int(wal)},
            {"name": "ready", "seconds": 0.8},
        ]
        rto = 4.0 + fetch + replay
        return rto + 60, phases, {
            "rto_seconds": rto,
            "rpo_seconds": self.rng.uniform(0.2, 3.0),
            "bytes_restored": float(int(raw)),
        }  # fmt: skip


def rows(count: int, *, seed: int, until: datetime) -> Iterator[dict[str, Any]]:
    """`count` rows of the table of exercises, in the order in which they start."""
    clocks: list[tuple[Clock, float]] = []
    for noun, names in NAMES.items():
        for name in names:
            for kind in KINDS[noun]:
                rng = random.Random(f"{seed} {noun} {name} {kind.name}")
                raw = rng.uniform(20, 200) * GIB if noun == "postgres" else rng.uniform(0.5, 2) * GIB
                clock = Clock(f"{noun}/{name}", kind, rng, raw=raw, growth=raw * rng.uniform(0.0002, 0.004))
                clocks.append((clock, kind.minutes * 60))
    span = count / sum(1 / period for _, period in clocks)
    begin = until - timedelta(seconds=span, minutes=20)  # the last ones are over before `until`
    queue = [(random.Random(f"{seed} {n}").uniform(0, each[1]), n) for n, each in enumerate(clocks)]
    heapq.heapify(queue)
    for number in range(count):
        offset, which = queue[0]
        clock, period = clocks[which]
        yield clock.turn(begin + timedelta(seconds=offset), number)
        heapq.heapreplace(queue, (offset + period * clock.rng.uniform(0.95, 1.05), which))


def fill(ledger: Ledger, count: int, *, seed: int = 1, until: datetime | None = None) -> None:
    """Put `count` exercises into `ledger`, chained as they would be."""
    batch: list[dict[str, Any]] = []
    for row in rows(count, seed=seed, until=until or datetime.now(UTC)):
        batch.append(row)
        if len(batch) == BATCH:
            _keep(ledger, batch)
            batch = []
    _keep(ledger, batch)


def _keep(ledger: Ledger, batch: list[dict[str, Any]]) -> None:
    if batch:
        batch.sort(key=lambda row: row["finished_at"])
        with ledger.writing() as connection:
            connection.execute(sa.insert(schema.exercises), batch)
            chain.append(connection, "exercise", batch)


def write_inventory(directory: Path, url: str) -> Path:
    """The inventory of the estate that the ledger tells of."""
    path = directory / "inventory.yaml"
    path.write_text(
        INVENTORY.format(
            ledger=url,
            postgres="\n".join(f"  {name}: {{dsn: host=db, store: us}}" for name in NAMES["postgres"]),
            etcd="\n".join(
                f"  {name}: {{endpoints: ['http://{name}:2379'], store: us}}" for name in NAMES["etcd"]
            ),
            replication="\n".join(
                f"  {name}: {{source: us, replica: eu, prefix: {name}/}}" for name in NAMES["replication"]
            ),
            terraform="\n".join(f"  {name}: {{dir: {name}}}" for name in NAMES["terraform"]),
        )
    )
    for name in NAMES["terraform"]:
        (directory / name).mkdir(exist_ok=True)
    return path


def main() -> int:
    """Make the ledger and say what it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--until", type=datetime.fromisoformat, help="when the last one starts; default: now")
    parser.add_argument("--url", help="of the ledger; default: SQLite in DIRECTORY")
    asked = parser.parse_args()
    asked.directory.mkdir(parents=True, exist_ok=True)
    url = asked.url or f"sqlite:///{asked.directory.resolve()}/ledger.db"
    began = time.monotonic()
    with Ledger.open(url) as ledger:
        fill(ledger, asked.count, seed=asked.seed, until=asked.until)
    path = write_inventory(asked.directory, url)
    print(f"{asked.count:,} exercises in {time.monotonic() - began:.1f} s; CCOBS_INVENTORY={path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
