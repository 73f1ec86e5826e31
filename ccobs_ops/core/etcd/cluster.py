"""One etcd cluster of the inventory: how it is reached, and its programs. Opens nothing by itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ccobs_ops.core.cluster import ArchivedCluster
from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.process import run
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_etcd import Etcd

if TYPE_CHECKING:
    from ccobs_ops.core.etcd.access import Access


class EtcdCluster(ArchivedCluster[Etcd]):
    """etcd cluster `name` of the inventory. Raises UsageError when there is none."""

    def __init__(self, inventory: Inventory, name: str) -> None:
        super().__init__(inventory, name, inventory.etcd, noun="etcd", kind="etcd")

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
