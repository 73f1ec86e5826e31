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


class Reserved:
    """Ports that stay ours for the length of the block: bound, and not listening.

    Whoever else looks for a free port finds them taken, and the server that is given one binds it as well: on Linux two
    sockets with SO_REUSEADDR may share an address while neither listens (socket(7)).
    """

    def __init__(self) -> None:
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Reserved:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._held.close()

    def base(self, offsets: Sequence[int]) -> int:
        """A port P such that P + offset was free for each of `offsets` and is held now. Raises OpsError if none turns up."""
        for _ in range(ATTEMPTS):
            base = LOWEST + secrets.randbelow(HIGHEST - LOWEST - max(min(offsets), 0))
            with contextlib.ExitStack() as stack:
                if all(_hold(stack, base + offset) for offset in offsets):
                    self._held.enter_context(stack.pop_all())
                    return base
        raise OpsError(
            "no free ports were found on 127.0.0.1",
            hint=f"see what listens between {LOWEST} and {HIGHEST + 10_000}: ss -ltn",
        )


def _hold(stack: contextlib.ExitStack, port: int) -> bool:
    probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    try:
        probe.bind(("127.0.0.1", port))  # without SO_REUSEADDR: what another one holds is refused
    except OSError:
        return False
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return True


def free_base(offsets: Sequence[int]) -> int:
    """A port P such that P + offset is free at this moment for each of `offsets`. Raises OpsError when none turns up."""
    with Reserved() as found:
        return found.base(offsets)


def answers(port: int, *, timeout: float = 1.0) -> bool:
    """Whether something accepts a TCP connection on 127.0.0.1:`port` within `timeout` seconds."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout):
            return True
    except OSError:
        return False
