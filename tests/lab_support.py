"""What tests with a lab share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import psutil

from ccobs_ops.lab import Lab
from ccobs_ops.lab.lab import take_down
from ccobs_ops.lab.plan import MARK
from ccobs_ops.lab.processes import leftovers
from ccobs_ops.lab.state import State

MakeLab = Callable[..., Lab]


def take_down_and_check(directory: Path) -> None:
    """Take the lab in `directory` down and fail the test if a process, data or a folder elsewhere remains."""
    state = State.load(directory)
    take_down(directory)
    left = leftovers(MARK, str(directory.resolve()), state.plan.home if state else None)
    assert not left, f"processes of {directory} remain: {left}"
    remaining = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    assert remaining in ([], ["logs"]), f"{directory} still holds {remaining}"
    assert state is None or not state.plan.home.exists()


def take_down_forgotten(base: Path) -> list[Path]:
    """Take down every lab below `base` that still has processes; returns their directories."""
    forgotten: set[Path] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            directory = Path(process.environ().get(MARK) or "/")
            if directory.is_relative_to(base.resolve()):
                forgotten.add(directory)
    for directory in sorted(forgotten):
        take_down(directory)
    return sorted(forgotten)
