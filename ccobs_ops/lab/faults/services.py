"""Faults in what runs: the agent, a store, the canaries."""

from __future__ import annotations

from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab.faults.actions import Action, CreateFile, StopService
from ccobs_ops.lab.faults.base import Site
from ccobs_ops.lab.plan import NAME


def archiver_stopped(site: Site) -> tuple[Action, ...]:
    """The agent is stopped, so no WAL reaches the store while PostgreSQL goes on; canaries stop with it."""
    return (stop_running(site, "agent", kill=False),)


def store_down(site: Site) -> tuple[Action, ...]:
    """The region's servers get kill -9."""
    return (stop_running(site, site.target, kill=True),)


def canary_stopped(site: Site) -> tuple[Action, ...]:
    """The agent is told to commit no canaries; WAL streaming goes on."""
    return (CreateFile(path=site.lab.plan.state_dir / "postgres" / NAME / "canary.stop"),)


def stop_running(site: Site, service: str, *, kill: bool) -> StopService:
    """The step that ends `service`. Raises OpsError when it is not running: there would be nothing to break."""
    if not site.lab.runs(service):
        raise OpsError(f"the service {service} is not running", hint="see ccobs-ops lab status")
    return StopService(service=service, kill=kill)
