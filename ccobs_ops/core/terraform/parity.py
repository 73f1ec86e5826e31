"""Whether a dr root could take over from its primary: the same roles, and nothing smaller, older or shorter."""

from __future__ import annotations

from ccobs_ops.core.exercise import Finding
from ccobs_ops.core.terraform.plan import PlanDocument


def compare(dr: PlanDocument, primary: PlanDocument, *, name: str, primary_name: str) -> tuple[Finding, ...]:
    """Findings `parity_*` for every difference that would break or weaken a failover from `primary_name` to `name`."""
    raise NotImplementedError
