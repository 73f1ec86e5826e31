"""The supervisor's own measure of lag: a file with a number in it, written to one filer and read from the other, and the
replicator's checkpoint, which has to move on while that file changes.

Both are needed. A replicator that hangs brings no beat. One that lost what was on its way in a crash brings every later
beat, but its checkpoint stays where the loss is, and only a restart from there brings what is missing. None of this is shared
with what the product measures, so that a defect of the product cannot keep the lab's replication going.
"""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field

_TIMEOUT_SECONDS = 2.0
_WRITE_EVERY_SECONDS = 2.0
_OFFSET = re.compile(rb"^SeaweedFS_filerSync_sync_offset\{[^}]*\}\s+(\S+)$", re.MULTILINE)


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
class Stopwatch:
    """Seconds since something last happened, of which only those count in which it could have happened."""

    seconds: float = 0.0

    def tick(self, step: float, *, happened: bool) -> None:
        """`step` more seconds have passed."""
        self.seconds = 0.0 if happened else self.seconds + step


@dataclass
class Heartbeat:
    """Call `look` about every second: how far `to_port` is behind `from_port`, in seconds.

    Only time in which both sides answered counts: a side that is down is no reason to restart the replicator.
    """

    from_port: int
    to_port: int
    path: str
    metrics_port: int | None = None
    put: Callable[[int, str, bytes], None] = filer_put
    get: Callable[[int, str], bytes | None] = filer_get
    clock: Callable[[], float] = time.monotonic
    _count: int = 0
    _arrived: int = 0
    _offset: bytes = b""
    _last_write: float = float("-inf")
    _last_look: float | None = None
    _beat: Stopwatch = field(default_factory=Stopwatch)
    _checkpoint: Stopwatch = field(default_factory=Stopwatch)

    def reset(self) -> None:
        """Start over, as after a restart of the replicator."""
        self._beat, self._checkpoint, self._last_look = Stopwatch(), Stopwatch(), None

    def look(self) -> float:
        """Seconds for which no beat came through or the checkpoint stood still, whichever is longer."""
        now = self.clock()
        try:
            if now - self._last_write >= _WRITE_EVERY_SECONDS:
                self.put(self.from_port, self.path, str(self._count + 1).encode())
                self._count += 1
                self._last_write = now
            arrived = _number(self.get(self.to_port, self.path))
        except (OSError, ValueError):
            self._last_look = None
            return 0.0
        step = 0.0 if self._last_look is None else now - self._last_look
        self._last_look = now
        self._beat.tick(step, happened=arrived != self._arrived)
        self._arrived = arrived
        offset = self._read_offset()
        if offset is None:
            self._checkpoint = Stopwatch()
        else:
            self._checkpoint.tick(step, happened=offset != self._offset)
            self._offset = offset
        return max(self._beat.seconds, self._checkpoint.seconds)

    def _read_offset(self) -> bytes | None:
        """The replicator's checkpoint, None when it does not tell."""
        if self.metrics_port is None:
            return None
        try:
            page = self.get(self.metrics_port, "/metrics") or b""
        except (OSError, ValueError):
            return None
        found = _OFFSET.findall(page)
        return b" ".join(found) if found else None


def _number(body: bytes | None) -> int:
    try:
        return int(body or b"0")
    except ValueError:
        return 0
