"""Wall time of a scan against the same commands by hand: one root, and many one after another.

By hand: `terraform plan -refresh-only -out`, `terraform plan -out`, `terraform show -json` of both, one after another, and
no more: no comparison of the state before and after, no classes, no ledger. The provider is a real plugin (the lab's),
started by Terraform. Ours is the whole command, from the start of Python on.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from ccobs_ops.core.process import environment
from ccobs_ops.core.terraform.binary import Binary, find
from ccobs_ops.lab.plan import MARK, Plan
from ccobs_ops.lab.ports import Reserved
from ccobs_ops.lab.terraform import estate

RESOURCES = 5
MANY = 50
ROUNDS = 5
MOST_RATIO = 1.05
LEAST_SPEEDUP = 1.8
_DEADLINE = 600

ROOT = """\
terraform {
  required_providers {
    lab = { source = "example.com/lab/lab", version = "0.1.0" }
  }
}

resource "lab_file" "each" {
  count   = %d
  path    = "%s/${count.index}"
  content = "content ${count.index}"
  mode    = "0644"
}
"""


@dataclass(frozen=True, slots=True)
class Wall:
    """Seconds by hand and of ours for so many roots; medians where it was repeated. `ratio` is ours to by hand."""

    roots: int
    rounds: int
    by_hand_seconds: float
    ours_seconds: float

    @property
    def ratio(self) -> float:
        """Ours to by hand; below 1 is faster."""
        return self.ours_seconds / self.by_hand_seconds


def main(json_file: Path | None, *, many: int = MANY) -> int:
    """Measure, print, write. Exit status 1 when a promise was broken."""
    with tempfile.TemporaryDirectory(prefix="ccobs-bench-") as folder:
        measured = _measure(Path(folder).resolve(), many)
    one, all_of_them = measured
    speedup = 1 / all_of_them.ratio
    print(f"{os.cpu_count()} cores, {RESOURCES} resources a root, packaged Terraform, provider as a plugin")
    print("  roots  by hand, one after another   ccobs-ops terraform scan   ours to by hand")
    for each in measured:
        print(
            f"  {each.roots:>5}  {each.by_hand_seconds:>22.2f} s   {each.ours_seconds:>22.2f} s   {each.ratio:>14.2f}"
        )
    held = (one.ratio <= MOST_RATIO, speedup >= LEAST_SPEEDUP)
    print(
        f"one root: {one.ratio:.2f} of by hand, promised at most {MOST_RATIO}: {'held' if held[0] else 'BROKEN'}"
    )
    print(
        f"{many} roots: {speedup:.2f} times as fast, promised {LEAST_SPEEDUP}: {'held' if held[1] else 'BROKEN'}"
    )
    if json_file is not None:
        rows = [asdict(each) | {"ratio": each.ratio} for each in measured]
        json_file.write_text(json.dumps({"wall": rows}, indent=2) + "\n")
    return 0 if all(held) else 1


def _measure(folder: Path, many: int) -> tuple[Wall, Wall]:
    binary = find("packaged", base=folder)
    with Reserved() as free:
        plan = Plan.make(folder, scale=1, seed=1, services=("terraform",), free=free)
    estate.write(plan)
    env = environment(
        {
            MARK: str(folder),
            "TF_CLI_CONFIG_FILE": str(estate.directory(plan) / "cli.tfrc"),
            "TF_PLUGIN_CACHE_DIR": str(_made(folder / "cache")),
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
        }
    )
    names = [f"root{number:03d}" for number in range(many)]
    _write_roots(folder, names, binary, env)
    _scan(folder, ["--all"])  # initialises every root, as the other side was
    hand, ours = list[float](), list[float]()
    for _ in range(ROUNDS):
        hand.append(_timed(lambda: _by_hand(folder, names[:1], binary, env)))
        ours.append(_timed(lambda: _scan(folder, names[:1])))
    one = Wall(1, ROUNDS, statistics.median(hand), statistics.median(ours))
    all_hand = _timed(lambda: _by_hand(folder, names, binary, env))
    return one, Wall(many, 1, all_hand, _timed(lambda: _scan(folder, ["--all"])))


def _write_roots(folder: Path, names: list[str], binary: Binary, env: dict[str, str]) -> None:
    """The first root is applied; the others are copies of it under other names, states and files included."""
    first = _made(folder / names[0])
    (first / "main.tf").write_text(ROOT % (RESOURCES, names[0]))
    for words in (["init"], ["apply", "-auto-approve"]):
        _terraform(binary, env, first, *words)
    files = estate.directory(_plan(folder)) / "files"
    for name in names[1:]:
        shutil.copytree(first, folder / name, symlinks=True)
        shutil.copytree(files / names[0], files / name, copy_function=shutil.copy2)
        for file in ("main.tf", "terraform.tfstate"):
            path = folder / name / file
            path.write_text(path.read_text().replace(names[0], name))
    document = {
        "version": 1,
        "environment": "lab",
        "terraform": {
            name: {
                "dir": name,
                "binary": "packaged",
                "settings": {MARK: str(folder), "TF_CLI_CONFIG_FILE": env["TF_CLI_CONFIG_FILE"]},
            }
            for name in names
        },
    }
    (folder / "inventory.yaml").write_text(yaml.safe_dump(document))


def _plan(folder: Path) -> Plan:
    with Reserved() as free:
        return Plan.make(folder, scale=1, seed=1, services=("terraform",), free=free)


def _by_hand(folder: Path, names: list[str], binary: Binary, env: dict[str, str]) -> None:
    for name in names:
        root = folder / name
        _terraform(binary, env, root, "plan", "-refresh-only", "-out=refresh.tfplan")
        _terraform(binary, env, root, "plan", "-out=normal.tfplan")
        for kind in ("refresh", "normal"):
            with (root / f"{kind}.json").open("wb") as out:
                _terraform(binary, env, root, "show", "-json", f"{kind}.tfplan", stdout=out)


def _terraform(
    binary: Binary, env: dict[str, str], root: Path, *words: str, stdout: object = subprocess.DEVNULL
) -> None:
    subprocess.run([*binary.argv, *words], cwd=root, env=env, check=True, timeout=_DEADLINE, stdout=stdout)  # type: ignore[call-overload]


def _scan(folder: Path, words: list[str]) -> None:
    """The whole command, from the start of Python on; it must find every root clean."""
    argv = [
        sys.executable,
        "-m",
        "ccobs_ops.cli.main",
        "--inventory",
        str(folder / "inventory.yaml"),
        "terraform",
        "scan",
    ]
    done = subprocess.run([*argv, *words], timeout=_DEADLINE, capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(
            f"the scan ended with {done.returncode}:\n{done.stdout.decode()[-2000:]}{done.stderr.decode()[-2000:]}"
        )


def _timed(work: object) -> float:
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
