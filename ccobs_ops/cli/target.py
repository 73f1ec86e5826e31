"""What the commands about one target share: its name, the one exercise on it, and a process that runs until stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from ccobs_ops.cli.options import answering, choose, exercising

if TYPE_CHECKING:
    from threading import Event

    from ccobs_ops.core.context import Context
    from ccobs_ops.core.exercise import Exercise

Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME", help="The target's name in the inventory; not needed if there is only one."
    ),
]
FromStore = Annotated[
    str | None, typer.Option("--store", help="Read from this store instead of the target's own (a replica).")
]


def exercise_target(
    ctx: typer.Context,
    noun: str,
    name: str | None,
    run: Callable[[Context, str], Exercise],
    *,
    json: bool,
    emergency: bool = False,
) -> int:
    """Run one exercise on the chosen target of `noun`, show it, and return the exit status of its verdict."""
    from ccobs_ops.cli import output

    with answering(json), exercising(ctx, emergency=emergency) as context:
        targets = getattr(context.inventory, noun)
        target = choose(noun, list(targets), name)
        exercise = run(context, target)
    output.print_exercise(exercise, getattr(targets[target], "objectives", None), json=json)
    return exercise.verdict.exit_status


@contextmanager
def until_stopped() -> Iterator[Event]:
    """An event that SIGINT and SIGTERM set for the length of the block, for a process that ends in its own time."""
    import signal
    import threading

    stop = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler)  # a second one does not wait

    kept = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
