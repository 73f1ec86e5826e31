"""What a service of the lab is. A new one is one module and one line in `services/__init__.py`."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import IO, Protocol

from ccobs_ops.core import process
from ccobs_ops.lab.plan import Plan
from ccobs_ops.lab.processes import Identity


class Service(Protocol):
    """One process that the lab keeps running in the background.

    `up` calls `prepare` once; every start calls `start`, then `settle` until it returns "", then `probe` until it
    returns "". Both return why not yet, for people, and neither waits longer than a few seconds.
    """

    name: str
    needs: tuple[str, ...] = ()
    """Services that must answer before this one starts."""
    ready_seconds: float = 60.0
    """How long it may take to answer after its start."""
    stop_signal: signal.Signals = signal.SIGTERM
    """What ends it gracefully; sent to its main process only."""
    stop_seconds: float = 10.0
    """How long it may take to end before it is killed."""

    def address(self, plan: Plan) -> str:
        """Where it is reached, or what it does, in a few words."""
        ...

    def prepare(self, plan: Plan) -> None:
        """Write the files that it needs."""
        return

    def start(self, plan: Plan, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start it in the background with its output in `log`."""
        ...

    def settle(self, plan: Plan) -> str:
        """Put into it what it has to hold; does nothing when that is there already."""
        return ""

    def probe(self, plan: Plan) -> str:
        """Use it as its clients do; "" when that works. Must not change anything."""
        ...

    def running(self, plan: Plan) -> Identity | None:
        """Its process as it says itself, for when the lab crashed before it could write down what it started."""
        return None

    def tidy(self, plan: Plan) -> None:
        """Remove what it leaves behind outside the lab's folder."""
        return

    def folders(self, plan: Plan) -> tuple[Path, ...]:
        """What `down` removes for it."""
        return ()


def launch_module(plan: Plan, log: IO[bytes], module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start one of our own modules in the lab's folder, with its output in `log`."""
    return process.launch(
        plan.python(module, *arguments),
        env=plan.python_environment(),
        cwd=plan.directory,
        stdout=log,
        stderr=log,
    )


def launch_command(plan: Plan, log: IO[bytes], *words: str) -> subprocess.Popen[bytes]:
    """Start `ccobs-ops` with `words` on the lab's own inventory, as an operator would."""
    return launch_module(plan, log, "ccobs_ops.cli.main", "--inventory", str(plan.inventory), *words)
