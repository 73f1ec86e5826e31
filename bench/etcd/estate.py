"""The estate that is measured: one member of etcd with Kubernetes' keys in it, and the lab's S3 store."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.postgres.measure import cpu_of
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.etcd.canary import CanaryWriter
from ccobs_ops.core.etcd.client import EtcdClient
from ccobs_ops.core.etcd.tls import Tls
from ccobs_ops.core.exercise import utc_now
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.process import environment, spawn
from ccobs_ops.inventory_load import load
from ccobs_ops.lab import Lab, wheels
from ccobs_ops.lab.kubernetes_keys import keys
from ccobs_ops.lab.lab import take_down
from ccobs_ops.lab.plan import NAME
from ccobs_ops.lab.ports import free_base

ROOT = Path(__file__).resolve().parents[2]
BATCH = 120
SIDE_BY_SIDE = 8
QUOTA = 8 * 1024**3
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Estate:
    """What the contenders are measured on. `scratch` is theirs to write to."""

    lab: Lab
    url: str
    pid: int
    scratch: Path
    inventory: Path

    def tool(self, name: str) -> Path:
        """etcd, etcdctl or etcdutl."""
        return wheels.etcd() / name

    @property
    def endpoint(self) -> str:
        """The S3 endpoint."""
        return f"http://127.0.0.1:{self.lab.plan.s3_port('us')}"

    def aws(self) -> dict[str, str]:
        """The store's credentials as AWS tools take them."""
        return {
            "AWS_ACCESS_KEY_ID": self.lab.plan.secret("us_access_key"),
            "AWS_SECRET_ACCESS_KEY": self.lab.plan.secret("us_secret_key"),
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def servers_cpu(self) -> float:
        """CPU seconds of etcd and the store so far."""
        return cpu_of([pid for pid in (self.pid, self.lab.pid("us")) if pid is not None])

    def ops(self, *words: str) -> list[str | Path]:
        """The command line of ccobs-ops on this estate's inventory."""
        return [sys.executable, "-m", "ccobs_ops.cli.main", "--inventory", self.inventory, *words]

    def client(self) -> EtcdClient:
        """A connection to the member."""
        return EtcdClient(self.url, Tls(None, None, None, "", "", None), timeout=60)

    def canary(self) -> None:
        """One canary, written and recorded as the agent would: a drill has to find it."""
        inventory = load(self.inventory)
        with Ledger.of(inventory) as ledger, self.client() as client:
            config = inventory.etcd[NAME].canary
            writer = CanaryWriter(client, ledger, f"etcd/{NAME}", prefix=config.prefix, keep=config.keep)
            writer.prepare(utc_now())
            writer.write_one(utc_now())


@contextlib.contextmanager
def estate(count: int, *, say: Say, keep_in: Path | None = None) -> Iterator[Estate]:
    """A store and a member of etcd with `count` keys, for the length of the block; nothing of it is left."""
    base = Path(tempfile.mkdtemp(prefix="ccobs-bench-", dir=keep_in or "/var/tmp"))
    (base / "scratch").mkdir(mode=0o700)
    (base / "etcd").mkdir(mode=0o700)
    port = free_base((0, 1))
    url, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
    argv = [
        wheels.etcd() / "etcd",
        "--name=lone",
        f"--data-dir={base / 'etcd' / 'data'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=lone={peer}",
        f"--quota-backend-bytes={QUOTA}",
        "--log-level=error",
    ]
    try:
        lab = Lab.up(base / "lab", services=["us"])
        document = yaml.safe_load(lab.inventory_path.read_text())
        document["etcd"] = {
            NAME: {"endpoints": [url], "store": "us", "bin_dir": str(wheels.etcd()), "quota": "8GiB"}
        }
        document["stores"]["us"]["timeout"] = "30s"
        inventory = lab.inventory_path.with_name("bench.yaml")
        inventory.write_text(yaml.safe_dump(document))
        try:
            with spawn(argv, env=environment(), cwd=base / "etcd") as child:
                made = Estate(lab, url, child.pid, base / "scratch", inventory)
                _await(made)
                say(f"{count} keys: etcd and S3 are up, loading")
                _load(made, count)
                os.sync()
                say(f"{count} keys: loaded")
                yield made
        finally:
            inventory.unlink()
    finally:
        take_down(base / "lab")
        shutil.rmtree(base)


def _await(one: Estate) -> None:
    until = time.monotonic() + 60
    while True:
        with one.client() as client, contextlib.suppress(OpsError):
            if client.status().leader:
                return
        if time.monotonic() > until:
            raise OpsError("etcd did not answer within 60 s")
        time.sleep(0.1)


def _load(one: Estate, count: int) -> None:
    with one.client() as client, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        pending: deque[Future[int]] = deque()
        batch: list[tuple[bytes, bytes | None]] = []
        for pair in keys(count, 1):
            batch.append(pair)
            if len(batch) == BATCH:
                pending.append(pool.submit(client.put_many, batch))
                batch = []
                if len(pending) >= SIDE_BY_SIDE:
                    pending.popleft().result()
        if batch:
            pending.append(pool.submit(client.put_many, batch))
        for each in pending:
            each.result()
