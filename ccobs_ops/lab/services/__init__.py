"""Every service of the lab, in the order in which they start; they end in reverse."""

from __future__ import annotations

from collections.abc import Sequence

from ccobs_ops.core.errors import UsageError
from ccobs_ops.lab.plan import ETCD_MEMBERS
from ccobs_ops.lab.services.agent import Agent
from ccobs_ops.lab.services.base import Service
from ccobs_ops.lab.services.etcd import EtcdAgent, EtcdMember, EtcdWriter
from ccobs_ops.lab.services.filer_sync import FilerSync
from ccobs_ops.lab.services.pager import Pager
from ccobs_ops.lab.services.postgres import Postgres
from ccobs_ops.lab.services.replication_agent import ReplicationAgent
from ccobs_ops.lab.services.seaweed import Seaweed
from ccobs_ops.lab.services.terraform import Terraform
from ccobs_ops.lab.services.vault import Vault
from ccobs_ops.lab.services.writer import Writer

REGISTRY: tuple[Service, ...] = (
    Seaweed("us"),
    Seaweed("eu"),
    Postgres(),
    FilerSync(),
    Writer(),
    Agent(),
    Terraform(),
    *(EtcdMember(name) for name in ETCD_MEMBERS),
    EtcdWriter(),
    EtcdAgent(),
    ReplicationAgent(),
    Vault(),
    Pager(),
)


def named(name: str) -> Service:
    """The service called `name`. Raises UsageError when there is none."""
    for service in REGISTRY:
        if service.name == name:
            return service
    known = ", ".join(service.name for service in REGISTRY)
    raise UsageError(f"the lab has no service {name!r}", hint=f"there are: {known}")


def select(names: Sequence[str] | None) -> tuple[Service, ...]:
    """The services called `names` and all that they need, in starting order; None selects every one."""
    if names is None:
        return REGISTRY
    wanted: set[str] = set()
    pending = list(names)
    while pending:
        service = named(pending.pop())
        wanted.add(service.name)
        pending += service.needs
    return tuple(service for service in REGISTRY if service.name in wanted)


__all__ = ["REGISTRY", "Service", "named", "select"]
