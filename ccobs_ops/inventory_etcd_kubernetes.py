"""Inventory of etcd clusters that are reached through Kubernetes, and of the static material that a control plane needs."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ccobs_ops.inventory_types import Duration, Model, Size


def _absolute(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/"):
        raise ValueError(f"{value!r} is no absolute path on the control-plane node")
    return value.rstrip("/") or "/"


def _recipient(value: str) -> str:
    if not re.fullmatch(r"age1[02-9ac-hj-np-z]{20,}|ssh-(ed25519|rsa) [A-Za-z0-9+/=]+.*", value):
        raise ValueError(
            "an age recipient is a public key, age1… or ssh-ed25519 …; an identity (AGE-SECRET-KEY-…) does not belong here"
        )
    return value


HostPath = Annotated[str, AfterValidator(_absolute)]
AgeRecipient = Annotated[str, AfterValidator(_recipient)]


class EtcdKubernetes(Model):
    """How a kubeadm cluster's etcd is reached through its API server.

    `exec` runs etcdctl in the static pod; `job` in a pod of our own on a control-plane node, with the host's certificates.
    """

    method: Literal["exec", "job"] = "exec"
    kubeconfig: str | None = None
    context: str | None = None
    namespace: str = "kube-system"
    selector: str = "component=etcd,tier=control-plane"
    container: str = "etcd"
    endpoint: str = Field(default="https://127.0.0.1:2379", pattern=r"^https?://[^/\s]+:\d+$")
    pki_dir: HostPath = "/etc/kubernetes/pki/etcd"
    ca: str = "ca.crt"
    cert: str = "healthcheck-client.crt"
    key: str = "healthcheck-client.key"
    work_dir: HostPath = "/tmp"
    job_namespace: str = "kube-system"
    node_selector: dict[str, str] = {"node-role.kubernetes.io/control-plane": ""}
    image: str | None = None
    helper_image: str = "busybox:1.36"
    start_timeout: Duration = timedelta(minutes=2)


class EtcdMaterial(Model):
    """The files that a control plane needs beside its data. Stored only encrypted: to age recipients, or with a KMS key."""

    paths: tuple[HostPath, ...] = ("/etc/kubernetes/pki", "/etc/kubernetes/manifests")
    collector: Literal["files", "kubernetes"] = "files"
    age: tuple[AgeRecipient, ...] = ()
    kms_key: str | None = None
    kms_region: str | None = None
    kms_endpoint: str | None = Field(default=None, pattern=r"^https?://")
    limit: Size = 64 * 1024**2

    @model_validator(mode="after")
    def _encrypted(self) -> EtcdMaterial:
        if bool(self.age) == (self.kms_key is not None):
            raise ValueError(
                "name `age` recipients or a `kms_key`, one of the two: it is never stored in clear"
            )
        if not self.paths:
            raise ValueError("name at least one path, or leave `material` out")
        return self
