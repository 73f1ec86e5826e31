"""Whether WAL replay ever waits for fetching: a restore that replays a gigabyte and more, started for real."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bench.postgres.estate import ROOT, Estate, Say, clear, free_port
from bench.postgres.measure import Usage, measure
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.process import environment, run

HISTORY = "pgbench_history"


@dataclass(frozen=True, slots=True)
class Replay:
    """One `postgres restore --latest --start`.

    `wait_ratio` is the share of the replay phase, from the start of the server until it takes writes, in which
    recovery's restore_command waited for a segment that was not there yet.
    """

    usage: Usage
    wal_bytes: int
    segments: int
    replay_seconds: float
    waited_seconds: float
    rto_seconds: float
    phases: dict[str, float]

    @property
    def wait_ratio(self) -> float:
        """Share of the replay phase, 0 to 1."""
        return self.waited_seconds / max(self.replay_seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """As it is written to the JSON document."""
        return {
            "usage": self.usage.to_json(),
            "wal_bytes": self.wal_bytes,
            "wal_segments_replayed": self.segments,
            "replay_seconds": self.replay_seconds,
            "waited_seconds": self.waited_seconds,
            "replay_wait_ratio": self.wait_ratio,
            "rto_seconds": self.rto_seconds,
            "phases": self.phases,
        }


def replay(estate: Estate, wal_bytes: int, *, say: Say) -> Replay:
    """Take a backup, write at least `wal_bytes` of WAL with pgbench, restore to its end and look how replay fared."""
    run(
        estate.ops("postgres", "backup", "--full"),
        deadline=3600,
        cwd=ROOT,
        env=environment({"PYTHONPATH": str(ROOT)}),
    )
    begin = estate.query("select pg_current_wal_insert_lsn()::text")
    written = 0
    while written < wal_bytes:
        estate.pgbench("--no-vacuum", "--client=4", "--jobs=2", "--time=5")
        estate.query("checkpoint")  # the next change of every page is logged whole again
        written = int(estate.query(f"select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{begin}')"))
        say(f"replay: {written >> 20} MiB of WAL written")
    estate.await_archive()
    rows = estate.count(HISTORY)
    to = estate.emptied()
    port = free_port()
    try:
        done = measure(
            estate.ops(
                "postgres", "restore", "--latest", "--to", to, "--start", "--port", str(port), "--json"
            ),
            scratch=estate.scratch,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            servers=estate.servers_cpu,
        )
        found = estate.count(HISTORY, port=port)
        if found != rows:
            raise OpsError(f"the restored server has {found} rows of history, the original {rows}")
    finally:
        if (to / "postmaster.pid").exists():
            run(
                [estate.tool("pg_ctl"), "-D", to, "-m", "immediate", "stop"],
                deadline=60,
                user=estate.lab.plan.user,
                ok=(0, 1),
            )
        clear(to)
    exercise = json.loads(done.stdout)
    phases = {row["name"]: row["seconds"] for row in exercise["phases"]}
    measured = exercise["measurements"]
    bytes_of = {row["name"]: row.get("bytes", 0) for row in exercise["phases"]}
    return Replay(
        done.usage,
        bytes_of["replay"],
        int(measured["wal_segments_replayed"]),
        phases["replay"],
        measured["replay_wait_ratio"] * phases["replay"],
        measured["rto_seconds"],
        phases,
    )
