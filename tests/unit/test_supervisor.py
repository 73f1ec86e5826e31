"""The supervisor restarts a replicator that does not move on, and only then; the proxy changes what it says."""

from __future__ import annotations

import http.client
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ccobs_ops.lab.heartbeat import Heartbeat
from ccobs_ops.lab.proxy import SLOW_DOWN, serve, skewed_header, skewed_listing
from ccobs_ops.lab.supervisor import supervise


class Filers:
    """Two filers and a replicator between them, all of it in memory."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sides: dict[int, bytes] = {}
        self.carries = self.up = True
        self.offset = 0

    def put(self, port: int, _path: str, body: bytes) -> None:
        self._require()
        self.sides[port] = body
        if self.carries:
            self.sides[2] = body
            self.offset += 1

    def get(self, port: int, path: str) -> bytes | None:
        self._require()
        if path == "/metrics":
            return b'SeaweedFS_filerSync_sync_offset{a="b"} %d\n' % self.offset
        return self.sides.get(port)

    def _require(self) -> None:
        if not self.up:
            raise OSError("down")

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(1, 2, "/beat", 3, put=self.put, get=self.get, clock=lambda: self.now)

    def pass_time(self, beat: Heartbeat, seconds: int) -> float:
        lag = 0.0
        for _ in range(seconds):
            self.now += 1.0
            lag = beat.look()
        return lag


def test_lag_stays_small_while_beats_come_through() -> None:
    filers = Filers()
    assert filers.pass_time(filers.heartbeat(), 60) < 4


def test_lag_grows_when_nothing_comes_through() -> None:
    filers = Filers()
    beat = filers.heartbeat()
    filers.pass_time(beat, 10)
    filers.carries = False
    assert 18 <= filers.pass_time(beat, 20) <= 22
    beat.reset()
    assert filers.pass_time(beat, 5) <= 5


def test_a_checkpoint_that_stands_still_counts_although_beats_come_through() -> None:
    filers = Filers()
    beat = filers.heartbeat()
    filers.pass_time(beat, 10)
    put = filers.put

    def put_without_checkpoint(port: int, path: str, body: bytes) -> None:
        put(port, path, body)
        filers.offset = 7

    beat.put = put_without_checkpoint
    assert filers.pass_time(beat, 30) >= 27


def test_time_in_which_a_side_is_down_does_not_count() -> None:
    filers = Filers()
    beat = filers.heartbeat()
    filers.pass_time(beat, 10)
    filers.up = False
    assert filers.pass_time(beat, 60) == 0
    filers.up = True
    assert filers.pass_time(beat, 3) <= 3


def test_a_program_that_lags_is_restarted_and_left_alone_under_hold(tmp_path: Path) -> None:
    filers = Filers()
    filers.carries = False
    stop, restarts = threading.Event(), []
    hold = tmp_path / "hold"
    hold.touch()
    beat = filers.heartbeat()
    beat.clock = lambda: filers.now + 10.0 * looks()
    count = [0]

    def looks() -> int:
        count[0] += 1
        if count[0] == 30:
            hold.unlink()
        if count[0] > 400:
            stop.set()
        return count[0]

    def restarted(why: str) -> None:
        restarts.append(why)
        stop.set()

    # a short look instead of half a second: the event's own wait is what is counted
    starts = supervise(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        (),
        stop=_Impatient(stop),  # pyright: ignore[reportArgumentType]
        say=lambda _: None,
        heartbeat=beat,
        max_lag=15,
        hold=hold,
        restarted=restarted,
    )
    assert starts == 1
    assert len(restarts) == 1
    assert count[0] >= 30, "it was restarted under hold"
    assert "although both sides answer" in restarts[0]


class _Impatient:
    """An event whose waits are short."""

    def __init__(self, event: threading.Event) -> None:
        self.event = event

    def is_set(self) -> bool:
        return self.event.is_set()

    def wait(self, seconds: float) -> bool:
        return self.event.wait(seconds / 100)


def test_times_are_moved_and_what_is_none_stays() -> None:
    ahead = timedelta(seconds=420)
    assert skewed_header("Mon, 23 Nov 2026 07:19:27 GMT", ahead) == "Mon, 23 Nov 2026 07:26:27 GMT"
    assert skewed_header("yesterday", ahead) == "yesterday"
    body = b"<Key>a</Key><LastModified>2026-11-23T07:19:25.5Z</LastModified><LastModified>x</LastModified>"
    assert b"<LastModified>2026-11-23T07:26:25.500Z</LastModified><LastModified>x<" in skewed_listing(
        body, ahead
    )


class _Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str, str, bytes]] = []  # noqa: RUF012

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.command, self.path, self.headers["Host"], body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: object) -> None:
        return


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_proxy_passes_on_what_it_does_not_refuse() -> None:
    _Upstream.seen.clear()
    with (
        running(ThreadingHTTPServer(("127.0.0.1", 0), _Upstream)) as upstream,
        running(serve(0, upstream, slow_down=0.5, seed=1)) as port,
    ):
        statuses: list[int] = []
        for number in range(40):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("PUT", f"/b/{number}?x=%2F", body=b"data", headers={"Host": "h:1"})
            answer = connection.getresponse()
            body = answer.read()
            statuses.append(answer.status)
            assert body == (b"ok" if answer.status == 200 else SLOW_DOWN)
            connection.close()
    assert 10 < statuses.count(503) < 30
    assert len(_Upstream.seen) == statuses.count(200)
    assert all(
        host == "h:1" and body == b"data" and "?x=%2F" in path for _, path, host, body in _Upstream.seen
    )
