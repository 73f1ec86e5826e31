"""What a lab is made of and where everything lies; decided once, before the first process starts."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import ccobs_ops
from ccobs_ops.core import process
from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab import wheels
from ccobs_ops.lab.ports import Reserved

MARK = "CCOBS_LAB"
"""Every process of a lab carries this environment variable, holding the lab's folder."""

BUCKET = "ccobs-backups"
OUTSIDE = re.compile(r"/var/tmp/ccobs-lab-[0-9a-f]{12}")
"""Where PostgreSQL's folder lies when it cannot lie in the lab's."""
PROBE_BUCKET = "ccobs-lab"
STATE_BUCKET = "ccobs-terraform-state"
ARTIFACTS = "ccobs-artifacts"
"""A bucket with versions, of the application: replicated like the backups."""
VAULT_BUCKET = "ccobs-vault"
"""Under object lock, in eu: the immutable copy of the archives."""
PAIRS = {"backups": BUCKET, "artifacts": ARTIFACTS}
"""The replicated pairs by name, and the bucket of each."""
REGIONS = ("us", "eu")
NAME = "observatory"
TARGET = f"postgres/{NAME}"
DATABASE = "observatory"
ETCD_TARGET = f"etcd/{NAME}"
ETCD_MEMBERS = ("etcd-1", "etcd-2", "etcd-3")

