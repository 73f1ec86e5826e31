"""Labs for tests: one shared by all, and a factory for tests that break things. Both leave nothing behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.lab import Lab
from tests.lab_support import MakeLab, take_down_and_check, take_down_forgotten


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One whole lab with a small database, shared by every test of a file that leaves it as it was.

    It goes with the file: idle, it takes half a core.
    """
    directory = tmp_path_factory.mktemp("shared") / "lab"
    try:
        yield Lab.up(directory, scale=0.1)
    finally:
        take_down_and_check(directory)


@pytest.fixture
def make_lab(tmp_path: Path) -> Iterator[MakeLab]:
    """`make_lab(name="a", **options of Lab.up)`: labs of this test alone, small unless `scale` says otherwise."""
    made: list[Path] = []

    def make(name: str = "lab", **options: Any) -> Lab:
        made.append(tmp_path / name)
        return Lab.up(made[-1], **({"scale": 0.1} | options))

    try:
        yield make
    finally:
        with contextlib.ExitStack() as stack:
            for directory in dict.fromkeys(made):
                stack.callback(take_down_and_check, directory)


LONG = (
    "test_demo.py",
    "test_dagster_loop.py",
    "test_drills.py",
    "test_lab.py",
    "test_selftest.py",
)
"""Files that take minutes. Two of them at once are more than two cores like, and one must not be left for the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files of real servers first and spread the long ones among them; workers take whole files, in this order."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    long = sorted((file for file in files if file.name in LONG), key=lambda file: LONG.index(file.name))
    short = sorted(file for file in files if file.name not in LONG)
    first = [file for file in short if file.parent.name in ("browser", "integration")]
    gap = max(1, len(first) // max(1, len(long)))
    order = [file for file in short if file not in first]
    for number in reversed(range(max(len(long), -(-len(first) // gap)))):
        order[:0] = [*long[number : number + 1], *first[number * gap : (number + 1) * gap]]
    items[:] = [item for file in order for item in files[file]]


def pytest_unconfigure(config: pytest.Config) -> None:
    """An interrupted run ends its workers at once, with no time to take their labs down; that is done here."""
    factory: pytest.TempPathFactory | None = getattr(config, "_tmp_path_factory", None)
    if factory is not None and not hasattr(config, "workerinput"):
        take_down_forgotten(factory.getbasetemp())
