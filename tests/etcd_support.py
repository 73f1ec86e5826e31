"""A lab's etcd seen through the core's own functions, and lone members for what needs no cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.etcd.archive import Archive
from ccobs_ops.core.etcd.client import EtcdClient
from ccobs_ops.core.etcd.cluster import EtcdCluster
from ccobs_ops.core.etcd.drill import drill
from ccobs_ops.core.etcd.health import examine
from ccobs_ops.core.etcd.layout import Entry, catalogue_key
from ccobs_ops.core.etcd.listing import look_over
from ccobs_ops.core.etcd.snapshot import take_snapshot
from ccobs_ops.core.etcd.tls import Tls
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.process import Child, environment, spawn
from ccobs_ops.inventory_load import load
from ccobs_ops.lab import Lab, wheels
from ccobs_ops.lab.plan import ETCD_MEMBERS
from ccobs_ops.lab.services import etcd as service
from tests.lab_support import take_down_and_check

NAME = "observatory"
NO_TLS = Tls(None, None, None, "", "", None)


@dataclass(frozen=True)
class EtcdEstate:
    """One lab with its inventory and ledger open."""

    lab: Lab
    ctx: Context

    @classmethod
    @contextlib.contextmanager
    def of(cls, lab: Lab) -> Iterator[EtcdEstate]:
        """The estate of a running lab, for the length of the block."""
        inventory = load(lab.inventory_path)
        with Ledger.of(inventory) as ledger:
            yield cls(lab, Context(inventory, ledger))

    def changed(self, **changes: Any) -> EtcdEstate:
        """The same estate with other settings of its etcd cluster."""
        target = self.ctx.inventory.etcd[NAME].model_copy(update=changes)
        inventory = self.ctx.inventory.model_copy(update={"etcd": {NAME: target}})
        return EtcdEstate(self.lab, replace(self.ctx, inventory=inventory))

    @property
    def cluster(self) -> EtcdCluster:
        """Its etcd cluster."""
        return EtcdCluster(self.ctx.inventory, NAME)

    @property
    def archive(self) -> Archive:
        """Its archive in the store `us`."""
        return Archive(self.cluster.store(), self.cluster.prefix)

    @property
    def entries(self) -> list[Entry]:
        """Every snapshot in the catalogue, oldest first."""
        return self.archive.catalogue()[0]

    def snapshot(self) -> Exercise:
        """Take a snapshot."""
        return take_snapshot(self.ctx, NAME)

    def health(self) -> Exercise:
        """Look at the cluster."""
        return examine(self.ctx, NAME)

    def drill(self, **options: Any) -> Exercise:
        """Restore and prove."""
        return drill(self.ctx, NAME, **({"seed": 1} | options))

    def listing(self, **options: Any) -> Exercise:
        """Look the archive over."""
        return look_over(self.ctx, NAME, **options)

    def client(self, *names: str) -> EtcdClient:
        """A connection to one of the lab's members."""
        return service.client(self.lab.plan, *(names or ETCD_MEMBERS))

    def rewrite(self, entry: Entry, **changes: Any) -> None:
        """Put another catalogue entry, with a right checksum of its own, into the place of `entry`."""
        self.archive.store.put(self.archive.key(catalogue_key(entry.id)), replace(entry, **changes).dump())

    def sandboxes(self) -> list[Path]:
        """Sandboxes that are left on this host."""
        root = self.ctx.inventory.state / "sandbox"
        return sorted(root.iterdir()) if root.is_dir() else []


@contextlib.contextmanager
def etcd_estate_in(directory: Path, *services: str, scale: float = 0.02) -> Iterator[EtcdEstate]:
    """A lab of these services in `directory` with one snapshot taken; down again, and checked, when the block is left."""
    try:
        with EtcdEstate.of(Lab.up(directory, scale=scale, services=list(services))) as estate:
            taken = estate.snapshot()
            assert taken.verdict is Verdict.PASSED, taken.to_json()
            yield estate
    finally:
        take_down_and_check(directory)


@dataclass(frozen=True)
class Lone:
    """A cluster of one member."""

    endpoint: str
    child: Child
    folder: Path


@contextlib.contextmanager
def lone_member(
    folder: Path, *, url: str = "unix://client:1", flags: Mapping[str, object] | None = None
) -> Iterator[Lone]:
    """One etcd in `folder` that clients reach at `url`, for the length of the block. It may not be ready yet."""
    folder.mkdir(parents=True, exist_ok=True)
    argv = [
        str(wheels.etcd() / "etcd"),
        "--name=lone",
        f"--data-dir={folder / 'data'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        "--listen-peer-urls=unix://peer:1",
        "--initial-advertise-peer-urls=unix://peer:1",
        "--initial-cluster=lone=unix://peer:1",
        "--log-level=error",
        *(f"--{name}={value}" for name, value in (flags or {}).items()),
    ]
    endpoint = f"unix:{folder}/{url.removeprefix('unix://')}" if url.startswith("unix:") else url
    with spawn(argv, cwd=folder, env=environment()) as child:
        yield Lone(endpoint, child, folder)


def ready(client: EtcdClient, seconds: float = 30) -> EtcdClient:
    """Wait until `client` is answered."""
    until = time.monotonic() + seconds
    while True:
        try:
            if client.status().leader:
                return client
        except OpsError:
            assert time.monotonic() < until, f"{client.endpoint} did not answer in {seconds} s"
        time.sleep(0.05)


def named(exercise: Exercise, code: str, subject: str = "", *, verdict: Verdict = Verdict.FAILED) -> None:
    """`exercise` has that verdict, and a finding `code` that names `subject`."""
    told = [(f.code, f.subject, f.message) for f in exercise.findings]
    assert exercise.verdict is verdict, (exercise.reason, told)
    assert any(f.code == code and subject in f.subject + f.message for f in exercise.findings), told
