"""Replication us → eu: `weed filer.sync`, one direction, under a supervisor that restarts it when it falls behind."""

from __future__ import annotations

import subprocess
from typing import IO

from ccobs_ops.core import process
from ccobs_ops.lab import wheels
from ccobs_ops.lab.plan import PROBE_BUCKET, Plan
from ccobs_ops.lab.services.base import Service
from ccobs_ops.lab.services.seaweed import can_read, ready_key

MAX_LAG_SECONDS = 15


class FilerSync(Service):
    """Carries every change of /buckets; it resumes from its own checkpoint."""

    name = "filer-sync"
    needs = ("us", "eu")

    def address(self, plan: Plan) -> str:
        """What it does."""
        return "us → eu"

    def start(self, plan: Plan, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """The supervisor, watching both filers: a filer that went away while it was written to wedges filer.sync for good."""
        watched = [
            *(f"--watch={plan.filer_port(region)}" for region in self.needs),
            f"--lag-from={plan.filer_port('us')}",
            f"--lag-to={plan.filer_port('eu')}",
            f"--lag-file=/buckets/{PROBE_BUCKET}/supervisor/heartbeat",
            f"--metrics={plan.ports[self.name]}",
            f"--max-lag={MAX_LAG_SECONDS}",
            f"--hold={plan.replicator_hold}",
            f"--inventory={plan.inventory}",
        ]
        replication = [
            str(wheels.weed()),
            "-v=0",
            "filer.sync",
            f"-a=127.0.0.1:{plan.filer_port('us')}",
            f"-b=127.0.0.1:{plan.filer_port('eu')}",
            "-a.path=/buckets",
            "-b.path=/buckets",
            "-isActivePassive",
            "-metricsIp=127.0.0.1",
            f"-metricsPort={plan.ports[self.name]}",
        ]
        return process.launch(
            plan.python("ccobs_ops.lab.supervisor", *watched, "--", *replication),
            env=plan.python_environment() | {"HOME": str(plan.directory), "GOMEMLIMIT": "150MiB"},
            cwd=plan.directory,
            stdout=log,
            stderr=log,
        )

    def probe(self, plan: Plan) -> str:
        """An object that was written in us is to be read in eu."""
        return can_read(plan, "eu", ready_key("us"))
