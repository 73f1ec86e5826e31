"""The product's own long-running process: streams WAL to the store and commits canaries."""

from __future__ import annotations

import subprocess
from typing import IO

from ccobs_ops.lab.plan import NAME, Plan
from ccobs_ops.lab.services.base import Service, launch_command
from ccobs_ops.lab.services.postgres import ask


class Agent(Service):
    """The same command that an operator would run."""

    name = "agent"
    needs = ("us", "postgres")
    stop_seconds = 35.0

    def address(self, plan: Plan) -> str:
        """What it does."""
        return "WAL to us, canaries"

    def start(self, plan: Plan, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """`ccobs-ops postgres agent` on the lab's own inventory."""
        return launch_command(plan, log, "postgres", "agent", NAME)

    def probe(self, plan: Plan) -> str:
        """PostgreSQL itself says that WAL is being streamed from it."""
        streams, problem = ask(plan, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
        return problem or ("" if streams else "nobody streams WAL from PostgreSQL")
