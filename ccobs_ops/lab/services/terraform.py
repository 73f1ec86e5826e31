"""The lab's Terraform provider, running, and the three roots that use it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import IO

from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab.plan import Plan
from ccobs_ops.lab.ports import answers
from ccobs_ops.lab.services.base import Service, launch_module
from ccobs_ops.lab.terraform import estate


class Terraform(Service):
    """One provider for all roots, which Terraform attaches to: a plan then takes a fraction of a second."""

    name = "terraform"
    needs = ("us", "eu", "postgres")

    def address(self, plan: Plan) -> str:
        """Which roots there are."""
        return f"roots {', '.join(estate.ROOTS)}"

    def prepare(self, plan: Plan) -> None:
        """The roots' files, and the provider as a plugin."""
        estate.write(plan)

    def start(self, plan: Plan, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """The provider, under a supervisor that starts it again when it crashed."""
        port = str(plan.ports[self.name])
        provider = plan.python(
            "ccobs_ops.lab.terraform.provider",
            "--serve",
            port,
            "--reattach",
            str(plan.secret_file(estate.REATTACH)),
        )
        return launch_module(plan, log, "ccobs_ops.lab.supervisor", "--", *provider)

    def settle(self, plan: Plan) -> str:
        """Each root applied once, from its first state on; one a call."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        if problem := self._silent(plan):
            return problem
        try:
            left = estate.missing(plan)
            if left:
                estate.apply(plan, left[0])
        except (OpsError, BotoCoreError, ClientError) as error:
            return " ".join(str(error).split())
        return "" if len(left) <= 1 else f"{len(left) - 1} roots are still to be applied"

    def probe(self, plan: Plan) -> str:
        """The provider answers, and every root has a state."""
        return self._silent(plan)

    def folders(self, plan: Plan) -> tuple[Path, ...]:
        """The roots, their files, the plugin."""
        return (estate.directory(plan),)

    def _silent(self, plan: Plan) -> str:
        port = plan.ports[self.name]
        ready = answers(port) and plan.secret_file(estate.REATTACH).exists()
        return "" if ready else f"the provider does not answer on port {port}"
