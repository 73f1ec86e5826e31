"""Keeps one program running: `python -m ccobs_ops.lab.supervisor --watch=PORT -- PROGRAM ARG…`.

It starts the program again when it ends, and restarts it when a watched port on 127.0.0.1 was down and answers again. As
supervisor of a replicator (`--lag-from`, `--lag-to`) it also restarts it when it has not moved on for `--max-lag` seconds
although both sides answer, and records that as an event of every
pair in the inventory: a replicator that had to be restarted is a finding. The program dies with the supervisor, also
by kill -9.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ccobs_ops.core import process
from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab.heartbeat import Heartbeat
from ccobs_ops.lab.ports import answers

LOOK_SECONDS = 0.5
SHORTEST_BACKOFF, LONGEST_BACKOFF = 0.5, 10.0


def supervise(
    argv: Sequence[str],
    watched: Sequence[int],
    *,
    stop: threading.Event,
    say: Callable[[str], None],
    heartbeat: Heartbeat | None = None,
    max_lag: float = 15.0,
    hold: Path | None = None,
    restarted: Callable[[str], None] = lambda _: None,
) -> int:
    """Run `argv` over and over until `stop` is set; returns how often it was started.

    It waits between two starts: half a second, doubling up to ten while the program keeps ending at once. While the file
    `hold` exists, nothing is restarted. `restarted` is told why, each time that the program was restarted although it ran.
    """
    starts, backoff = 0, SHORTEST_BACKOFF
    down: set[int] = set()
    while not stop.is_set():
        starts += 1
        looks = 0
        if heartbeat is not None:
            heartbeat.reset()
        with process.spawn(
            argv, stdout=sys.stdout.buffer, stderr=sys.stderr.buffer, env=dict(os.environ)
        ) as child:
            say(f"started {child.name} as pid {child.pid}")
            while child.poll() is None and not stop.wait(LOOK_SECONDS):
                looks += 1
                now_down = {port for port in watched if not answers(port)}
                back = down - now_down
                down = now_down
                lag = heartbeat.look() if heartbeat is not None else 0.0
                why = f"port {min(back)} is back" if back else ""
                if not why and lag > max_lag:
                    why = f"it has not moved on for {lag:.0f} s although both sides answer"
                if why and not (hold is not None and hold.exists()):
                    say(f"{why}: restarting {child.name}")
                    restarted(why)
                    child.stop(first=signal.SIGTERM)
            if child.poll() is not None:
                say(f"{child.name} ended with status {child.poll()}")
        backoff = (
            SHORTEST_BACKOFF if looks > LONGEST_BACKOFF / LOOK_SECONDS else min(backoff * 2, LONGEST_BACKOFF)
        )
        stop.wait(backoff)
    return starts


def record_restart(inventory: Path, subject: str, why: str) -> None:
    """Put the restart on record as an event of every pair in `inventory`; a ledger that fails is only said."""
    from ccobs_ops.core.ledger import Event, Ledger  # noqa: PLC0415
    from ccobs_ops.inventory_load import load  # noqa: PLC0415

    try:
        known = load(inventory)
        with Ledger.of(known) as ledger:
            for name in known.replication:
                ledger.record_event(
                    Event(
                        f"replication/{name}",
                        "replicator_restarted",
                        subject,
                        datetime.now(UTC),
                        {"why": why},
                    )
                )
    except OpsError as error:
        _say(f"the restart is not on record: {error.message}")


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} supervisor: {text}", flush=True)


def main() -> int:
    """Parse the command line and supervise until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="supervisor")
    parser.add_argument("--watch", type=int, action="append", default=[], metavar="PORT")
    parser.add_argument("--lag-from", type=int, metavar="PORT", help="the filer that is written to")
    parser.add_argument("--lag-to", type=int, metavar="PORT", help="the filer that it is to come through to")
    parser.add_argument("--lag-file", default="/supervisor/heartbeat")
    parser.add_argument("--metrics", type=int, metavar="PORT", help="of filer.sync, for its checkpoint")
    parser.add_argument("--max-lag", type=float, default=15.0, metavar="SECONDS")
    parser.add_argument("--hold", type=Path, help="while this file exists, restart nothing")
    parser.add_argument("--inventory", type=Path, help="record restarts in the ledger of this inventory")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    heartbeat = (
        Heartbeat(arguments.lag_from, arguments.lag_to, arguments.lag_file, arguments.metrics)
        if arguments.lag_from and arguments.lag_to
        else None
    )

    def restarted(why: str) -> None:
        if arguments.inventory is not None:
            record_restart(arguments.inventory, Path(arguments.command[0]).name, why)

    supervise(
        arguments.command,
        arguments.watch,
        stop=stop,
        say=_say,
        heartbeat=heartbeat,
        max_lag=arguments.max_lag,
        hold=arguments.hold,
        restarted=restarted,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
