"""Reading a plan of 20,000 resources: wall time and memory, against reading it whole and reading it with ijson.

Each reader runs in a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESOURCES = 20_000
DRIFTED = 0.02
WALL_SECONDS = 30.0
PEAK_BYTES = 1 << 30
READERS = ("ccobs-ops", "json.load", "ijson")


@dataclass(frozen=True, slots=True)
class Reading:
    """One reader's wall time and peak of memory; `problem` if it could not."""

    reader: str
    wall_seconds: float
    peak_bytes: int
    drifted: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """All readers on one document."""

    resources: int
    bytes: int
    drifted: int
    readings: tuple[Reading, ...]

    @property
    def ours(self) -> Reading:
        """The reader that a scan uses."""
        return self.readings[0]

    @property
    def kept(self) -> bool:
        """Whether the promise holds: all found, under 30 s and 1 GB."""
        ours = self.ours
        return (
            not ours.problem
            and ours.drifted == self.drifted
            and ours.wall_seconds < WALL_SECONDS
            and ours.peak_bytes < PEAK_BYTES
        )


def parse(*, resources: int = RESOURCES, drifted: float = DRIFTED, rounds: int = 1) -> Parsed:
    """Write the document, read it with every reader, `rounds` times each; the median of wall, the largest peak."""
    with tempfile.TemporaryDirectory(prefix="ccobs-parse-", dir="/var/tmp") as folder:
        path = Path(folder, "plan.json")
        changed = write(path, resources, drifted)
        readings = []
        for reader in READERS:
            runs = [_run(reader, path) for _ in range(rounds)]
            runs.sort(key=lambda run: run.wall_seconds)
            middle = runs[len(runs) // 2]
            readings.append(
                Reading(
                    reader,
                    middle.wall_seconds,
                    max(run.peak_bytes for run in runs),
                    middle.drifted,
                    middle.problem,
                )
            )
        return Parsed(resources, path.stat().st_size, changed, tuple(readings))


def write(path: Path, resources: int, drifted: float, seed: int = 1) -> int:
    """A synthetic plan in the form that Terraform writes, about 10 KB a resource; how many resources drifted."""
    chance = random.Random(seed)
    changed = {number for number in range(resources) if chance.random() < drifted}
    with path.open("w", encoding="utf-8") as file:
        file.write('{"format_version":"1.2","terraform_version":"1.9.8","planned_values":{"root_module":')
        _module(file, resources)
        file.write('},"resource_drift":[')
        for count, number in enumerate(sorted(changed)):
            before = _values(number)
            after = before | {"size": before["size"] + 1}
            file.write("," * bool(count) + json.dumps(_entry(number, ["update"], before, after)))
        file.write('],"resource_changes":[')
        for number in range(resources):
            values = _values(number)
            file.write("," * bool(number) + json.dumps(_entry(number, ["no-op"], values, values)))
        file.write('],"prior_state":{"format_version":"1.0","values":{"root_module":')
        _module(file, resources)
        file.write('}},"configuration":{"root_module":{}},"complete":true,"errored":false}')
    return len(changed)


def _module(file: Any, resources: int) -> None:
    """Half of the resources in the root, the rest in modules of 500, as large configurations are."""
    half = resources // 2
    file.write('{"resources":[')
    for number in range(half):
        file.write("," * bool(number) + json.dumps(_state(number)))
    file.write('],"child_modules":[')
    for start in range(half, resources, 500):
        file.write("," * (start > half) + f'{{"address":"module.m{start}","resources":[')
        file.write(
            ",".join(json.dumps(_state(number)) for number in range(start, min(start + 500, resources)))
        )
        file.write("]}")
    file.write("]}")


def _values(number: int) -> dict[str, Any]:
    return {
        "id": f"vol-{number:017x}",
        "arn": f"arn:aws:ec2:us-east-1:111122223333:volume/vol-{number:017x}",
        "size": number % 500,
        "password": f"secret-{number}",
        "tags": {"Name": f"data-{number}", "Team": "data", "backup": "daily"},
        "rules": [
            {
                "name": f"rule-{each}",
                "ports": [each, each + 1],
                "on": True,
                "note": None,
                "cidr": f"10.0.{each}.0/24",
            }
            for each in range(14)
        ],
        "policy": json.dumps(
            {"Statement": [{"Effect": "Allow", "Action": f"s3:Get{number % 7}", "Resource": "x" * 300}]}
        ),
        "encrypted": True,
        "kms_key_id": "",
    }


def _head(number: int) -> dict[str, Any]:
    return {
        "address": f"aws_ebs_volume.data[{number}]",
        "mode": "managed",
        "type": "aws_ebs_volume",
        "name": "data",
        "index": number,
        "provider_name": "registry.terraform.io/hashicorp/aws",
    }


def _state(number: int) -> dict[str, Any]:
    marks = {"password": True, "tags": {}, "rules": [{"ports": [False, False]}] * 14}
    return _head(number) | {"schema_version": 0, "values": _values(number), "sensitive_values": marks}


def _entry(number: int, actions: list[str], before: Any, after: Any) -> dict[str, Any]:
    change = {"actions": actions, "before": before, "after": after, "after_unknown": {}}
    return _head(number) | {
        "change": change | {"before_sensitive": {"password": True}, "after_sensitive": {"password": True}}
    }


def _run(reader: str, path: Path) -> Reading:
    done = subprocess.run(
        [sys.executable, "-m", "bench.terraform.parse", reader, str(path)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        return Reading(reader, 0.0, 0, 0, (done.stderr.strip().splitlines() or ["it failed"])[-1])
    return Reading(reader, **json.loads(done.stdout))


def _read(reader: str, path: Path) -> int:
    if reader == "json.load":
        with path.open("rb") as file:
            return len(json.load(file)["resource_drift"])
    if reader == "ijson":
        import ijson

        found = 0
        for prefix in (
            "resource_drift.item",
            "resource_changes.item",
            "prior_state.values.root_module.resources.item",
        ):
            with path.open("rb") as file:
                for _ in ijson.items(file, prefix, use_float=True):
                    found += prefix == "resource_drift.item"
        return found
    from ccobs_ops.core.terraform.document import read_plan

    return len(read_plan(path).drift)


if __name__ == "__main__":
    began = time.perf_counter()
    drifted_found = _read(sys.argv[1], Path(sys.argv[2]))
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"wall_seconds": took, "peak_bytes": peak, "drifted": drifted_found}))
