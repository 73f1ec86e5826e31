"""What can be looked at in a lab, and by which function: the ones that the night and the operator use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ccobs_ops.core.errors import BusyError
from ccobs_ops.core.exercise import Exercise

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.core.incident import Incident


BUSY_SECONDS = 300.0


class Look(NamedTuple):
    """A capability of a target."""

    target: str
    capability: str


def exercise(ctx: Context, look: Look) -> Exercise:
    """Exercise `look`; it is in the ledger when this returns. Waits while another process does the same.

    Raises BusyError when that takes longer than `BUSY_SECONDS`.
    """
    noun, _, name = look.target.partition("/")
    until = ctx.timer() + BUSY_SECONDS
    while True:
        try:
            return _LOOKS[noun, look.capability](ctx, name)
        except BusyError:
            if ctx.timer() > until:
                raise
            ctx.sleep(0.5)


def _window(ctx: Context, name: str) -> Exercise:
    from ccobs_ops.core.postgres.window import examine  # noqa: PLC0415

    return examine(ctx, name, deep=True)


def _validation(ctx: Context, name: str) -> Exercise:
    from ccobs_ops.core.postgres.validate import validate  # noqa: PLC0415

    return validate(ctx, name)


def _health(ctx: Context, name: str) -> Exercise:
    from ccobs_ops.core.etcd.health import examine  # noqa: PLC0415

    return examine(ctx, name)


def _archive(ctx: Context, name: str) -> Exercise:
    from ccobs_ops.core.etcd.listing import look_over  # noqa: PLC0415

    return look_over(ctx, name, deep=True)


def _drill(ctx: Context, name: str) -> Exercise:
    from ccobs_ops.core.etcd.drill import drill  # noqa: PLC0415

    return drill(ctx, name)


def _comparison(ctx: Context, name: str) -> Exercise:
    from ccobs_ops.core.replication.compare import compare  # noqa: PLC0415

    return compare(ctx, name, hash_sample=1.0)


def _canary(ctx: Context, name: str) -> Exercise:
    from ccobs_ops.core.replication.lag import measure  # noqa: PLC0415

    return measure(ctx, name)


def _drift(ctx: Context, name: str) -> Exercise:
    from ccobs_ops.core.terraform.scan import scan  # noqa: PLC0415

    return scan(ctx, name)


_LOOKS: dict[tuple[str, str], Callable[..., Exercise]] = {
    ("postgres", "window"): _window,
    ("postgres", "validation"): _validation,
    ("etcd", "health"): _health,
    ("etcd", "archive"): _archive,
    ("etcd", "restore_drill"): _drill,
    ("replication", "comparison"): _comparison,
    ("replication", "canary"): _canary,
    ("terraform", "drift"): _drift,
}


def look_of(incident: Incident) -> Look | None:
    """What proves the claim of `incident` again; None where that is no look."""
    noun = incident.target.partition("/")[0]
    return Look(incident.target, incident.capability) if (noun, incident.capability) in _LOOKS else None
