"""Keeps one program running: `python -m ccobs_ops.lab.supervisor --watch=PORT -- PROGRAM ARG…`.

It starts the program again when it ends, and restarts it when a watched port on 127.0.0.1 was down and answers again.
The program dies with the supervisor, also by kill -9.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from ccobs_ops.core import process
from ccobs_ops.lab.ports import answers

LOOK_SECONDS = 0.5
SHORTEST_BACKOFF, LONGEST_BACKOFF = 0.5, 10.0


def supervise(
    argv: Sequence[str],
    watched: Sequence[int],
    *,
    stop: threading.Event,
    say: Callable[[str], None],
) -> int:
    """Run `argv` over and over until `stop` is set; returns how often it was started.

    It waits between two starts: half a second, doubling up to ten while the program keeps ending at once.
    """
    starts, backoff = 0, SHORTEST_BACKOFF
    down: set[int] = set()
    while not stop.is_set():
        starts += 1
        looks = 0
        with process.spawn(
            argv, stdout=sys.stdout.buffer, stderr=sys.stderr.buffer, env=dict(os.environ)
        ) as child:
            say(f"started {child.name} as pid {child.pid}")
            while child.poll() is None and not stop.wait(LOOK_SECONDS):
                looks += 1
                now_down = {port for port in watched if not answers(port)}
                back = down - now_down
                down = now_down
                if back:
                    say(f"port {min(back)} is back: restarting {child.name}")
                    child.stop(first=signal.SIGTERM)
            if child.poll() is not None:
                say(f"{child.name} ended with status {child.poll()}")
        backoff = (
            SHORTEST_BACKOFF if looks > LONGEST_BACKOFF / LOOK_SECONDS else min(backoff * 2, LONGEST_BACKOFF)
        )
        stop.wait(backoff)
    return starts


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} supervisor: {text}", flush=True)


def main() -> int:
    """Parse the command line and supervise until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="supervisor")
    parser.add_argument("--watch", type=int, action="append", default=[], metavar="PORT")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    supervise(arguments.command, arguments.watch, stop=stop, say=_say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
