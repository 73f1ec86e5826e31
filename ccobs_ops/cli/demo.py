"""`ccobs-ops demo`: one nightly validation of a lab through Dagster, to a table of what they proved."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ccobs_ops.core.errors import OpsError, UsageError

if TYPE_CHECKING:
    from ccobs_ops.core.ledger import Ledger
    from ccobs_ops.lab import Lab

RUN_DEADLINE_SECONDS = 1800.0
STATUS_DEADLINE_SECONDS = 60.0
POLL_SECONDS = 0.3
LOG_TAIL_LINES = 25
JOB = "nightly_validation"

app = typer.Typer()

DAGSTER_YAML = """\
# Written by `ccobs-ops demo`. deploy/dagster.yaml is the one to start from in production.
telemetry: {enabled: false}
nux: {enabled: false}
run_monitoring:
  enabled: true
  poll_interval_seconds: 5
  start_timeout_seconds: 180
  max_runtime_seconds: 7200
  free_slots_after_run_end_seconds: 30
concurrency:
  runs: {max_concurrent_runs: 2}
  pools: {default_limit: 1, granularity: op}
freshness: {enabled: true}
"""
WORKSPACE_YAML = """\
load_from:
  - python_module: {module_name: ccobs_ops.definitions, location_name: ccobs-ops}
"""


@app.command()
def demo(
    directory: Annotated[
        Path, typer.Option("--dir", help="Folder of the lab; it is started there, or used when it runs.")
    ] = Path(".lab"),
    scale: Annotated[float, typer.Option(help="Size of the lab's database; 1 means 50,000 messages.")] = 1.0,
    ui: Annotated[
        bool, typer.Option("--ui", help="Open the Dagster UI on the lab instead of running anything.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of the UI, on 127.0.0.1.")] = 3000,
) -> None:
    """Start a lab, run the nightly validation through Dagster, and show what they proved.

    Exit status: 0 when every target is proven, 1 when one is refuted, 3 when one is not known.
    """
    lab_dir = directory.resolve()
    if ui:
        _lab(lab_dir, scale, _Watch())
        _open_ui(lab_dir, port)
    raise typer.Exit(run_demo(lab_dir, scale=scale))


def run_demo(lab_dir: Path, *, scale: float) -> int:
    """Lab up, one nightly validation, what it proved; returns the exit status.

    Raises OpsError when the lab does not come up or the run ends without a verdict.
    """
    day = datetime.now(UTC).date().isoformat()
    watch = _Watch()
    lab = _lab(lab_dir, scale, watch)
    _nightly(lab, _dagster_home(lab_dir), day, watch)
    _say("")
    status = _status(lab.inventory_path)
    _say("")
    for step, seconds in watch.steps:
        _say(f"  {step:<52} {seconds:6.1f} s")
    _say(f"  {'altogether':<52} {sum(seconds for _, seconds in watch.steps):6.1f} s")
    _say("")
    _say("See the run, the assets and their partitions:  make ui   then http://127.0.0.1:3000")
    _say(f"Break something and look again:                ccobs-ops lab break --list --dir {_short(lab_dir)}")
    _say(f"End the lab:                                   ccobs-ops lab down --dir {_short(lab_dir)}")
    return status


@dataclass
class _Watch:
    """What took how long, in order."""

    steps: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time the block as `name`."""
        began = time.monotonic()
        yield
        self.steps.append((name, time.monotonic() - began))


def _lab(lab_dir: Path, scale: float, watch: _Watch) -> Lab:
    """The lab in `lab_dir`: the one that runs there, or a new one. What only died (a reboot) is started afresh."""
    try:
        from ccobs_ops.lab import Lab
        from ccobs_ops.lab.lab import take_down
    except ImportError as error:
        raise UsageError(
            f"the lab's servers are not installed ({error.name} is missing)",
            hint="make setup, or: pip install 'ccobs-ops[lab]'",
        ) from error
    if (lab_dir / "lab.json").exists():
        looks = Lab.open(lab_dir).status()
        if all(look.state == "dead" for look in looks):
            _say(f"the lab in {_short(lab_dir)} has ended; starting a new one")
            take_down(lab_dir)
    _say(f"lab in {_short(lab_dir)}: PostgreSQL, etcd, two S3 regions, Terraform, agents; on 127.0.0.1 only")
    with watch.step("lab up"):
        return Lab.up(lab_dir, scale=scale, say=lambda line: _say(f"  {line}"))


