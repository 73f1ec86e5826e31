"""Read the JSON of a plan (`terraform show -json PLAN`) as a stream, and keep what a scan needs, without any secret."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Difference:
    """One attribute that differs between `before` and `after`; `reordered` if only the order of a list does."""

    path: str
    before: Any
    after: Any
    sensitive: bool = False
    after_unknown: bool = False
    reordered: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of `resource_drift` or `resource_changes` that is no plain no-op.

    `tops` holds, for each top-level attribute that differs or that an impact rule may want, its whole value before and
    after; `identity` the names that the provider knows the object by.
    """

    address: str
    mode: str
    type: str
    name: str
    provider: str
    actions: tuple[str, ...]
    previous_address: str | None = None
    deposed: str | None = None
    reason: str | None = None
    importing: bool = False
    differences: tuple[Difference, ...] = ()
    tops: tuple[tuple[str, Any, Any], ...] = ()
    identity: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One instance of a check block or condition: `status` is `pass`, `fail`, `error` or `unknown`."""

    address: str
    status: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """One object of the prior state, with the few values that parity and coverage need."""

    address: str
    mode: str
    type: str
    values: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class PlanDocument:
    """What a plan says. `errored` and `complete` are as Terraform tells, True and None where its version does not."""

    format_version: str
    terraform_version: str
    drift: tuple[Entry, ...] = ()
    changes: tuple[Entry, ...] = ()
    deferred: tuple[str, ...] = ()
    """Addresses whose change Terraform put off because something is not known yet."""
    checks: tuple[Check, ...] = ()
    held: tuple[Held, ...] = ()
    managed: int = 0
    errored: bool = False
    complete: bool | None = None
    applyable: bool | None = None
    timestamp: str | None = None


def read_plan(path: Path) -> PlanDocument:
    """The plan whose JSON is in `path`, read as a stream: memory follows what differs, not what the file holds.

    Raises UnknownError where the file is missing, cut off, no JSON, or of a format that is not known (not 1.x): what
    cannot be read is never clean.
    """
    raise NotImplementedError(path)
