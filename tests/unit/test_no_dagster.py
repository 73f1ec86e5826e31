"""The core and the command line work where Dagster does not: nothing of it is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCRIPT = """
import importlib, json, pkgutil, sys
import ccobs_ops.cli, ccobs_ops.core, ccobs_ops.inventory_load
names = [
    module.name
    for package in (ccobs_ops.core, ccobs_ops.cli)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if not module.name.startswith("ccobs_ops.core.migrations.")  # run by Alembic, inside its own context
]
for name in names:
    importlib.import_module(name)
found = sorted(name for name in sys.modules if name.partition(".")[0].startswith("dagster"))
print(json.dumps({"imported": names, "dagster": found}))
"""


def test_core_and_cli_import_no_dagster() -> None:
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    answer = json.loads(told.stdout)
    assert answer["dagster"] == []
    assert {"ccobs_ops.core.ledger", "ccobs_ops.core.status", "ccobs_ops.cli.postgres"} <= set(
        answer["imported"]
    )


def test_the_migrations_import_no_dagster() -> None:
    folder = ROOT / "ccobs_ops" / "core" / "migrations"
    for file in folder.rglob("*.py"):
        assert "dagster" not in file.read_text()
