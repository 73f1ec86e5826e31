"""`python -m bench.validations --runs 50 --seed 1`: is any verdict wrong, either way? See docs/benchmarks.md.

One lab under write load. Validations by every strategy, undamaged and damaged, with full and incremental backups taken in
between, across a promotion and across a restart of everything. Exit status 1 if one verdict was wrong.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.validations.archive import Bucket
from bench.validations.damage import Plant, Saboteur, switch_wal
from bench.validations.judge import Judgement, judge
from bench.validations.witness import Witness
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.process import environment, run
from ccobs_ops.lab import Lab
from ccobs_ops.lab.lab import take_down

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("postgres", "us", "agent", "writer")
STRATEGIES = ("newest", "random", "after-backup", "segment-boundary")
BACKUP_EVERY = 5
FULL_EVERY = 3
DAMAGED = 0.4
VERB_SECONDS = 600.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """One validation: what was asked, what was planted, what came out, what was right."""

    number: int
    strategy: str
    seed: int
    planted: str
    verdict: str
    reason: str
    right: str
    why: str
    checked: int
    seconds: float
    timeline: int | None

    @property
    def wrong(self) -> str:
        """ "" or which way it is wrong."""
        if self.verdict == self.right:
            return ""
        return (
            "false pass"
            if self.verdict == Verdict.PASSED
            else "false alarm"
            if self.right == Verdict.PASSED
            else "wrong"
        )


class Soak:
    """The lab and everything around it."""

    def __init__(self, lab: Lab, witness: Witness, dice: random.Random, say: Say) -> None:
        self.lab = lab
        self.witness = witness
        self.dice = dice
        self.say = say
        self.bucket = Bucket(lab)
        self.saboteur = Saboteur(lab, self.bucket, witness, random.Random(dice.random()))
        self.backups = 0

    def verb(self, *words: str, ok: Sequence[int] = (0,)) -> dict[str, Any]:
        """Run one verb of the command line on the lab and return its JSON document."""
        argv = [
            sys.executable,
            "-m",
            "ccobs_ops.cli.main",
            "--inventory",
            self.lab.inventory_path,
            *words,
            "--json",
        ]
        done = run(argv, deadline=VERB_SECONDS, cwd=ROOT, env=environment({"PYTHONPATH": str(ROOT)}), ok=ok)
        document = json.loads(done.stdout)
        if "verdict" in document and Verdict(document["verdict"]).exit_status != done.returncode:
            raise OpsError(f"verdict {document['verdict']} came with exit status {done.returncode}")
        return document

    def back_up(self) -> None:
        """Every third backup is full, the others build on the one before."""
        kind = "--full" if self.backups % FULL_EVERY == 0 else "--incremental"
        exercise = self.verb("postgres", "backup", kind)
        self.backups += 1
        self.say(f"backup {exercise['details']['backup_id']}")

    def validate(self, number: int, strategy: str, kind: str | None) -> Run:
        """One validation and its judgement."""
        for _ in range(self.dice.randrange(3)):
            switch_wal(self.lab)
            time.sleep(self.dice.uniform(0.2, 1.0))
        seed = self.dice.randrange(1 << 31)
        plant = self.saboteur.plant(kind) if kind is not None else None
        began = time.monotonic()
        try:
            exercise = self.verb("postgres", "validate", *_asked(strategy, seed, plant), ok=(0, 1, 3))
        finally:
            if plant is not None:
                plant.undo()
        seconds = time.monotonic() - began
        verdict = exercise.get("verdict", "error")
        if "verdict" not in exercise:
            judged = Judgement(plant.right if plant else Verdict.PASSED, "planted" if plant else "undamaged")
        else:
            planted = plant.right if plant else Verdict.PASSED
            judged = judge(self.lab, self.bucket, self.witness, self.saboteur, exercise, planted)
        return Run(
            number,
            "at" if plant else strategy,
            seed,
            f"{kind}: {plant.what}" if plant else "",
            verdict,
            exercise.get("reason", "") or str(exercise.get("error", "")),
            judged.right.value,
            judged.why,
            judged.checked,
            round(seconds, 2),
            exercise.get("details", {}).get("timeline"),
        )

    def restart_everything(self) -> None:
        """Every server and the agent, in an order in which each loses the others."""
        self.lab.stop_service("us")
        self.lab.kill_service("agent")
        self.lab.restart_service("postgres")
        self.lab.start_service("us")
        self.lab.start_service("agent")
        self.say("everything was restarted")


def _asked(strategy: str, seed: int, plant: Plant | None) -> list[str]:
    if plant is not None:
        return ["--at", plant.at.astimezone(UTC).isoformat()]
    return ["--strategy", strategy, "--seed", str(seed)]


def soak(lab: Lab, runs: int, seed: int, say: Say) -> list[Run]:
    """`runs` validations; promotion after a third of them, a restart of everything after two thirds."""
    dice = random.Random(seed)
    done: list[Run] = []
    with Witness(lab, seed) as witness:
        work = Soak(lab, witness, dice, say)
        time.sleep(3)
        for _ in range(2):
            work.back_up()
            for _ in range(5):
                switch_wal(lab)
                time.sleep(1)
        kinds = list(work.saboteur.kinds)
        dice.shuffle(kinds)
        planted = 0
        for number in range(1, runs + 1):
            if number % BACKUP_EVERY == 0:
                work.back_up()
            if number == runs // 3 + 1:
                say(f"promoted: timeline {lab.promote()}")
                time.sleep(3)
            if number == 2 * runs // 3 + 1:
                work.restart_everything()
                time.sleep(3)
            kind = None
            if dice.random() < DAMAGED:
                kind = kinds[planted % len(kinds)]
                planted += 1
            one = work.validate(number, STRATEGIES[number % len(STRATEGIES)], kind)
            done.append(one)
            what = one.planted or one.strategy
            say(f"{number:3} {what}: {one.verdict}, right is {one.right} ({one.why}) {one.wrong.upper()}")
    return done


def show(console: Console, runs: Sequence[Run]) -> None:
    """Verdicts by what was asked and planted, and every wrong one."""
    table = Table(
        title=f"{len(runs)} validations, {sum(run.checked for run in runs)} rows compared",
        title_justify="left",
    )
    for column in ("asked", "runs", "PASSED", "FAILED", "UNKNOWN", "wrong"):
        table.add_column(column, justify="left" if column == "asked" else "right")
    groups = Counter(_group(run) for run in runs)
    for group, count in groups.items():
        members = [run for run in runs if _group(run) == group]
        verdicts = Counter(run.verdict for run in members)
        wrong = sum(bool(run.wrong) for run in members)
        table.add_row(
            group, str(count), *(str(verdicts[v] or "") for v in ("PASSED", "FAILED", "UNKNOWN")), str(wrong)
        )
    console.print(table)
    for run_ in runs:
        if run_.wrong:
            console.print(f"{run_.wrong}: {json.dumps(asdict(run_))}", highlight=False, markup=False)
    wrong = sum(bool(run_.wrong) for run_ in runs)
    good = sum(run_.verdict == Verdict.PASSED for run_ in runs)
    console.print(f"{wrong} wrong verdicts in {len(runs)} runs, {good} of them PASSED", highlight=False)


def _group(run_: Run) -> str:
    return run_.planted.partition(":")[0] or run_.strategy


def main() -> int:
    """Soak, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.validations", description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--scale", type=float, default=0.2, help="size of the lab's database; 1 means 50,000 messages"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there")
    options = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    base = Path(tempfile.mkdtemp(prefix="ccobs-soak-", dir="/var/tmp"))
    base.chmod(0o755)  # PostgreSQL may run as another account
    try:
        lab = Lab.up(base / "lab", scale=options.scale, seed=options.seed, services=SERVICES)
        runs = soak(lab, options.runs, options.seed, say)
    finally:
        take_down(base / "lab")
        shutil.rmtree(base)
    show(Console(width=None if sys.stdout.isatty() else 130), runs)
    if options.json:
        rows = [asdict(one) | {"wrong": one.wrong} for one in runs]
        head = {"seed": options.seed, "finished_at": datetime.now(UTC).isoformat()}
        options.json.write_text(json.dumps(head | {"runs": rows}, indent=2) + "\n")
    return 1 if any(one.wrong for one in runs) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OpsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(3)
