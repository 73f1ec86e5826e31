"""Progress: plain lines that are rare enough to read, and a bar on a terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

from ccobs_ops.cli.progress import Lines, describe, reporting
from ccobs_ops.core.redaction import MASK


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_are_rare_and_say_how_far_it_is() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = Lines(stream, every=5, timer=clock)
    lines.begin("fetch", 100 * 1024**2)
    for _ in range(12):
        clock.now += 1
        lines.advance(5 * 1024**2)
    assert stream.getvalue().splitlines() == [
        "fetch: 25.0 MiB of 100.0 MiB (25 %), 5.0 MiB/s, 15.0 s left",
        "fetch: 50.0 MiB of 100.0 MiB (50 %), 5.0 MiB/s, 10.0 s left",
    ]


def test_a_phase_that_is_over_at_once_says_nothing() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = Lines(stream, every=5, timer=clock)
    for phase in ("a", "b", "c"):
        lines.begin(phase)
        clock.now += 1
    assert stream.getvalue() == ""
    clock.now += 5
    lines.begin("replay")
    assert stream.getvalue() == "replay …\n"


def test_notes_come_at_once_and_redacted() -> None:
    stream = io.StringIO()
    lines = Lines(stream, timer=Clock())
    lines.note("made the slot")
    lines.note("password=hunter22")
    assert stream.getvalue() == f"made the slot\npassword={MASK}\n"


def test_without_a_total_there_is_no_time_left() -> None:
    assert describe("replay", 2048, None, 2.0) == "replay: 2.0 KiB, 1.0 KiB/s"
    assert describe("replay", 0, None, 0.0) == "replay: 0 B"
    assert describe("fetch", 300, 200, 1.0) == "fetch: 300 B of 200 B (100 %), 300 B/s"


def test_a_stream_that_is_no_terminal_gets_lines() -> None:
    with reporting(io.StringIO()) as progress:
        assert isinstance(progress, Lines)


SCRIPT = """
import sys, threading
from ccobs_ops.cli.progress import reporting
with reporting(sys.stderr) as progress:
    progress.begin("fetch", 1000)
    threads = [threading.Thread(target=lambda: [progress.advance(1) for _ in range(100)]) for _ in range(10)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    progress.note("half [of] it")
    progress.begin("replay")
"""


def test_a_terminal_gets_a_bar() -> None:
    master, slave = pty.openpty()
    root = Path(__file__).parents[2]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "PYTHONPATH": str(root)}
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=slave,
        check=True,
    )
    os.close(slave)
    text = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:
            break
        if not block:
            break
        text += block
    os.close(master)
    assert told.stdout == b""
    assert b"1000 B of 1000 B (100 %)" in text
    assert b"half [of] it" in text
    assert b"replay" in text
