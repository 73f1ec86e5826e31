"""The only place that permits a destructive action.

Three keys, all turned, looked at again right before the act: it is no dry run (a dry run is the default), the
confirmation equals the target's name, and the inventory allows this action for this target. Whatever cannot be shown
to be safe is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ccobs_ops.core.errors import RefusedError


@dataclass(frozen=True, slots=True)
class Permit:
    """Shows that `permit` was asked: functions that destroy take one, and name what they were permitted to do."""

    action: str
    target: str


def permit(
    action: str,
    target: str,
    *,
    allowed: Collection[str],
    dry_run: bool,
    confirmation: str | None,
) -> Permit:
    """Permit `action` on `target` or raise RefusedError with the reason and how to lift it.

    `allowed` are the actions that the inventory allows for this target; `confirmation` is what the operator typed, or
    the target's name where the inventory's own schedule stands for the operator.
    """
    if dry_run:
        raise RefusedError(
            f"{action} of {target} is a dry run: nothing was changed",
            hint=f"repeat it with --no-dry-run --confirm {target}",
        )
    if confirmation != target:
        said = f"{confirmation!r}" if confirmation else "nothing"
        raise RefusedError(
            f"{action} of {target} is not confirmed: {said} was given",
            hint=f"repeat it with --confirm {target}",
        )
    if action not in allowed:
        raise RefusedError(
            f"the inventory does not allow {action} for {target}",
            hint=f"add {action!r} to the target's `allow` list if it is meant to",
        )
    return Permit(action, target)
