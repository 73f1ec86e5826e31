"""Where a restored copy is started to be proven: a private folder with a hard time-to-live.

Three things end a sandbox, each without the others: the validator when it is done; a reaper process of its own, when the
validator is gone or the time is up; and the next validation on this host, which sweeps what both left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import psutil

from ccobs_ops.core.errors import OpsError, UnknownError
from ccobs_ops.core.folders import private
from ccobs_ops.core.postgres.reaper import destroy
from ccobs_ops.core.postgres.server import Cluster
from ccobs_ops.core.process import User, environment, launch

if TYPE_CHECKING:
    from ccobs_ops.inventory import Inventory

_SOCKET_LIMIT = 100


class Sandboxed(Protocol):
    """A target whose copies are started in a sandbox: what `sandbox` has to know of it."""

    inventory: Inventory
    name: str
    config: Any
    """Has `sandbox.dir`: a folder, or None."""


def server_user(cluster: Cluster) -> User | None:
    """The account to run a restored server as: None for ourselves; as root, `sandbox.run_as`, `postgres` or `nobody`."""
    if os.geteuid() != 0:
        return None
    if cluster.config.sandbox.run_as is not None:
        return User.named(cluster.config.sandbox.run_as)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(OpsError):
            return User.named(name)
    raise OpsError(
        "there is no account to run PostgreSQL as", hint="name one as sandbox.run_as in the inventory"
    )


@contextlib.contextmanager
def sandbox(cluster: Sandboxed, user: User | None, ttl: timedelta, *, by_path: bool = True) -> Iterator[Path]:
    """A fresh private folder for the length of the block, owned by `user`; gone afterwards, whatever happens.

    Sweeps what earlier validations left. Raises OpsError when `user` cannot reach the folder, or, where a unix socket in
    it is reached `by_path`, when its path is too long for that.
    """
    root = _root(cluster)
    sweep(root)
    folder = root / f"{cluster.name[:16]}-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    try:
        _mark(folder, ttl)
        if user is not None:
            os.chown(folder, user.uid, user.gid)
            _reachable(folder, user)
        if by_path and len(str(folder)) > _SOCKET_LIMIT - 24:
            raise OpsError(
                f"the sandbox's path {folder} is too long for a unix socket",
                hint="name a shorter sandbox.dir in the inventory, for example /var/lib/ccobs",
            )
        with _reaper(folder, ttl):
            yield folder
    finally:
        destroy(folder)
    if folder.exists():
        raise UnknownError(f"the sandbox {folder} could not be removed", hint="remove it by hand")


def sweep(root: Path) -> list[Path]:
    """Destroy the sandboxes in `root` whose validator is gone or whose time is up; returns them."""
    gone: list[Path] = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        marker = folder / "owner.json"
        try:
            owner = json.loads(marker.read_text())
        except (OSError, ValueError):
            owner = None
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime < 60:
                    continue  # being made at this moment
        if owner is None or time.time() > owner["deadline"] or not _alive(owner):
            destroy(folder)
            gone.append(folder)
    return gone


def _root(cluster: Sandboxed) -> Path:
    configured = cluster.config.sandbox.dir
    if configured is None:
        private(cluster.inventory.state)
        root = cluster.inventory.state / "sandbox"
    else:
        root = cluster.inventory.resolve(configured)
    try:
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        if os.geteuid() == 0 and configured is None:
            cluster.inventory.state.chmod(0o711)  # the server's account passes through, and sees nothing
    except OSError as error:
        raise UnknownError(
            f"the sandbox folder {root} cannot be made: {error.strerror}", hint="name another sandbox.dir"
        ) from error
    return root


def _mark(folder: Path, ttl: timedelta) -> None:
    owner = {
        "pid": os.getpid(),
        "created": psutil.Process().create_time(),
        "deadline": time.time() + ttl.total_seconds() + 60,
    }
    (folder / "owner.json").write_text(json.dumps(owner))


def _alive(owner: dict[str, float]) -> bool:
    try:
        return abs(psutil.Process(int(owner["pid"])).create_time() - owner["created"]) < 0.5
    except psutil.Error:
        return False


def _reachable(folder: Path, user: User) -> None:
    for parent in folder.parents:
        mode = parent.stat()
        allowed = (
            mode.st_mode & 0o001
            or (mode.st_uid == user.uid and mode.st_mode & 0o100)
            or (mode.st_gid == user.gid and mode.st_mode & 0o010)
        )
        if not allowed:
            raise OpsError(
                f"the account {user.name!r} cannot reach the sandbox: {parent} is closed to it",
                hint="name a sandbox.dir that it can reach, for example below /var/lib",
            )


@contextlib.contextmanager
def _reaper(folder: Path, ttl: timedelta) -> Iterator[None]:
    """A process that ends the sandbox when our end of its pipe closes without a word, or the time is up."""
    process = launch(
        [sys.executable, "-I", Path(__file__).with_name("reaper.py"), folder, str(ttl.total_seconds())],
        env=environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            process.stdin.write(b"done")
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def remove_tree(folder: Path) -> None:
    """Remove a folder and everything in it; what is gone already is no error."""
    shutil.rmtree(folder, ignore_errors=True)