def _dagster_home(lab_dir: Path) -> Path:
    home = lab_dir / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(DAGSTER_YAML)
    (home / "workspace.yaml").write_text(WORKSPACE_YAML)
    return home


def _nightly(lab: Lab, home: Path, day: str, watch: _Watch) -> None:
    """Run the job in a process of its own, and tell each exercise as soon as the ledger has it."""
    from ccobs_ops.core.ledger import Ledger
    from ccobs_ops.core.process import ProcessError, environment, spawn
    from ccobs_ops.inventory_load import load

    log = lab.directory / "logs" / "dagster.log"
    log.parent.mkdir(exist_ok=True)
    settings = environment({"DAGSTER_HOME": str(home), "CCOBS_INVENTORY": str(lab.inventory_path)})
    argv = [sys.executable, "-m", "ccobs_ops.launch", JOB, "--partition", day]
    _say(f"\n{JOB}, partition {day}, through Dagster (log: {_short(log)})")
    began = time.monotonic()
    with Ledger.of(load(lab.inventory_path)) as ledger, log.open("wb") as output:
        told: dict[str, tuple[str, float]] = {}
        started = datetime.now(UTC)
        with spawn(argv, env=settings, cwd=Path.cwd(), stdout=output, stderr=subprocess.STDOUT) as child:
            while child.poll() is None and time.monotonic() - began < RUN_DEADLINE_SECONDS:
                _tell(ledger, started, told)
                with contextlib.suppress(ProcessError):
                    child.wait(POLL_SECONDS)
            status = child.poll()
        _tell(ledger, started, told)
    if status is None:
        raise OpsError(f"the run was still going after {RUN_DEADLINE_SECONDS:.0f} s", hint=f"see {log}")
    if not told:
        raise OpsError(f"the run ended without an exercise:\n{_tail(log)}", hint=f"the whole log is {log}")
    if status != 0:
        _say(f"  the run failed, as it should when something is not proven; see {_short(log)} or the UI")
    watch.steps += told.values()
    around = time.monotonic() - began - sum(seconds for _, seconds in told.values())
    watch.steps.append(("Dagster around them (loading, events, waiting)", around))


def _tell(ledger: Ledger, started: datetime, told: dict[str, tuple[str, float]]) -> None:
    """Print the exercises that the ledger has gained since `started`; `told` gets their name and seconds by id."""
    for exercise in reversed(ledger.exercises(since=started, limit=50)):
        if exercise.id not in told:
            name = f"{exercise.target} {exercise.capability}"
            told[exercise.id] = (name, exercise.seconds)
            _say(f"  {exercise.verdict.value:<8} {name}  {exercise.seconds:.1f} s")
            _say(f"           {exercise.reason}")


def _status(inventory: Path) -> int:
    """`ccobs-ops status` of the lab, to this terminal; returns its exit status."""
    from ccobs_ops.core.process import environment, run

    sys.stdout.flush()
    passed = {name: os.environ[name] for name in ("TERM", "COLUMNS", "NO_COLOR") if name in os.environ}
    return run(
        [sys.executable, "-m", "ccobs_ops.cli.main", "--inventory", inventory, "status"],
        deadline=STATUS_DEADLINE_SECONDS,
        env=environment(passed),
        cwd=Path.cwd(),
        stdout=sys.stdout.fileno(),
        ok=(0, 1, 3),
    ).returncode


def _open_ui(lab_dir: Path, port: int) -> None:
    """Become `dagster dev` on the lab, so that the terminal's Ctrl-C reaches it directly."""
    home = _dagster_home(lab_dir)
    _say(f"\nDagster on http://127.0.0.1:{port} in about 20 s; Ctrl-C ends it, the lab goes on")
    sys.stdout.flush()
    settings = os.environ | {"DAGSTER_HOME": str(home), "CCOBS_INVENTORY": str(lab_dir / "inventory.yaml")}
    words = ["-m", "dagster", "dev", "-w", str(home / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)]
    os.execve(sys.executable, [sys.executable, *words], settings)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _say(line: str) -> None:
    typer.echo(line)
