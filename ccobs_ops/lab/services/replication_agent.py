"""The product's agent for replication: sends canaries to us and watches for them in eu."""

from __future__ import annotations

import subprocess
from typing import IO

from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab.plan import PAIRS, Plan
from ccobs_ops.lab.services.base import Service, launch_command

FRESH_SECONDS = 60.0


class ReplicationAgent(Service):
    """The same command that an operator would run, for all pairs."""

    name = "replication-agent"
    needs = ("us", "eu", "filer-sync")
    stop_seconds = 15.0

    def address(self, plan: Plan) -> str:
        """What it does."""
        return "canary objects us → eu"

    def start(self, plan: Plan, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """`ccobs-ops replication agent` on the lab's own inventory."""
        return launch_command(plan, log, "replication", "agent")

    def probe(self, plan: Plan) -> str:
        """Its signs of life in the ledger are young."""
        from datetime import UTC, datetime  # noqa: PLC0415

        from ccobs_ops.core.ledger import Ledger  # noqa: PLC0415
        from ccobs_ops.inventory_load import load  # noqa: PLC0415

        try:
            with Ledger.of(load(plan.inventory)) as ledger:
                for pair in PAIRS:
                    beat = ledger.heartbeat(f"replication/{pair}", "send")
                    if beat is None or (datetime.now(UTC) - beat.at).total_seconds() > FRESH_SECONDS:
                        return f"it sends no canaries of {pair}"
        except OpsError as error:
            return error.message
        return ""
