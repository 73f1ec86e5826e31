"""What is kept of a plan: frozen, and without any secret. `document.py` reads it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ccobs_ops.core.terraform.change import Unread

_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Difference:
    """One attribute that differs between `before` and `after`; `reordered` if only the order of a list does."""

    path: str
    top: str
    before: Any
    after: Any
    sensitive: bool = False
    after_unknown: bool = False
    reordered: bool = False
    before_mark: str | None = field(default=None, repr=False)
    after_mark: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Top:
    """One top-level attribute that differs, whole; `sensitive` if any of it is."""

    name: str
    before: Any
    after: Any
    sensitive: bool = False
    after_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of `resource_drift` or `resource_changes` that says something.

    `identity` are the names that the provider knows the object by; `configured` the top-level attributes that the
    configuration sets, None where it does not have the object.
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
    tops: tuple[Top, ...] = ()
    identity: tuple[tuple[str, str], ...] = ()
    configured: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One instance of a check block or condition: `status` is `pass`, `fail`, `error`, or `unknown`."""

    address: str
    status: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """One object of the state, with the few values that parity and coverage need."""

    address: str
    type: str
    values: tuple[tuple[str, Any], ...] = ()

    def get(self, name: str) -> Any:
        """The value called `name`; None if it is not kept."""
        return dict(self.values).get(name)


@dataclass(frozen=True, slots=True)
class PlanDocument:
    """What a plan says. `errored`, `complete` and `applyable` are None where Terraform's version does not tell."""

    format_version: str
    terraform_version: str
    drift: tuple[Entry, ...] = ()
    changes: tuple[Entry, ...] = ()
    deferred: tuple[str, ...] = ()
    """Addresses whose change Terraform put off because something is not known yet."""
    checks: tuple[Check, ...] = ()
    held: tuple[Held, ...] = ()
    managed: int = 0
    errored: bool | None = None
    complete: bool | None = None
    applyable: bool | None = None
    timestamp: str | None = None
    unread: tuple[Unread, ...] = ()


def without_indexes(address: str) -> str:
    """The address as the configuration has it: `module.a["x"].aws_s3_bucket.b[0]` is `module.a.aws_s3_bucket.b`."""
    text, depth, quoted, escaped = "", 0, False, False
    for char in address:
        if quoted:
            quoted = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"' and depth:
            quoted = True
        elif char == "[":
            depth += 1
        elif char == "]" and depth:
            depth -= 1
        elif not depth:
            text += char
    return text


def pattern_of(path: str) -> str:
    """A path without its indexes: `rule[0].expiration[0].days` is `rule.expiration.days`; keys in quotes stay."""
    return _INDEX.sub("", path)
