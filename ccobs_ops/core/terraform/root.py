"""One Terraform root, ready to be used: environment resolved, initialised where needed, source fingerprinted."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from python_terraform import IsFlagged  # pyright: ignore[reportMissingTypeStubs]

from ccobs_ops.core import process
from ccobs_ops.core.errors import OpsError, UnknownError, UsageError
from ccobs_ops.core.folders import private
from ccobs_ops.core.scratch import scratch
from ccobs_ops.core.secrets import resolve
from ccobs_ops.core.terraform.binary import Binary, find
from ccobs_ops.core.terraform.runner import SafeTerraform

if TYPE_CHECKING:
    from ccobs_ops.inventory import Inventory
    from ccobs_ops.inventory_terraform import TerraformRoot

SOCKET_ROOM = 60
"""Plugins make unix sockets below TMPDIR, whose paths may have 107 bytes."""
_INHERITED_ROOM = 80
_SUFFIXES = (".tf", ".tf.json", ".tofu", ".tofu.json", ".tfvars", ".tfvars.json", ".terraform.lock.hcl")
_GIT_SECONDS = 20.0
_INIT_POLL_SECONDS = 0.1
_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """The configuration that a plan was made from: a digest of its files, and the commit where there is one."""

    digest: str
    commit: str | None
    dirty: bool

    def __str__(self) -> str:
        if self.commit is None:
            return f"files {self.digest[:12]}"
        return f"commit {self.commit[:12]}" + (f" with changes ({self.digest[:12]})" if self.dirty else "")


class Root:
    """A root of the inventory that can be planned. Get one by `opened`."""

    def __init__(
        self,
        inventory: Inventory,
        name: str,
        binary: Binary,
        env: dict[str, str],
        *,
        directory: Path,
        cancelled: threading.Event | None = None,
    ) -> None:
        self.inventory = inventory
        self.name = name
        self.config: TerraformRoot = inventory.terraform[name]
        self.binary = binary
        self.directory = directory
        self.folder = folder(inventory, name)
        self._env = env
        self.terraform = SafeTerraform(
            binary, directory, env, deadline=self.config.deadline.total_seconds(), cancelled=cancelled
        )

    @property
    def target(self) -> str:
        """As exercises call it."""
        return f"terraform/{self.name}"

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of its commands; it holds secrets."""
        return dict(self._env)

    @property
    def var_files(self) -> list[str]:
        """The inventory's var files, absolute."""
        return [str((self.directory / file).resolve()) for file in self.config.var_files]

    @property
    def backend_file(self) -> Path:
        """Where `init` wrote which backend is used."""
        return self.folder / "data" / "terraform.tfstate"

    def initialise(self, *, force: bool = False) -> bool:
        """Run `init` if the configuration, the backend or the binary changed since the last time; returns whether it ran.

        One at a time on this host, since the plugin cache that all roots share is not made for more. Raises UnknownError.
        """
        stamp_file = self.folder / "initialised"
        stamp = self._stamp()
        if not force and _read(stamp_file) == stamp:
            return False
        with _waiting(self.inventory.state / "terraform" / "init.lock", self.config.deadline.total_seconds()):
            if not force and _read(stamp_file) == stamp:
                return False
            outcome = self._init()
            if outcome is not None:
                raise outcome
            fresh = stamp_file.with_suffix(".new")
            fresh.write_text(self._stamp())  # init may have written a lock file, which is part of it
            fresh.replace(stamp_file)
        return True

    def _init(self) -> OpsError | None:
        locked = (self.directory / ".terraform.lock.hcl").exists()
        backend = [f"{name}={value}" for name, value in self.config.backend_config.items()]
        backend += [str((self.directory / file).resolve()) for file in self.config.backend_config_files]
        outcome = self.terraform.command(
            "init",
            input=False,
            no_color=IsFlagged,
            reconfigure=IsFlagged,
            backend_config=backend,
            lockfile="readonly" if locked else None,
        )
        if outcome.returncode == 0:
            return None
        return outcome.errors[0].as_error(f"terraform init failed in {self.directory}")

    def source(self) -> Source:
        """The configuration as it is on disk now: all files of the root and of its local modules, and the git commit."""
        digest = hashlib.sha256()
        for folder_ in self._folders():
            for file in sorted(folder_.iterdir()):
                if file.name.endswith(_SUFFIXES) and file.is_file():
                    digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
                    digest.update(_bounded(file))
        for file in self.var_files:
            digest.update(_bounded(Path(file)))
        digest.update(
            json.dumps([self.config.workspace, self.config.backend_config], sort_keys=True).encode()
        )
        commit, dirty = _git(self.directory)
        return Source(digest.hexdigest(), commit, dirty)

    def _folders(self) -> list[Path]:
        """The root's folder and those of local modules, as `init` listed them."""
        found = {self.directory}
        try:
            rows = json.loads((self.folder / "data" / "modules" / "modules.json").read_text())["Modules"]
            found |= {(self.directory / row["Dir"]).resolve() for row in rows}
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return sorted(one for one in found if one.is_dir())

    def _stamp(self) -> str:
        """What `init` depends on; a secret in the environment does not belong to it."""
        parts = [self.binary.stamp, str(self.directory), self.source().digest]
        parts += [self._env.get("TF_CLI_CONFIG_FILE", ""), str(bool(self._env.get("TF_REATTACH_PROVIDERS")))]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@contextmanager
