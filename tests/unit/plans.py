"""Plan documents made by hand, in the form that Terraform's documentation gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccobs_ops.core.terraform.document import read_plan
from ccobs_ops.core.terraform.plan import PlanDocument

SECRET = "s3cr&t-<hunter>-2"
AWS = "registry.terraform.io/hashicorp/aws"


def entry(
    address: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    actions: Sequence[str] | None = None,
    *,
    unknown: Any = None,
    sensitive: Any = None,
    after_sensitive: Any = None,
    **more: Any,
) -> dict[str, Any]:
    """One entry of `resource_drift` or `resource_changes`."""
    if actions is None:
        actions = ["delete"] if after is None else ["create"] if before is None else ["update"]
    kind, name = address.rsplit("]", 1)[0].split(".")[-2:] if "[" not in address else _split(address)
    return {
        "address": address,
        "mode": "managed",
        "type": kind,
        "name": name,
        "provider_name": AWS,
        "change": {
            "actions": list(actions),
            "before": before,
            "after": after,
            "after_unknown": {} if unknown is None else unknown,
            "before_sensitive": {} if sensitive is None else sensitive,
            "after_sensitive": sensitive or {} if after_sensitive is None else after_sensitive,
        },
    } | more


def _split(address: str) -> list[str]:
    plain, depth = "", 0
    for char in address:
        depth += {"[": 1, "]": -1}.get(char, 0)
        plain += char if not depth and char != "]" else ""
    return plain.split(".")[-2:]


def document(
    drift: Sequence[Mapping[str, Any]] = (), changes: Sequence[Mapping[str, Any]] = (), **more: Any
) -> dict[str, Any]:
    """A whole plan."""
    return {
        "format_version": "1.2",
        "terraform_version": "1.9.8",
        "planned_values": {"root_module": {}},
        "resource_drift": list(drift),
        "resource_changes": list(changes),
        "prior_state": {"format_version": "1.0", "terraform_version": "1.9.8", "values": {"root_module": {}}},
        "configuration": {"root_module": {}},
        "timestamp": "2026-11-23T02:14:07Z",
        "applyable": True,
        "complete": True,
        "errored": False,
    } | more


def write(path: Path, plan: Any) -> Path:
    """`plan` as a file."""
    path.write_text(json.dumps(plan), encoding="utf-8")
    return path


def read(tmp_path: Path, plan: Any) -> PlanDocument:
    """The plan, written and read back."""
    return read_plan(write(tmp_path / "plan.json", plan))


def shown(plan: PlanDocument) -> str:
    """All that anybody could see of it."""
    return repr(plan)
