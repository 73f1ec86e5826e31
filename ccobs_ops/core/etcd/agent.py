"""The agent: skeleton."""

from __future__ import annotations

import threading

from ccobs_ops.core.context import Context


def run_agent(ctx: Context, name: str, *, stop: threading.Event) -> None:
    """Write canary keys until `stop` is set. Blocks."""
    raise NotImplementedError
