"""From two plans to one list of classified, ranked, redacted changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date

from ccobs_ops.core.terraform.change import Change, Drift
from ccobs_ops.core.terraform.document import PlanDocument
from ccobs_ops.core.terraform.ignore import IgnoreRule
from ccobs_ops.core.terraform.impact import ImpactRules


def classify(
    refresh: PlanDocument,
    plan: PlanDocument | None,
    *,
    impact: ImpactRules,
    role: str = "primary",
    ignore: Sequence[IgnoreRule] = (),
    accepted: Collection[tuple[str, str]] = (),
    today: date,
) -> Drift:
    """What differs: `refresh` (a refresh-only plan) is the authority for drift, `plan` (a normal one) for pending changes.

    `plan` is None if it could not be made: then the drift is incomplete, and what was read is still there. `role` is
    the root's (`primary`, `dr`); `accepted` are (address, attribute path) of drift that was accepted into the state.
    """
    raise NotImplementedError


def consequences(plan: PlanDocument, *, impact: ImpactRules, role: str = "primary") -> tuple[Change, ...]:
    """What applying `plan` would do, each with its impact: class PENDING, `before` is now and `after` what it would set.

    Remediation refuses where one of them `weakens`, or has an action that it does not allow.
    """
    raise NotImplementedError
