"""Free ports on 127.0.0.1.

They are taken from below the kernel's ephemeral range (32768 and up on Linux), so that no outgoing connection can sit
on a port while its server is down, and a stopped server always gets its port back.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Sequence

from ccobs_ops.core.errors import OpsError

LOWEST, HIGHEST = 10240, 22700
ATTEMPTS = 200


def free_base(offsets: Sequence[int]) -> int:
    """A port P such that P + offset is free for each of `offsets`, as found by binding all of them at once.

    Raises OpsError when no such port turns up.
    """
    for _ in range(ATTEMPTS):
        base = LOWEST + secrets.randbelow(HIGHEST - LOWEST - max(min(offsets), 0))
        if all_free([base + offset for offset in offsets]):
            return base
    raise OpsError(
        "no free ports were found on 127.0.0.1",
        hint=f"see what listens between {LOWEST} and {HIGHEST + 10_000}: ss -ltn",
    )


def all_free(ports: Sequence[int]) -> bool:
    """Whether every one of `ports` could be bound on 127.0.0.1, all at the same time."""
    with contextlib.ExitStack() as stack:
        for port in ports:
            probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def answers(port: int, *, timeout: float = 1.0) -> bool:
    """Whether something accepts a TCP connection on 127.0.0.1:`port` within `timeout` seconds."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout):
            return True
    except OSError:
        return False