SEAWEED_OFFSETS = (0, 1, 2, 3, 10_000, 10_001, 10_002, 10_003)
SOCKET_ROOM = 60
"""Longest path of PostgreSQL's folder, in bytes, that leaves room for a sandbox's unix socket (limit 107)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One lab. `services` in the order in which they start; `ports` the first port of each service that listens.

    `home` holds PostgreSQL's data and the sandboxes. It lies in `directory`, or in /var/tmp when PostgreSQL has to run
    as another account (`run_as`, when we are root) that cannot reach `directory`.
    """

    directory: Path
    scale: float
    seed: int
    services: tuple[str, ...]
    ports: dict[str, int]
    home: Path
    bin_dir: Path
    run_as: str | None

    @classmethod
    def make(
        cls, directory: Path, *, scale: float, seed: int, services: tuple[str, ...], free: Reserved
    ) -> Plan:
        """Decide everything, with ports from `free`; nothing is written and nothing started."""
        run_as = "nobody" if os.geteuid() == 0 else None
        user = process.User.named(run_as) if run_as else None
        home = directory / "postgres"
        if not wheels.can_enter(directory, user) or len(os.fsencode(home)) > SOCKET_ROOM:
            home = Path(f"/var/tmp/ccobs-lab-{secrets.token_hex(6)}")
        bin_dir = wheels.postgres()
        if "postgres" in services and not wheels.can_run(bin_dir / "postgres", user):
            bin_dir = home / "wheel" / bin_dir.parent.parent.name / "pginstall" / "bin"
        ports = {
            "us": free.base(SEAWEED_OFFSETS),
            "eu": free.base(SEAWEED_OFFSETS),
            "postgres": free.base((0,)),
            "terraform": free.base((0,)),
            "filer-sync": free.base((0,)),
            "pager": free.base((0,)),
        }
        ports |= {name: free.base((0, 1)) for name in ETCD_MEMBERS}
        return cls(directory, scale, seed, services, ports, home, bin_dir, run_as)

    def owns_home(self) -> bool:
        """Whether `home` is a place that `make` could have chosen: `down` removes it with all that is in it."""
        return self.home == self.directory / "postgres" or OUTSIDE.fullmatch(str(self.home)) is not None

    @property
    def user(self) -> process.User | None:
        """The account that PostgreSQL runs as; None means ours."""
        return process.User.named(self.run_as) if self.run_as else None

    @property
    def inventory(self) -> Path:
        """The inventory that the lab writes."""
        return self.directory / "inventory.yaml"

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.home / "data"

    @property
    def sandbox(self) -> Path:
        """Where restores are started to be proven."""
        return self.home / "sandbox"

    @property
    def state_dir(self) -> Path:
        """The inventory's state folder: the agent's spool and control files."""
        return self.directory / ".ccobs"

    @property
    def logs_dir(self) -> Path:
        """One log a service."""
        return self.directory / "logs"

    @property
    def secrets_dir(self) -> Path:
        """One file a secret; 0700."""
        return self.directory / "secrets"

    @property
    def faults(self) -> Path:
        """What was broken and what is needed to heal it."""
        return self.directory / "faults"

    def log(self, service: str) -> Path:
        """The file that `service` writes its output to."""
        return self.logs_dir / f"{service}.log"

    def s3_port(self, region: str) -> int:
        """Where the S3 gateway of `region` listens."""
        return self.ports[region] + 3

    def filer_port(self, region: str) -> int:
        """Where the filer of `region` listens, for replication."""
        return self.ports[region] + 2

    def etcd_url(self, member: str, *, peer: bool = False) -> str:
        """Where a member of etcd is reached, by clients or by the other members."""
        return f"https://127.0.0.1:{self.ports[member] + peer}"

    @property
    def etcd_home(self) -> Path:
        """The members' data, one folder each."""
        return self.directory / "etcd"

    @property
    def replicator_metrics(self) -> str:
        """Where the replicator tells about itself."""
        return f"http://127.0.0.1:{self.ports['filer-sync']}/metrics"

    @property
    def replicator_hold(self) -> Path:
        """While this file exists, the supervisor of the replicator looks on."""
        return self.state_dir / "replicator.hold"

    def secret_file(self, name: str) -> Path:
        """The file (0600) that holds the secret `name`."""
        return self.secrets_dir / name

    def secret(self, name: str) -> str:
        """The secret `name`, read from its file."""
        try:
            return self.secret_file(name).read_text().strip()
        except OSError as error:
            raise OpsError(
                f"the lab's secret {name} cannot be read: {error.strerror}",
                hint=f"take the lab down and up again: ccobs-ops lab down --dir {self.directory}",
            ) from error

    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """The whole environment of one of the lab's processes: small, and marked as ours."""
        return process.environment({MARK: str(self.directory), **(extra or {})}, user=self.user)

    def python(self, module: str, *arguments: str) -> list[str]:
        """The command that runs one of our own modules with this interpreter."""
        return [sys.executable, "-P", "-m", module, *arguments]

    def python_environment(self) -> dict[str, str]:
        """Like `environment`, for our own modules: finds this package and what it needs, as this process does."""
        ours = str(Path(ccobs_ops.__file__).parent.parent)
        inherited = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
        paths = dict.fromkeys(part for part in (ours, *inherited) if part != sysconfig.get_path("purelib"))
        return process.environment(
            {MARK: str(self.directory), "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
        )

    def make_folders(self) -> None:
        """Create the lab's folders and its secrets. `home` in /var/tmp is created exclusively."""
        if self.logs_dir.is_dir():
            shutil.rmtree(self.logs_dir)  # of the lab that was here before
        self.logs_dir.mkdir()
        self.secrets_dir.mkdir(mode=0o700)
        self.home.mkdir(mode=0o711)
        self.home.chmod(0o711)
        self.sandbox.mkdir(mode=0o711)
        self.sandbox.chmod(0o711)
        for name in _secret_names():
            write_private(self.secret_file(name), secrets.token_hex(16) + "\n")


def _secret_names() -> list[str]:
    keys = [
        f"{region}_{right}{part}"
        for region in REGIONS
        for right in ("", "read_only_", "terraform_")
        for part in ("access_key", "secret_key")
    ]
    return [*keys, "postgres_password", "superuser_password", "app_password", "escrow_key"]


def write_private(path: Path, text: str) -> None:
    """Create `path` with `text`, readable by nobody else from the first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
