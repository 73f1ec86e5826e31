"""What every kind of cluster in the inventory has: a name, a password, an archive's place. Opens nothing by itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from ccobs_ops.core.errors import UsageError

if TYPE_CHECKING:
    from ccobs_ops.core.storage import ObjectStore
    from ccobs_ops.inventory import Inventory, Postgres
    from ccobs_ops.inventory_etcd import Etcd

C = TypeVar("C", bound="Postgres | Etcd")


class ArchivedCluster(Generic[C]):
    """Cluster `name` of the inventory, one of `known`; `noun` as in its target, `kind` for people. Raises UsageError."""

    def __init__(
        self, inventory: Inventory, name: str, known: Mapping[str, C], *, noun: str, kind: str
    ) -> None:
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise UsageError(f"the inventory names no {kind} cluster {name!r}", hint=f"it names: {names}")
        self.inventory = inventory
        self.name = name
        self.config = known[name]
        self._noun = noun

    @property
    def target(self) -> str:
        """`<noun>/<name>`."""
        return f"{self._noun}/{self.name}"

    @property
    def prefix(self) -> str:
        """Where its archive lies in its store, with a slash at the end."""
        return (self.config.prefix or self.target).strip("/") + "/"

    @property
    def state(self) -> Path:
        """This host's private folder for the cluster."""
        return self.inventory.state / self._noun / self.name

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
