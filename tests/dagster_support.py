"""Dagster for real, as it runs in production: a code server and a daemon, processes of their own that can be killed."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ccobs_ops.lab.ports import answers, free_base
from tests.postgres_support import wait_for

SETTINGS = """
telemetry: {enabled: false}
nux: {enabled: false}
run_monitoring:
  enabled: true
  poll_interval_seconds: 5
  start_timeout_seconds: 180
  max_runtime_seconds: 600
  free_slots_after_run_end_seconds: 30
concurrency:
  runs: {max_concurrent_runs: 3}
  pools: {default_limit: 1, granularity: op}
"""
LOCATION = "ccobs-ops"


@dataclass
class Dagster:
    """A code server and a daemon on an inventory, with an instance in `home`."""

    home: Path
    inventory: Path
    port: int = field(default_factory=lambda: free_base([0]))
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def on(cls, inventory: Path, home: Path) -> Iterator[Dagster]:
        """Both started; ended, with all that they started, when the block is left."""
        home.mkdir()
        (home / "dagster.yaml").write_text(SETTINGS)
        made = cls(home, inventory)
        server = f"{{host: 127.0.0.1, port: {made.port}, location_name: {LOCATION}}}"
        (home / "workspace.yaml").write_text(f"load_from:\n  - grpc_server: {server}\n")
        try:
            made.start("code")
            made.start("daemon")
            yield made
        finally:
            made.end()

    def start(self, name: str) -> None:
        """Start `code` or `daemon`; the code server answers afterwards."""
        words = {
            "code": [
                "dagster",
                "api",
                "grpc",
                "-h",
                "127.0.0.1",
                "-p",
                str(self.port),
                "-m",
                "ccobs_ops.definitions",
            ],
            "daemon": ["dagster._daemon", "run", "-w", str(self.home / "workspace.yaml")],
        }[name]
        if name == "code":
            words += ["--location-name", LOCATION]
        mine = {"DAGSTER_HOME": str(self.home), "CCOBS_INVENTORY": str(self.inventory)}
        with (self.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *words],
                env=os.environ | mine,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if name == "code":
            wait_for(lambda: answers(self.port), 120, f"the code server: {self.tail(name)}")

    def kill(self, name: str, rng: random.Random) -> bool:
        """kill -9 to `code`, `daemon`, or a `worker` of a run, if there is one; False if not."""
        if name != "worker":
            self.processes[name].kill()
            self.processes[name].wait(20)
            return True
        workers = self.workers()
        if not workers:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            rng.choice(workers).kill()
        return True

    def workers(self) -> list[psutil.Process]:
        """Processes that the code server has started for runs."""
        found: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.processes["code"].pid).children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "spawn_main" in " ".join(child.cmdline()):
                        found.append(child)
        return found

    def ensure(self) -> None:
        """Start again whoever does not run, as a service manager would."""
        for name in ("code", "daemon"):
            if self.processes[name].poll() is not None:
                self.start(name)

    def tail(self, name: str) -> str:
        """The end of a log."""
        path = self.home / f"{name}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def end(self) -> None:
        """End everything: also workers whose code server was killed, which are found by their environment."""
        mine: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("DAGSTER_HOME") == str(self.home):
                    mine.append(process)
        for process in mine:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(mine, timeout=20)
        for child in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)


def pause(seconds: float) -> None:
    """Let it work."""
    time.sleep(seconds)
