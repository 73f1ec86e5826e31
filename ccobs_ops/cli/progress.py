"""Progress of long work on stderr: a bar with bytes, rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from ccobs_ops.core.context import Progress

LINE_SECONDS = 5.0


@contextmanager
def reporting(stream: TextIO) -> Iterator[Progress]:
    """Progress on `stream` for the length of a `with` block."""
    if not stream.isatty():
        yield Lines(stream)
        return
    bars = _bars(stream)
    with bars:
        yield Bar(bars)


class Lines:
    """Progress as plain lines: what is noted at once, how far a phase is at most every `every` seconds.

    A phase that is over sooner than that says nothing. `timer` is in seconds.
    """

    def __init__(
        self, stream: TextIO, *, every: float = LINE_SECONDS, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._every = every
        self._timer = timer
        self._lock = threading.Lock()
        self._phase = ""
        self._total: int | None = None
        self._unit = "bytes"
        self._done = 0
        self._began = self._told = timer()

    def begin(self, phase: str, total_bytes: int | None = None, *, unit: str = "bytes") -> None:
        """`phase` starts."""
        with self._lock:
            self._phase, self._total, self._done, self._unit = phase, total_bytes, 0, unit
            self._began = self._timer()
            if self._began - self._told >= self._every:
                self._say(f"{phase} …" if total_bytes is None else f"{phase}, {counted(total_bytes, unit)} …")
                self._told = self._began

    def advance(self, count: int) -> None:
        """`count` more bytes are done."""
        with self._lock:
            self._done += count
            now = self._timer()
            if now - self._told < self._every:
                return
            self._told = now
            self._say(describe(self._phase, self._done, self._total, now - self._began, unit=self._unit))

    def note(self, message: str) -> None:
        """Print `message`."""
        with self._lock:
            self._say(message)

    def _say(self, line: str) -> None:
        print(REDACT(line), file=self._stream, flush=True)


def describe(phase: str, done: int, total: int | None, seconds: float, *, unit: str = "bytes") -> str:
    """How far a phase is: `fetch: 1.2 GiB of 3.4 GiB (35 %), 88.1 MiB/s, 25.6 s left`."""
    return f"{phase}: {told(done, total, seconds, unit=unit)}"


def counted(count: float, unit: str) -> str:
    """So many bytes, or so many of another unit: `1.2 GiB`, `52,000 rows`."""
    return format_bytes(count) if unit == "bytes" else f"{count:,.0f} {unit}"


def told(done: int, total: int | None, seconds: float, *, unit: str = "bytes") -> str:
    """What was done in `seconds`, of how much, the rate, and the time left at that rate."""
    rate = done / seconds if seconds > 0 else 0.0
    text = counted(done, unit)
    if total:
        text += f" of {counted(total, unit)} ({min(100, done * 100 // total)} %)"
    if rate:
        text += f", {counted(rate, unit)}/s"
        if total and total > done:
            text += f", {format_seconds((total - done) / rate)} left"
    return text


class Bar:
    """Progress as one bar a phase."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._lock = threading.Lock()
        self._task: int | None = None

    def begin(self, phase: str, total_bytes: int | None = None, *, unit: str = "bytes") -> None:
        """`phase` starts; the phase before it is over."""
        from rich.progress import TaskID

        with self._lock:
            if self._task is not None:
                self._end(TaskID(self._task))
            self._task = self._bars.add_task(phase, total=total_bytes, unit=unit)

    def advance(self, count: int) -> None:
        """`count` more bytes are done."""
        from rich.progress import TaskID

        if self._task is not None:
            self._bars.advance(TaskID(self._task), count)

    def note(self, message: str) -> None:
        """Print `message` above the bars."""
        self._bars.console.print(REDACT(message), markup=False, highlight=False)

    def _end(self, task: int) -> None:
        from rich.progress import TaskID

        identifier = TaskID(task)
        done = next((each.completed for each in self._bars.tasks if each.id == identifier), 0)
        self._bars.update(identifier, total=done or 1, completed=done or 1)
        self._bars.stop_task(identifier)


def _bars(stream: TextIO) -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Told(ProgressColumn):
        """Bytes, rate and time left, in the same words as everywhere else."""

        def render(self, task: Task) -> Text:
            seconds = task.elapsed or 0.0
            total = None if task.total is None else int(task.total)
            if not task.completed and total is None:
                return Text(format_seconds(seconds))
            return Text(told(int(task.completed), total, seconds, unit=task.fields.get("unit", "bytes")))

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        Told(),
        console=Console(file=stream),
        transient=True,
    )
