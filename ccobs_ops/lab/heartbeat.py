"""The supervisor's own measure of lag: a file with the time in it, written to one filer and read from the other.

It shares nothing with what the product measures, so that a defect of the product cannot keep the lab's replication going.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field

_TIMEOUT_SECONDS = 2.0
_WRITE_EVERY_SECONDS = 2.0


def filer_put(port: int, path: str, body: bytes) -> None:
    """Write `body` to the filer on 127.0.0.1:`port`. Raises OSError."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, method="PUT")
    with _opener().open(request, timeout=_TIMEOUT_SECONDS) as answer:
        answer.read()


def filer_get(port: int, path: str) -> bytes | None:
    """Read a file from the filer on 127.0.0.1:`port`; None when it is not there. Raises OSError."""
    try:
        with _opener().open(f"http://127.0.0.1:{port}{path}", timeout=_TIMEOUT_SECONDS) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Heartbeat:
    """Call `look` about every second: how far `to_port` is behind `from_port`, in seconds.

    Only time in which both sides answered counts: a side that is down is no reason to restart the replicator.
    """

    from_port: int
    to_port: int
    path: str
    put: Callable[[int, str, bytes], None] = filer_put
    get: Callable[[int, str], bytes | None] = filer_get
    clock: Callable[[], float] = time.monotonic
    _written: dict[int, float] = field(default_factory=dict[int, float])
    _count: int = 0
    _last_write: float = float("-inf")
    _last_look: float | None = None
    _lag: float = 0.0

    def reset(self) -> None:
        """Start over, as after a restart of the replicator."""
        self._lag, self._last_look = 0.0, None

    def look(self) -> float:
        """Seconds, of those in which both sides answered, for which the newest beats have not come through."""
        now = self.clock()
        try:
            if now - self._last_write >= _WRITE_EVERY_SECONDS:
                self.put(self.from_port, self.path, str(self._count + 1).encode())
                self._count += 1
                self._last_write = now
                self._written[self._count] = now
            found = self.get(self.to_port, self.path)
        except (OSError, ValueError):
            self._last_look = None
            return self._lag
        reached = _number(found)
        self._written = {count: at for count, at in self._written.items() if count > reached}
        step = 0.0 if self._last_look is None else now - self._last_look
        overdue = bool(self._written) and now - min(self._written.values()) > _WRITE_EVERY_SECONDS
        self._lag = self._lag + step if overdue else 0.0
        self._last_look = now
        return self._lag


def _number(body: bytes | None) -> int:
    try:
        return int(body or b"0")
    except ValueError:
        return 0
