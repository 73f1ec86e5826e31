"""The job `selftest` is there in a lab, beside everything else, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import yaml

from ccobs_ops.definitions import defs
from ccobs_ops.inventory_load import VARIABLE
from ccobs_ops.resources.source import EXAMPLE


def shown(path: Path, environment: str, patch: pytest.MonkeyPatch) -> set[str]:
    """The jobs of the whole code location on the example's estate in `environment`, loaded as a server loads it."""
    document = yaml.safe_load(EXAMPLE.read_text()) | {"environment": environment}
    path.write_text(yaml.safe_dump(document))
    patch.setenv(VARIABLE, str(path))
    definitions = defs() if callable(defs) else defs
    dg.Definitions.validate_loadable(definitions)
    return {job.name for job in definitions.resolve_all_job_defs()}


def test_a_lab_has_the_job_and_its_code_location_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"selftest", "dr_drill", "remediate_incident"} <= shown(tmp_path / "i.yaml", "lab", monkeypatch)


def test_production_has_it_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = shown(tmp_path / "i.yaml", "production", monkeypatch)
    assert "selftest" not in jobs
    assert "nightly_validation" in jobs
