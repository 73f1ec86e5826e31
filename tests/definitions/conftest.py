"""Inventories, and a code location whose core is a stub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ccobs_ops.assets.postgres import postgres_assets
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import load
from ccobs_ops.jobs.nightly import nightly_jobs
from ccobs_ops.jobs.postgres import postgres_jobs
from ccobs_ops.resources.core import CoreResource
from tests.definitions.estates import INVENTORY, Estate, Stub


@pytest.fixture
def inventory_file(tmp_path: Path) -> Path:
    """An inventory of two clusters whose servers do not exist."""
    path = tmp_path / "estate.yaml"
    path.write_text(INVENTORY)
    return path


@pytest.fixture
def inventory(inventory_file: Path) -> Inventory:
    return load(inventory_file)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance on disk, as in production."""
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as made:
        yield made


@pytest.fixture
def estate(inventory: Inventory, inventory_file: Path, instance: dg.DagsterInstance) -> Estate:
    stub = Stub()
    one = inventory.model_copy(update={"postgres": {"observatory": inventory.postgres["observatory"]}})
    definitions = dg.Definitions(
        assets=postgres_assets(one, core=stub.core(), retry_after=0.01),
        jobs=[*nightly_jobs(one), *postgres_jobs(one)],
        resources={"core_context": CoreResource(inventory=str(inventory_file))},
    )
    return Estate(stub, definitions, instance)