def opened(inventory: Inventory, name: str, *, cancelled: threading.Event | None = None) -> Iterator[Root]:
    """The root called `name`, with a private temporary folder for its plugins that is gone afterwards.

    Its commands end when `cancelled` is set, which another thread may do.
    Raises UsageError where the inventory names a folder, a file or a binary that is not there, or a secret is missing.
    """
    config = inventory.terraform[name]
    directory = inventory.resolve(config.dir)
    if not directory.is_dir():
        raise UsageError(f"the folder of terraform/{name} is not there: {directory}", hint="correct `dir`")
    for file in (*config.var_files, *config.backend_config_files):
        if not (directory / file).is_file():
            raise UsageError(
                f"{directory / file} is not there", hint=f"correct the files of terraform/{name}"
            )
    binary = find(config.binary, base=inventory.path.parent)
    data = private(folder(inventory, name) / "data")
    cache = private(inventory.state / "terraform" / "plugins")
    with scratch("terraform") as temporary:
        env = _environment(inventory, config, data=data, cache=cache, temporary=temporary)
        yield Root(inventory, name, binary, env, directory=directory, cancelled=cancelled)


def folder(inventory: Inventory, name: str) -> Path:
    """Where this host keeps what belongs to a root: Terraform's data directory, proposed plans. Private (0700)."""
    return private(inventory.state / "terraform" / name)


def _environment(
    inventory: Inventory, config: TerraformRoot, *, data: Path, cache: Path, temporary: Path
) -> dict[str, str]:
    base = inventory.path.parent
    passed = {name: os.environ[name] for name in config.pass_environment if name in os.environ}
    secret = {name: resolve(ref, base=base) for name, ref in config.environment.items()}
    secret |= {f"TF_VAR_{name}": resolve(ref, base=base) for name, ref in config.variables.items()}
    env = process.environment(passed | dict(config.settings) | secret)
    if len(os.fsencode(temporary)) <= SOCKET_ROOM:
        env["TMPDIR"] = str(temporary)
    elif len(os.fsencode(env.get("TMPDIR", ""))) > _INHERITED_ROOM:
        env["TMPDIR"] = "/tmp"
    env |= {
        "TF_DATA_DIR": str(data),
        "TF_PLUGIN_CACHE_DIR": str(cache),
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        "CHECKPOINT_DISABLE": "1",
    }
    if config.workspace != "default":
        env["TF_WORKSPACE"] = config.workspace
    return env


def _git(directory: Path) -> tuple[str | None, bool]:
    """The commit of the work tree that `directory` lies in, and whether something below `directory` differs from it."""
    git = ["git", "-C", str(directory)]
    env = process.environment({"GIT_OPTIONAL_LOCKS": "0"})
    try:
        commit = process.run([*git, "rev-parse", "HEAD"], deadline=_GIT_SECONDS, env=env).stdout.strip()
        changed = process.run(
            [*git, "status", "--porcelain", "--untracked-files=normal", "--", "."],
            deadline=_GIT_SECONDS,
            env=env,
        ).stdout
    except process.ProcessError:
        return None, False
    return commit, bool(changed.strip())


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _bounded(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.sha256(file.read(_MOST_BYTES)).digest()
    except OSError as error:
        raise UnknownError(f"{path} cannot be read: {error.strerror}", hint="see who may read it") from error


@contextmanager
def _waiting(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock file `path`; raises UnknownError when another process holds it for longer than `seconds`."""
    private(path.parent)
    deadline = time.monotonic() + seconds
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise UnknownError(
                        f"another `terraform init` has been running for {seconds:.0f} s",
                        hint=f"fuser -v {path}",
                    ) from None
                time.sleep(_INIT_POLL_SECONDS)
        yield
