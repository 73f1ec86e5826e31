"""What every tool under measurement offers, and the three that work on the estate's own server."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.postgres.estate import ROOT, Estate
from bench.postgres.measure import Usage, measure
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.process import run
from ccobs_ops.lab.plan import BUCKET, NAME

BARMAN = ("barman[cloud]==3.19.1", "lz4")


@dataclass(frozen=True, slots=True)
class Result:
    """One backup or restore: what it cost, and what the tool itself said about it (phases in seconds)."""

    usage: Usage
    stored_bytes: int | None = None
    details: dict[str, Any] = field(default_factory=dict)


class Contender(Protocol):
    """A tool that backs up and restores. `proves` says what its restore checked before it called itself done."""

    name: str
    proves: str

    def backup(self) -> Result:
        """Take a backup and keep it as the one that `restore` brings back; an earlier one is forgotten."""
        ...

    def restore(self, to: Path) -> Result:
        """Restore it into the absent folder `to`."""
        ...

    def data_bytes(self) -> int:
        """Size of the data directory that it backs up, without WAL."""
        ...

    def close(self) -> None:
        """Leave nothing behind."""
        ...


class Ours:
    """ccobs-ops, by its command line."""

    name = "ccobs-ops"
    proves = "every object, every file against the manifest while it is written, WAL brought along, fsync"

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._backup = ""

    def backup(self) -> Result:
        """`postgres backup`, which waits until its WAL is archived."""
        done = self._run("postgres", "backup", "--full", "--json")
        exercise = json.loads(done[0])
        self._backup = exercise["details"]["backup_id"]
        stored = self._estate.stored_bytes(f"postgres/{NAME}/backups/{self._backup}/")
        return Result(done[1], stored, {"phases": _phases(exercise)})

    def restore(self, to: Path) -> Result:
        """`postgres restore --latest`, not started."""
        out, usage = self._run("postgres", "restore", "--latest", "--to", to, "--json")
        return Result(usage, None, {"phases": _phases(json.loads(out))})

    def data_bytes(self) -> int:
        """The lab's server."""
        return self._estate.data_bytes()

    def close(self) -> None:
        """The lab goes with all that is in it."""

    def _run(self, *words: str | Path) -> tuple[str, Usage]:
        done = measure(
            self._estate.ops(*words),
            scratch=self._estate.scratch,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            servers=self._estate.servers_cpu,
        )
        return done.stdout, done.usage


class ByHand:
    """pg_basebackup and the usual tools between pipes."""

    name = "by hand"
    proves = "pg_verifybackup after unpacking, fsync"
    _key = "by-hand/base.tar.zst"

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        if shutil.which("zstd") is None:
            raise OpsError("the program zstd is not installed", hint="apt-get install -y zstd")

    def backup(self) -> Result:
        """pg_basebackup | zstd on all cores | multipart upload."""
        script = (
            f"set -o pipefail; '{self._estate.tool('pg_basebackup')}' -D - -Ft -X none -c fast"
            f" | zstd -q -T0 -3 | '{sys.executable}' -m bench.postgres.transfer put {self._key}"
        )
        usage = self._run(script)[1]
        return Result(usage, self._estate.stored_bytes(self._key))

    def restore(self, to: Path) -> Result:
        """Ranges side by side | zstd | tar, then the same proof as ours: manifest verified, everything on disk."""
        bin_dir = self._estate.lab.plan.bin_dir
        script = (
            f"set -eo pipefail; mkdir -m 700 '{to}'; now() {{ echo \"$1 $(date +%s.%N)\"; }}; now begin\n"
            f"'{sys.executable}' -m bench.postgres.transfer get {self._key} | zstd -q -d -c | tar -x -f - -C '{to}'\n"
            f"now unpack; '{bin_dir}/pg_verifybackup' -q -n '{to}'\n"
            f"now verify; find '{to}' -exec sync {{}} +; now sync"
        )
        out, usage = self._run(script)
        marks = [(word, float(at)) for word, at in (line.split() for line in out.splitlines())]
        phases = {name: at - before for (_, before), (name, at) in itertools.pairwise(marks)}
        return Result(usage, None, {"phases": phases})

    def data_bytes(self) -> int:
        """The lab's server."""
        return self._estate.data_bytes()

    def close(self) -> None:
        """Its one object goes with the lab."""

    def _run(self, script: str) -> tuple[str, Usage]:
        env = {
            "PYTHONPATH": str(ROOT),
            "BENCH_ENDPOINT": self._estate.endpoint,
            "BENCH_BUCKET": BUCKET,
        }
        done = measure(
            ["bash", "-c", script],
            scratch=self._estate.scratch,
            cwd=ROOT,
            env=env | self._estate.libpq() | self._estate.aws(),
            servers=self._estate.servers_cpu,
        )
        return done.stdout, done.usage


class Barman:
    """barman-cloud, from PyPI in an environment of its own, as a subprocess."""

    proves = "nothing (it keeps no manifest)"

    def __init__(self, estate: Estate, bin_dir: Path, compression: str = "") -> None:
        self._estate = estate
        self._bin = bin_dir
        self._option = [f"--{compression}"] if compression else []
        self.name = f"barman-cloud {compression}".strip()
        self._server = f"pg-{compression or 'plain'}"
        self._backup = ""

    def backup(self) -> Result:
        """barman-cloud-backup with two upload jobs, its default."""
        self._estate.forget(f"barman/{self._server}/")
        usage = self._run(
            "barman-cloud-backup", "--immediate-checkpoint", "-d", "postgres", *self._option, *self._where()
        )[1]
        listing = json.loads(self._run("barman-cloud-backup-list", "--format=json", *self._where())[0])
        self._backup = listing["backups_list"][-1]["backup_id"]
        return Result(usage, self._estate.stored_bytes(f"barman/{self._server}/"))

    def restore(self, to: Path) -> Result:
        """barman-cloud-restore."""
        to.mkdir(mode=0o700)
        return Result(self._run("barman-cloud-restore", *self._where(), self._backup, str(to))[1])

    def data_bytes(self) -> int:
        """The lab's server."""
        return self._estate.data_bytes()

    def close(self) -> None:
        """Its objects go with the lab."""

    def _where(self) -> list[str]:
        return [
            "--endpoint-url",
            self._estate.endpoint,
            "--addressing-style",
            "path",
            f"s3://{BUCKET}/barman",
            self._server,
        ]

    def _run(self, program: str, *words: str) -> tuple[str, Usage]:
        done = measure(
            [self._bin / program, *words],
            scratch=self._estate.scratch,
            cwd=self._estate.scratch,
            env=self._estate.libpq() | self._estate.aws(),
            servers=self._estate.servers_cpu,
        )
        return done.stdout, done.usage


def barman_environment(folder: Path) -> Path:
    """A virtual environment with barman-cloud in `folder`; returns its bin folder. Raises OpsError if pip fails."""
    run([sys.executable, "-m", "venv", folder], deadline=300)
    # pip reads where its index is from the environment
    run([folder / "bin/pip", "install", "--quiet", *BARMAN], deadline=900, env=dict(os.environ))
    return folder / "bin"


def _phases(exercise: dict[str, Any]) -> dict[str, float]:
    return {row["name"]: row["seconds"] for row in exercise["phases"]}
