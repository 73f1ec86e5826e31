"""Takes the lab's alerts: see `ccobs_ops.lab.pager`."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

from ccobs_ops.lab.plan import Plan, write_private
from ccobs_ops.lab.services.base import Service, launch_module

URL = "pager_url"


class Pager(Service):
    """A webhook that records what it is told."""

    name = "pager"

    def address(self, plan: Plan) -> str:
        """Where it listens, and what it writes."""
        return f"http://127.0.0.1:{plan.ports[self.name]} → {messages(plan).name}"

    def prepare(self, plan: Plan) -> None:
        """The address with which the inventory's channel is called, as a secret like any other."""
        write_private(plan.secret_file(URL), f"json://127.0.0.1:{plan.ports[self.name]}/\n")

    def start(self, plan: Plan, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """See `ccobs_ops.lab.pager`."""
        arguments = [f"--port={plan.ports[self.name]}", f"--file={messages(plan)}"]
        return launch_module(plan, log, "ccobs_ops.lab.pager", *arguments)

    def probe(self, plan: Plan) -> str:
        """It answers."""
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://127.0.0.1:{plan.ports[self.name]}/", timeout=2):
                return ""
        except (urllib.error.URLError, OSError) as error:
            return f"it does not answer: {error}"


def messages(plan: Plan) -> Path:
    """What it was told, one line of JSON each: `at` and the `body` as it came."""
    return plan.logs_dir / "pager.jsonl"
