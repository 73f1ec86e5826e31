"""A report as PDF: the same page, printed by a Chromium that is on this host. It is asked for nothing but that page."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.process import ProcessError, environment, run
from ccobs_ops.core.scratch import scratch

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "microsoft-edge-stable")
DEADLINE_SECONDS = 120.0
_OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-quic",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--no-pdf-header-footer",
)


def program() -> str:
    """The browser that prints. Raises UsageError where there is none."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name)) is not None), None)
    if found is None:
        raise UsageError(
            "a PDF is printed by Chromium, and there is none on this host",
            hint="apt-get install chromium, or take --format html and print it in any browser",
        )
    return found


def pdf(html: bytes) -> bytes:
    """The page `html`, printed. Raises UsageError where no browser is there, ProcessError where it fails."""
    browser = program()
    with scratch("report") as folder:
        page, printed = folder / "report.html", folder / "report.pdf"
        page.write_bytes(html)
        command = [browser, *_OPTIONS, f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={printed}"]
        if os.geteuid() == 0:
            command.append("--no-sandbox")  # it refuses to start as root otherwise; the page has no script
        done = run(
            [*command, page.as_uri()],
            deadline=DEADLINE_SECONDS,
            env=environment({"HOME": str(folder), "TMPDIR": str(folder)}),
        )
        return _read(printed, done.tail)


def _read(printed: Path, tail: str) -> bytes:
    try:
        data = printed.read_bytes()
    except FileNotFoundError:
        data = b""
    if not data.startswith(b"%PDF-"):
        raise ProcessError("the browser printed no PDF", hint="take --format html and print it", tail=tail)
    return data
