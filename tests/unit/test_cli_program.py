"""The program as the shell sees it: signals, a reader that leaves, what `--help` costs, the version."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from ccobs_ops.core.exercise import Exercise
from ccobs_ops.core.ledger import Ledger
from tests.cli_support import NOON, exercise, here

__all__ = ["here"]

ROOT = Path(__file__).parents[2]

INTERRUPTED = """
import sys, time, types
from ccobs_ops.core import process
def back_up(ctx, name, *, incremental):
    with process.spawn(["sleep", "60"], tethered=False) as child:
        print(child.pid, flush=True)
        time.sleep(60)
sys.modules["ccobs_ops.core.postgres.backup"] = types.SimpleNamespace(back_up=back_up)
from ccobs_ops.cli.main import main
sys.argv = ["ccobs-ops", "postgres", "backup", "observatory"]
main()
"""


@pytest.mark.parametrize(
    ("number", "status", "message"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGHUP, 129, "ended by SIGHUP"),
    ],
)
def test_a_signal_cleans_up(here: Path, number: signal.Signals, status: int, message: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert psutil.pid_exists(child)
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == status
    assert message in told
    assert "Traceback" not in told
    assert not psutil.pid_exists(child)


def program(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ccobs_ops.cli.main", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **options)


def test_help_imports_nothing_heavy() -> None:
    """What takes long to import is imported by the command that needs it; how long it takes is for bench/ to say."""
    heavy = [
        "boto3",
        "botocore",
        "cryptography",
        "dagster",
        "duckdb",
        "psycopg",
        "pydantic",
        "rich",
        "sqlalchemy",
        "yaml",
    ]
    code = (
        "import sys\nfrom ccobs_ops.cli.main import run\nassert run(['--help']) == 0\n"
        f"print('heavy:', sorted(set({heavy}) & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout.splitlines()[-1] == "heavy: []"
    for noun in ("check", "status", "postgres", "ledger"):
        assert f"\n  {noun} " in told.stdout


@pytest.mark.parametrize("noun", ["check", "status", "postgres", "ledger", "lab", "demo"])
def test_every_noun_has_help(noun: str) -> None:
    told = program(noun, "--help")
    assert told.returncode == 0, told.stderr
    assert f"Usage: ccobs-ops {noun} " in told.stdout
    assert "--install-completion" not in told.stdout


def test_a_reader_that_leaves_early_is_no_error(here: Path) -> None:
    with Ledger.open(f"sqlite:///{here}/ledger.db") as ledger:
        for number in range(300):
            row = exercise()
            ledger.record(
                Exercise(
                    f"{row.id}-{number}", *(row.target, row.capability, row.verdict, "x" * 900, NOON, NOON)
                )
            )
    words = f"--inventory {here}/inventory.yaml ledger list --limit 300 --json"
    script = f"{sys.executable} -m ccobs_ops.cli.main {words} | head -1"
    told = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout == "{\n"
    assert told.stderr == ""


def test_the_version() -> None:
    assert program("--version").stdout == "ccobs-ops 0.1.0\n"
