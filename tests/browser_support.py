"""The browser that tests drive: Debian's Chromium."""

from __future__ import annotations

import shutil

CHROMIUM = shutil.which("chromium")
NO_CHROMIUM = "no chromium on this host: apt-get install chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
