"""The application: a small process that keeps writing to the observatory database."""

from __future__ import annotations

import subprocess
from typing import IO

from ccobs_ops.lab.plan import Plan
from ccobs_ops.lab.services.base import Service, launch_module
from ccobs_ops.lab.services.postgres import ask

STALE_SECONDS = 15


class Writer(Service):
    """A few transactions a second."""

    name = "writer"
    needs = ("postgres",)

    def address(self, plan: Plan) -> str:
        """What it does."""
        return "inserts and updates, 4/s"

    def start(self, plan: Plan, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """See `ccobs_ops.lab.writer`."""
        arguments = [
            f"--port={plan.ports['postgres']}",
            f"--password-file={plan.secret_file('app_password')}",
            f"--seed={plan.seed}",
        ]
        return launch_module(plan, log, "ccobs_ops.lab.writer", *arguments)

    def probe(self, plan: Plan) -> str:
        """Its newest message is young."""
        seconds, problem = ask(plan, "SELECT extract(epoch FROM now() - max(created_at))::int FROM messages")
        if problem:
            return problem
        return "" if seconds < STALE_SECONDS else f"its newest message is {seconds} s old"
