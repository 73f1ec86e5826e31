"""etcd: three members with TLS between all of them, filled with what a Kubernetes cluster would keep there."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import IO

from ccobs_ops.core import process
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.etcd.client import EtcdClient
from ccobs_ops.core.etcd.tls import Tls
from ccobs_ops.lab import wheels
from ccobs_ops.lab.certificates import Pair, authority, issue
from ccobs_ops.lab.plan import ETCD_MEMBERS, NAME, Plan, write_private
from ccobs_ops.lab.services.base import Service, launch_command, launch_module

STALE_SECONDS = 15.0
MEMORY = {"GOGC": "30"}
"""Three members beside everything else stay small; a little more CPU is the price."""
QUOTA = "4294967296"


class EtcdMember(Service):
    """The member `name` of three."""

    stop_seconds = 10.0

    def __init__(self, name: str) -> None:
        self.name = name

    def address(self, plan: Plan) -> str:
        """Where clients reach it."""
        return plan.etcd_url(self.name)

    def prepare(self, plan: Plan) -> None:
        """Its folder and its certificates; the first member also makes the authority's and the client's."""
        folder = plan.etcd_home
        folder.mkdir(mode=0o700, exist_ok=True)
        if not plan.secret_file("etcd_ca.crt").exists():
            keep(plan, "etcd_ca", authority("lab etcd"))
            keep(plan, "etcd_client", issue(ca(plan), "ccobs"))
        for kind in ("server", "peer"):
            keep(plan, f"{self.name}_{kind}", issue(ca(plan), self.name))

    def start(self, plan: Plan, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """As it would run on a control-plane node: client certificates are wanted from everybody."""
        peers = ",".join(f"{name}={plan.etcd_url(name, peer=True)}" for name in ETCD_MEMBERS)
        flags = {
            "name": self.name,
            "data-dir": plan.etcd_home / self.name,
            "listen-client-urls": plan.etcd_url(self.name),
            "advertise-client-urls": plan.etcd_url(self.name),
            "listen-peer-urls": plan.etcd_url(self.name, peer=True),
            "initial-advertise-peer-urls": plan.etcd_url(self.name, peer=True),
            "initial-cluster": peers,
            "initial-cluster-token": "ccobs-lab",
            "quota-backend-bytes": QUOTA,
            "log-level": "warn",
            **tls_flags(plan, self.name),
        }
        arguments = [f"--{name}={value}" for name, value in flags.items()]
        return process.launch(
            [wheels.etcd() / "etcd", *arguments, "--client-cert-auth", "--peer-client-cert-auth"],
            env=plan.environment(MEMORY),
            cwd=plan.etcd_home,
            stdout=log,
            stderr=log,
        )

    def probe(self, plan: Plan) -> str:
        """It says that it has a leader, and reads what a quorum has agreed on."""
        try:
            with client(plan, self.name) as etcd:
                if not etcd.status().leader:
                    return "it has no leader"
                etcd.range(b"ccobs", count_only=True)
        except OpsError as error:
            return error.message
        return ""

    def folders(self, plan: Plan) -> tuple[Path, ...]:
        """All that the members store."""
        return (plan.etcd_home,)


class EtcdWriter(Service):
    """The cluster that lives in etcd: fills it once, then renews leases, reports pods and records events for ever."""

    name = "etcd-writer"
    needs = ETCD_MEMBERS
    ready_seconds = 120.0

    def address(self, plan: Plan) -> str:
        """What it does."""
        return "Kubernetes' keys and their churn"

    def start(self, plan: Plan, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """See `ccobs_ops.lab.etcd_writer`."""
        arguments = [
            *(f"--endpoint={plan.etcd_url(name)}" for name in ETCD_MEMBERS),
            f"--secrets={plan.secrets_dir}",
            f"--keys={max(1, round(KEYS * plan.scale))}",
            f"--seed={plan.seed}",
        ]
        return launch_module(plan, log, "ccobs_ops.lab.etcd_writer", *arguments)

    def probe(self, plan: Plan) -> str:
        """It has filled etcd, and its last sign of life is young."""
        import time  # noqa: PLC0415

        try:
            with client(plan, *ETCD_MEMBERS) as etcd:
                found = etcd.range(SIGN.encode())
        except OpsError as error:
            return error.message
        if not found.kvs:
            return "it is still filling etcd"
        age = time.time() - float(found.kvs[0].value)
        return "" if age < STALE_SECONDS else f"its last write is {age:.0f} s old"


class EtcdAgent(Service):
    """The product's own long-running process for etcd: the same command that an operator would run."""

    name = "etcd-agent"
    needs = ETCD_MEMBERS
    stop_seconds = 15.0

    def address(self, plan: Plan) -> str:
        """What it does."""
        return "canary keys"

    def start(self, plan: Plan, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """`ccobs-ops etcd agent` on the lab's own inventory."""
        return launch_command(plan, log, "etcd", "agent", NAME)

    def probe(self, plan: Plan) -> str:
        """The cluster itself holds canaries."""
        try:
            with client(plan, *ETCD_MEMBERS) as etcd:
                found = etcd.range(b"/ccobs/canary/", b"/ccobs/canary0", count_only=True)
        except OpsError as error:
            return error.message
        return "" if found.count else "no canary has been written"


KEYS = 50_000
SIGN = "/lab/writer"
"""The key that the writer puts its clock into, in seconds since 1970."""


def client(plan: Plan, *names: str) -> EtcdClient:
    """A connection to the first of the members `names` that answers, as the lab's client; raises OpsError."""
    problem: OpsError | None = None
    for name in names:
        found = EtcdClient(plan.etcd_url(name), tls(plan), timeout=3)
        if len(names) == 1:
            return found
        try:
            if found.status().leader:
                return found
        except OpsError as error:
            problem = error
        found.close()
    raise problem or OpsError("no member of etcd has a leader")


def tls(plan: Plan) -> Tls:
    """What the lab's client shows, and whom it trusts."""
    return Tls(
        plan.secret_file("etcd_ca.crt").read_bytes(),
        plan.secret_file("etcd_client.crt").read_bytes(),
        plan.secret_file("etcd_client.key").read_bytes(),
        "etcd_ca.crt",
        "etcd_client.crt",
        None,
    )


def tls_flags(plan: Plan, name: str) -> dict[str, Path]:
    """The flags that name a member's certificates."""
    return {
        "cert-file": plan.secret_file(f"{name}_server.crt"),
        "key-file": plan.secret_file(f"{name}_server.key"),
        "trusted-ca-file": plan.secret_file("etcd_ca.crt"),
        "peer-cert-file": plan.secret_file(f"{name}_peer.crt"),
        "peer-key-file": plan.secret_file(f"{name}_peer.key"),
        "peer-trusted-ca-file": plan.secret_file("etcd_ca.crt"),
    }


def ca(plan: Plan) -> Pair:
    """The lab's authority."""
    return Pair(plan.secret_file("etcd_ca.crt").read_text(), plan.secret_file("etcd_ca.key").read_text())


def keep(plan: Plan, name: str, pair: Pair) -> None:
    """Write a certificate and its key, both private."""
    write_private(plan.secret_file(f"{name}.crt"), pair.cert)
    write_private(plan.secret_file(f"{name}.key"), pair.key)
