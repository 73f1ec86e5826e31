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

from ccobs_ops.core.drill.step import Kind, Outcome, Result, Step
from ccobs_ops.core.errors import OpsError, UnknownError
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.redaction import REDACT

Action = Callable[[], Outcome]
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
    engine = _Engine(steps, actions, timer, began, tell)
    try:
        engine.settle(0.0)
        while engine.running:
            if not engine.abandoned and timer() - began > deadline:
                engine.abandoned = True
                abandon(f"the drill ran for longer than its deadline of {deadline:.0f} s")
            engine.take(_POLL_SECONDS)
    except BaseException:
        engine.abandoned = True
        abandon("the drill was interrupted")
        while engine.running:
            engine.take(None)
        raise
    if engine.unexpected:
        raise engine.unexpected[0]
    return {step.name: engine.results[step.name] for step in steps}


class _Engine:
    """The steps that run, and what came of the others. Only one thread calls its methods."""

    def __init__(
        self,
        steps: Sequence[Step],
        actions: Mapping[str, Action],
        timer: Callable[[], float],
        began: float,
        tell: Callable[[Result], None],
    ) -> None:
        self._steps = steps
        self._actions = actions
        self._timer = timer
        self._began = began
        self._tell = tell
        self._started: dict[str, float] = {}
        self._ended: queue.SimpleQueue[tuple[Step, Outcome, BaseException | None]] = queue.SimpleQueue()
        self.running: dict[str, threading.Thread] = {}
        self.results: dict[str, Result] = {}
        self.unexpected: list[BaseException] = []
        self.abandoned = False

    def settle(self, at: float) -> None:
        """Start what can start now, and pass over what never can; `at` is the offset of this moment in seconds."""
        while waiting := [step for step in self._steps if self._may_be_decided(step)]:
            for step in waiting:
                lacking = [n for n in step.needs if self.results[n].outcome.verdict is not Verdict.PASSED]
                if step.kind is not Kind.CLEANUP and (lacking or self.abandoned):
                    why = f"{lacking[0]} did not pass" if lacking else "the drill was given up"
                    self._keep(Result(step, Outcome(Verdict.UNKNOWN, f"not started: {why}")))
                else:
                    self._start(step, at)

    def take(self, timeout: float | None) -> None:
        """Wait up to `timeout` seconds for a step to end, and start what waited for it."""
        try:
            step, outcome, error = self._ended.get(timeout=timeout)
        except queue.Empty:
            return
        at = self._timer() - self._began
        self.running.pop(step.name).join()
        if error is not None:
            self.unexpected.append(error)
        self._keep(Result(step, outcome, self._started[step.name], at))
        self.settle(at)

    def _may_be_decided(self, step: Step) -> bool:
        known = step.name in self.results or step.name in self.running
        return not known and all(need in self.results for need in step.needs)

    def _start(self, step: Step, at: float) -> None:
        self._started[step.name] = at
        thread = threading.Thread(target=self._run, args=(step,), name=step.name, daemon=True)
        self.running[step.name] = thread
        thread.start()

    def _keep(self, result: Result) -> None:
        self.results[result.step.name] = result
        self._tell(result)

    def _run(self, step: Step) -> None:
        try:
            self._ended.put((step, self._actions[step.name](), None))
        except OpsError as error:
            self._ended.put((step, refused(error), None))
        except BaseException as error:  # noqa: BLE001 - raised again by `perform`
            told = f"the step did not finish: {REDACT(repr(error))}"
            self._ended.put((step, Outcome(Verdict.UNKNOWN, told), error))


def refused(error: OpsError) -> Outcome:
    """An error as the outcome of a step: UNKNOWN where something could not be looked at, else FAILED."""
    verdict = Verdict.UNKNOWN if isinstance(error, UnknownError) else Verdict.FAILED
    return Outcome(verdict, REDACT(error.message.splitlines()[0]))
