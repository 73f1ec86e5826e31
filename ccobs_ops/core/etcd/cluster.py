"""One etcd cluster of the inventory: how it is reached, its programs, its archive's place. Opens nothing by itself."""

from __future__ import annotations

import os
import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.process import run

if TYPE_CHECKING:
    from ccobs_ops.core.etcd.access import Access
    from ccobs_ops.core.storage import ObjectStore
    from ccobs_ops.inventory import Inventory
    from ccobs_ops.inventory_etcd import Etcd


class EtcdCluster:
    """Cluster `name` of the inventory. Raises UsageError when there is none."""

    def __init__(self, inventory: Inventory, name: str) -> None:
        if name not in inventory.etcd:
            known = ", ".join(sorted(inventory.etcd)) or "none"
            raise UsageError(f"the inventory names no etcd cluster {name!r}", hint=f"it names: {known}")
        self.inventory = inventory
        self.name = name
        self.config: Etcd = inventory.etcd[name]

    @property
    def target(self) -> str:
        """`etcd/<name>`."""
        return f"etcd/{self.name}"

    @property
    def prefix(self) -> str:
        """Where its archive lies in its store, with a slash at the end."""
        return (self.config.prefix or self.target).strip("/") + "/"

    @property
    def state(self) -> Path:
        """This host's private folder for the cluster."""
        return self.inventory.state / "etcd" / self.name

    @cached_property
    def password(self) -> str | None:
        """The password, resolved from its reference."""
        from ccobs_ops.core.secrets import resolve  # noqa: PLC0415

        reference = self.config.password
        return resolve(reference, base=self.inventory.path.parent) if reference else None

    def store(self, name: str | None = None, *, read_only: bool = False) -> ObjectStore:
        """The store that holds the archive, or the one called `name` that holds its copy."""
        from ccobs_ops.core.storage import ObjectStore  # noqa: PLC0415

        chosen = name or self.config.store
        if chosen not in self.inventory.stores:
            known = ", ".join(sorted(self.inventory.stores))
            raise UsageError(f"the inventory names no store {chosen!r}", hint=f"it names: {known}")
        return ObjectStore.open(self.inventory, chosen, read_only=read_only)

    def access(self) -> Access:
        """The way to the cluster that the inventory names."""
        if self.config.access == "kubernetes":
            from ccobs_ops.core.etcd.access_kubernetes import KubernetesAccess  # noqa: PLC0415

            return KubernetesAccess(self)
        from ccobs_ops.core.etcd.direct import DirectAccess  # noqa: PLC0415

        return DirectAccess(self)

    def program(self, name: str) -> Path:
        """etcd, etcdutl or etcdctl: in `bin_dir` if the inventory names one, else on PATH. Raises UsageError."""
        folder = self.config.bin_dir
        found = shutil.which(name, path=os.fspath(self.inventory.resolve(folder)) if folder else None)
        if found is None:
            raise UsageError(
                f"the program {name} was not found {f'in {folder}' if folder else 'on PATH'}",
                hint=f"install etcd's programs and name their folder as etcd.{self.name}.bin_dir",
            )
        return Path(found)

    def program_or_name(self, name: str) -> Path:
        """As `program`, or the bare name where it is not installed here: for commands that run on another host."""
        try:
            return self.program(name)
        except UsageError:
            return Path(name)

    def supports(self, option: str) -> bool:
        """Whether the etcdutl at hand knows `option` of `snapshot restore`, asked by its own help."""
        told = run([self.program("etcdutl"), "snapshot", "restore", "--help"], deadline=20).stdout
        return f"{option} " in told or f"{option}\n" in told or f"{option}=" in told
