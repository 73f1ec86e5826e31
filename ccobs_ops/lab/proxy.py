"""A small proxy before a region's S3 gateway: `python -m ccobs_ops.lab.proxy --listen P --to P [--skew S] [--slow-down R]`.

It answers a share of the requests with 503 SlowDown, as S3 does when a prefix is asked too much; or it moves every time
that the server tells (`Date`, `Last-Modified`, listings), as a server with a wrong clock does. All else passes unchanged.
"""

from __future__ import annotations

import argparse
import http.client
import random
import re
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BLOCK = 256 * 1024
TIMEOUT_SECONDS = 30.0
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"})
_LISTED = re.compile(rb"<LastModified>([^<]+)</LastModified>")
SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)


def skewed_header(value: str, skew: timedelta) -> str:
    """An HTTP date, moved; what is none stays."""
    try:
        return format_datetime(parsedate_to_datetime(value) + skew, usegmt=True)
    except (TypeError, ValueError):
        return value


def skewed_listing(body: bytes, skew: timedelta) -> bytes:
    """A listing whose `LastModified` are moved."""

    def moved(match: re.Match[bytes]) -> bytes:
        text = match[1].decode()
        try:
            moment = datetime.fromisoformat(text).astimezone(UTC) + skew
        except ValueError:
            return match[0]
        return b"<LastModified>" + moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3].encode() + b"Z</LastModified>"

    return _LISTED.sub(moved, body)


class Proxy(BaseHTTPRequestHandler):
    """One request: refused with 503, or passed on and its answer passed back."""

    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_SECONDS
    to_port = 0
    skew = timedelta(0)
    slow_down = 0.0
    rng = random.Random(1)
    lock = threading.Lock()

    def handle_any(self) -> None:
        """Whatever the method."""
        length = int(self.headers.get("Content-Length") or 0)
        with self.lock:
            refused = self.rng.random() < self.slow_down
        if refused:
            self._drain(length)
            self._answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.to_port, timeout=TIMEOUT_SECONDS)
        try:
            self._pass_on(upstream, length)
        except OSError:
            self.close_connection = True
        finally:
            upstream.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _pass_on(self, upstream: http.client.HTTPConnection, length: int) -> None:
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP:
                upstream.putheader(name, value)
        upstream.endheaders()
        while length > 0 and (block := self.rfile.read(min(BLOCK, length))):
            upstream.send(block)
            length -= len(block)
        answer = upstream.getresponse()
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
        if self.skew:
            headers = [
                (name, skewed_header(value, self.skew))
                if name.lower() in ("date", "last-modified")
                else (name, value)
                for name, value in headers
            ]
        sized = answer.getheader("Content-Length") is not None
        is_xml = (answer.getheader("Content-Type") or "").startswith(("application/xml", "text/xml"))
        if self.command == "HEAD" or (sized and not (self.skew and is_xml)):
            self._stream(answer, headers)
            return
        body = answer.read()
        if self.skew and is_xml:
            body = skewed_listing(body, self.skew)
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        self._answer(answer.status, kept, body)

    def _stream(self, answer: http.client.HTTPResponse, headers: list[tuple[str, str]]) -> None:
        self._head(answer.status, headers)
        if self.command != "HEAD":
            while block := answer.read(BLOCK):
                self.wfile.write(block)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._head(status, [*headers, ("Content-Length", str(len(body)))])
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.send_response_only(status)
        if not any(name.lower() == "date" for name, _ in headers):
            headers = [*headers, ("Date", format_datetime(datetime.now(UTC) + self.skew, usegmt=True))]
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def _drain(self, length: int) -> None:
        while length > 0 and (block := self.rfile.read(min(BLOCK, length))):
            length -= len(block)


class Server(ThreadingHTTPServer):
    """A thread a connection; none of them keeps the process."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


def serve(
    listen: int, to: int, *, skew_seconds: float = 0.0, slow_down: float = 0.0, seed: int = 1
) -> Server:
    """A server on 127.0.0.1:`listen` that is not running yet; 0 picks a port."""
    handler = type(
        "ConfiguredProxy",
        (Proxy,),
        {
            "to_port": to,
            "skew": timedelta(seconds=skew_seconds),
            "slow_down": slow_down,
            "rng": random.Random(seed),
            "lock": threading.Lock(),
        },
    )
    return Server(("127.0.0.1", listen), handler)


def main() -> int:
    """Parse the command line and serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="proxy")
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--to", type=int, required=True)
    parser.add_argument("--skew", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--slow-down", type=float, default=0.0, metavar="RATIO")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    server = serve(
        asked.listen, asked.to, skew_seconds=asked.skew, slow_down=asked.slow_down, seed=asked.seed
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.2)
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
