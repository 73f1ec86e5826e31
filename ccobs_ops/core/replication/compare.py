"""Compare one pair: both sides listed and merged, each difference explained, suspects looked at again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ccobs_ops.core.errors import UnknownError

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.exercise import Exercise

CAPABILITY = "comparison"


def compare(
    ctx: Context,
    name: str,
    *,
    prefix: str = "",
    hash_sample: float | None = None,
    resume: bool = False,
) -> Exercise:
    """Compare the pair `name`, and record what was found as capability `comparison` of `replication/NAME`.

    `prefix` narrows it further than the inventory's; `hash_sample` (0 to 1) replaces the inventory's; `resume` goes on
    where an interrupted comparison of the same pair and prefix stopped. Claims `complete`, `content` and `no_extra`.
    The differences are kept by `report.write`.
    """
    raise UnknownError(f"replication/{name} cannot be compared yet")
