"""Take the steps of a drill, side by side where their needs allow it.

Invariants:
1. A step begins at the very moment (one reading of the timer) that the last of its needs ended, so the durations along a
   critical path add up without a gap.
2. A step whose need did not PASS is never started, and says which need that was. A clean-up runs whatever came of its needs.
3. When `perform` returns or raises, no step is running any more.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from ccobs_ops.core.drill.step import Kind, Outcome, Result, Step
from ccobs_ops.core.errors import OpsError, UnknownError
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.redaction import REDACT

Action = Callable[[], Outcome]
Ended = tuple[Step, Outcome, BaseException | None]
T = TypeVar("T")
_POLL_SECONDS = 0.2


def perform(
    steps: Sequence[Step],
    actions: Mapping[str, Action],
    *,
    timer: Callable[[], float],
    began: float,
    deadline: float,
    abandon: Callable[[str], None],
    tell: Callable[[Result], None] = lambda _: None,
) -> dict[str, Result]:
    """Take all of `steps` by `actions` (by name) and return what came of them, in their order.

    `began` is the timer's reading when the drill was declared. After `deadline` seconds, and when this thread is interrupted,
    `abandon` is called with the reason: it must make every running action end soon. An error that no step expects is
    raised again once all has ended.
    """
    running: dict[str, threading.Thread] = {}
    started: dict[str, float] = {}
    results: dict[str, Result] = {}
    ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    unexpected: list[BaseException] = []
    abandoned = False

    def settle(at: float) -> None:
        """Start what can start now, and pass over what never can; `at` is the offset of this moment."""
        moved = True
        while moved:
            moved = False
            for step in steps:
                if step.name in results or step.name in running or any(n not in results for n in step.needs):
                    continue
                moved = True
                lacking = [n for n in step.needs if results[n].outcome.verdict is not Verdict.PASSED]
                if step.kind is not Kind.CLEANUP and (lacking or abandoned):
                    why = f"not started: {lacking[0]} did not pass" if lacking else "not started: abandoned"
                    _settled(Result(step, Outcome(Verdict.UNKNOWN, why)))
                    continue
                started[step.name] = at
                thread = threading.Thread(
                    target=_run, args=(step, actions[step.name], ended), name=step.name, daemon=True
                )
                running[step.name] = thread
                thread.start()

    def _settled(result: Result) -> None:
        results[result.step.name] = result
        tell(result)

    def take(item: Ended) -> None:
        step, outcome, error = item
        at = timer() - began
        running.pop(step.name).join()
        if error is not None:
            unexpected.append(error)
        _settled(Result(step, outcome, started[step.name], at))
        settle(at)

    try:
        settle(0.0)
        while running:
            if not abandoned and timer() - began > deadline:
                abandoned = True
                abandon(f"the drill ran for longer than its deadline of {deadline:.0f} s")
            try:
                item = ended.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            take(item)
    except BaseException:
        abandoned = True
        abandon("the drill was interrupted")
        while running:
            take(ended.get())
        raise
    if unexpected:
        raise unexpected[0]
    return {step.name: results[step.name] for step in steps}


def _run(step: Step, action: Action, ended: queue.SimpleQueue[Ended]) -> None:
    try:
        ended.put((step, action(), None))
    except OpsError as error:
        ended.put((step, refused(error), None))
    except BaseException as error:  # noqa: BLE001 - raised again by `perform`
        told = f"the step did not finish: {REDACT(repr(error))}"
        ended.put((step, Outcome(Verdict.UNKNOWN, told), error))


def refused(error: OpsError) -> Outcome:
    """An error as the outcome of a step: UNKNOWN where something could not be looked at, else FAILED."""
    verdict = Verdict.UNKNOWN if isinstance(error, UnknownError) else Verdict.FAILED
    return Outcome(verdict, REDACT(error.message.splitlines()[0]))
