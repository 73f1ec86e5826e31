"""How a chart's specification becomes an SVG: by vl-convert, without a browser or a network, in a process of its own.

vl-convert runs Vega in a JavaScript engine, which takes half a second to start and keeps Python from everything else while
it draws. A `Drawer` starts it at once, beside whatever is done until there is something to draw. One is enough: a second one
takes from the gathering of data, on two cores, what it gives to the drawing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import re
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:  # a drawing process needs none of ours
    from ccobs_ops.core.process import Child

COLOURS = {
    "ink": "#1b2430",
    "soft": "#4a5666",
    "line": "#d5dbe3",
    "none": "#eef1f5",
    "good": "#1a7f4b",
    "bad": "#c02b2b",
    "unknown": "#8a5a00",
    "accent": "#1f5fbf",
    "accent2": "#7a4fb5",
    "paper": "#fefefe",
}
"""The colours of the light page; `report.css` has those of the dark one under the same names."""
CONFIG: Mapping[str, Any] = {
    "background": "transparent",
    "font": "sans-serif",
    "aria": False,
    "padding": {"left": 12, "right": 6, "top": 4, "bottom": 4},
    "view": {"stroke": None},
    "axis": {
        "labelColor": COLOURS["ink"], "titleColor": COLOURS["soft"], "titleFontWeight": "normal",
        "domainColor": COLOURS["soft"], "tickColor": COLOURS["soft"], "gridColor": COLOURS["line"],
        "labelFontSize": 11, "titleFontSize": 11,
    },
}  # fmt: skip
"""What all charts share."""
DEADLINE_SECONDS = 60.0
"""For one drawing, which takes a fiftieth of a second."""
_IDS = re.compile(r"""( id="|url\(['"]?#| href="#)([A-Za-z][\w-]*)""")
"""Names within a drawing: each drawing of a page has its own."""
_ROLES = re.compile(r' (?:role|aria-[a-z]+)="[^"]*"')
"""What Vega tells screen readers of its marks, which have no names: the words and the table beside it are for them."""


class Drawer:
    """A process that draws, for the length of a `with` block."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[tuple[bytes, Future[str]] | None] = queue.SimpleQueue()
        self._known: dict[bytes, Future[str]] = {}
        # the process ends with the thread that started it: it has its own
        self._thread = threading.Thread(target=self._work, name="drawer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._asked.put(None)
        self._thread.join()

    def draw(self, specification: Mapping[str, Any]) -> Future[str]:
        """The chart as an SVG element, when it is drawn: each once. Its result raises ProcessError if the process fails."""
        line = json.dumps(dict(specification) | {"config": CONFIG}).encode() + b"\n"
        if line not in self._known:
            self._known[line] = Future()
            self._asked.put((line, self._known[line]))
        return self._known[line]

    def _work(self) -> None:
        from ccobs_ops.core.process import spawn  # noqa: PLC0415

        asked, over = None, False
        try:
            argv = [sys.executable, "-P", "-m", __name__]
            with spawn(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
                while (asked := self._asked.get()) is not None:
                    asked[1].set_result(_exchange(child, asked[0]))
                over = True
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            if asked is not None:
                asked[1].set_exception(error)
            while not over and (asked := self._asked.get()) is not None:
                asked[1].set_exception(error)


def _exchange(child: Child, line: bytes) -> str:
    from ccobs_ops.core.process import ProcessError  # noqa: PLC0415

    answer = b""
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(line)
        child.stdin.flush()
        if not select.select([child.stdout], [], [], DEADLINE_SECONDS)[0]:
            raise ProcessError(
                f"a chart of {len(line)} bytes was not drawn within {DEADLINE_SECONDS:.0f} s",
                hint="without charts: ccobs-ops report --format md",
            )
        answer = child.stdout.readline()
    if not answer.endswith(b"\n"):
        child.check(1.0)
        raise ProcessError(
            "the process that draws charts ended", hint="ccobs-ops report --format md needs none"
        )
    return json.loads(answer)


def svg(specification: str) -> str:
    """`specification` (JSON) drawn by this process. What it says in words stands beside it on the page: it carries none of
    its own for screen readers. Raises ValueError for what Vega-Lite does not take.
    """
    import vl_convert  # noqa: PLC0415

    drawn = _ROLES.sub("", vl_convert.vegalite_to_svg(specification))
    mark = hashlib.sha256(drawn.encode()).hexdigest()[:8]
    return _IDS.sub(lambda match: f"{match[1]}{mark}-{match[2]}", drawn)


def main() -> None:
    """Draw one specification a line of standard input, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # it holds nothing: it is ended at once
    svg(json.dumps({"data": {"values": [{}]}, "mark": "point"}))  # what is slow the first time only
    for line in sys.stdin:
        sys.stdout.write(json.dumps(svg(line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
