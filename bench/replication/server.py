"""A deterministic S3 list server that is as fast as it can be: rendered rows, straight sockets, several processes.

It serves ListObjectsV2 and V1, HEAD and GET of path-style buckets, checks no signature, and can be told to fail, to throttle
and to have a wrong clock. It stands for the listing side of S3 only; whether ours understands real servers is tested on real
ones.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import parse_qs, quote, unquote
from xml.sax.saxutils import escape

from bench.replication.rows import Few, Row, Rows

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'


@dataclass(slots=True)
class Trouble:
    """What goes wrong: `fail` is the share of list requests that answer `status`; a clock that is off, in seconds.

    `hook` is called with bucket and number before each list request, to change something while a listing runs.
    """

    fail: float = 0.0
    status: int = 500
    clock_offset: float = 0.0
    delay: float = 0.0
    seed: int = 1
    hook: Callable[[str, int], None] | None = None
    served: dict[str, int] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    peak: int = 0


class Server:
    """Serves `buckets` on a loopback port, in threads of this process."""

    def __init__(self, buckets: Mapping[str, Rows], trouble: Trouble | None = None) -> None:
        self.buckets = buckets
        self.trouble = trouble or Trouble()
        self._random = random.Random(self.trouble.seed)
        self._lock = threading.Lock()
        self._running = 0
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        """Accept until closed."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(connection)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Stop listening and end every connection, as a server that dies does."""
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _talk(self, connection: socket.socket) -> None:
        buffer = b""
        try:
            while True:
                while (end := buffer.find(b"\r\n\r\n")) < 0:
                    block = connection.recv(65536)
                    if not block:
                        return
                    buffer += block
                request, buffer = buffer[:end], buffer[end + 4 :]
                parts = self._answer(request)
                _send(connection, parts)
        except OSError:
            pass
        finally:
            self._open.discard(connection)
            connection.close()

    def _answer(self, request: bytes) -> list[bytes | memoryview]:
        method, target, _ = request[: request.index(b"\r\n")].decode("latin-1").split(" ")
        path, _, query = target.partition("?")
        bucket, _, key = path.lstrip("/").partition("/")
        rows = self.buckets.get(bucket)
        if rows is None:
            return self._response(404, b"<Error><Code>NoSuchBucket</Code></Error>")
        if key:
            return self._object(method, rows, unquote(key))
        if method == "HEAD":
            return self._response(200, b"")
        wanted = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
        if "location" in wanted:
            return self._response(200, b"<LocationConstraint/>")
        return self._list(bucket, rows, wanted)

    def _list(self, bucket: str, rows: Rows, wanted: Mapping[str, str]) -> list[bytes | memoryview]:
        trouble = self.trouble
        if trouble.hook or trouble.fail or trouble.delay:
            with self._lock:
                number = trouble.served[bucket] = trouble.served.get(bucket, 0) + 1
                self._running += 1
                trouble.peak = max(trouble.peak, self._running)
                failing = self._random.random() < trouble.fail
            try:
                if trouble.hook:
                    trouble.hook(bucket, number)
                if trouble.delay:
                    time.sleep(trouble.delay)
            finally:
                with self._lock:
                    self._running -= 1
            if failing:
                code = "SlowDown" if trouble.status == 503 else "InternalError"
                return self._response(trouble.status, f"<Error><Code>{code}</Code></Error>".encode())
        limit = min(int(wanted.get("max-keys", "1000")), 1000)
        if wanted.get("delimiter"):
            return self._folders(rows, wanted, limit)
        prefix = wanted.get("prefix", "").encode()
        after = wanted.get("continuation-token") or wanted.get("start-after") or wanted.get("marker") or ""
        begin = rows.after(after.encode())
        if prefix and after.encode() < prefix:
            begin = rows.after(prefix)
            if begin and rows.key(begin - 1) == prefix:
                begin -= 1
        end = min(begin + limit, len(rows))
        if prefix:
            while end > begin and not rows.key(end - 1).startswith(prefix):
                end -= 1 if rows.key(begin).startswith(prefix) else end - begin
        more = end < len(rows) and end > begin and rows.key(end).startswith(prefix)
        encoded = wanted.get("encoding-type") == "url"
        token = quote(rows.key(end - 1).decode(), safe="/") if more else ""
        following = (
            f"<NextContinuationToken>{token}</NextContinuationToken><NextMarker>{token}</NextMarker>"
            if more
            else ""
        )
        coding = "<EncodingType>url</EncodingType>" if encoded else ""
        head = (
            f"{_HEAD}<Name>{bucket}</Name><Prefix>{quote(prefix.decode(), safe='/')}</Prefix>{coding}"
            f"<KeyCount>{end - begin}</KeyCount><MaxKeys>{limit}</MaxKeys>{following}"
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>"
        ).encode()
        return self._response(200, head, rows.page(begin, end, encoded=encoded), b"</ListBucketResult>")

    def _folders(self, rows: Rows, wanted: Mapping[str, str], limit: int) -> list[bytes | memoryview]:
        """CommonPrefixes for the delimiter /, leaping from folder to folder; objects on the way are left out."""
        prefix = wanted.get("prefix", "")
        after = max(wanted.get("start-after", ""), prefix)
        found: list[str] = []
        at = rows.after(after.encode())
        while at < len(rows) and len(found) < limit:
            key = rows.key(at).decode()
            if not key.startswith(prefix):
                break
            inside, slash, _ = key[len(prefix) :].partition("/")
            if slash:
                found.append(f"{prefix}{inside}/")
                at = rows.after(f"{prefix}{inside}/\U0010ffff".encode())
            else:
                at += 1
        text = "".join(f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in found)
        return self._response(
            200, f"{_HEAD}{text}<IsTruncated>false</IsTruncated></ListBucketResult>".encode()
        )

    def _object(self, method: str, rows: Rows, key: str) -> list[bytes | memoryview]:
        if method == "HEAD":
            self.trouble.heads.append(key)
        row = rows.find(key)
        if row is None:
            return self._response(404, b"" if method == "HEAD" else b"<Error><Code>NoSuchKey</Code></Error>")
        extra = _object_headers(row)
        if method == "HEAD":
            return self._response(200, extra=extra, length=row.bytes)
        return self._response(200, row.body if row.body is not None else b"\0" * row.bytes, extra=extra)

    def _response(
        self, status: int, *parts: bytes | memoryview, extra: str = "", length: int | None = None
    ) -> list[bytes | memoryview]:
        date = formatdate(time.time() + self.trouble.clock_offset, usegmt=True)
        total = sum(map(len, parts)) if length is None else length
        head = (
            f"HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Length: {total}\r\n"
            f"Content-Type: application/xml\r\n{extra}\r\n"
        )
        return [head.encode(), *parts]


def _object_headers(row: Row) -> str:
    moment = time.strptime(row.modified[:19], "%Y-%m-%dT%H:%M:%S")
    modified = time.strftime("%a, %d %b %Y %H:%M:%S GMT", moment)
    storage = "" if row.storage_class == "STANDARD" else f"x-amz-storage-class: {row.storage_class}\r\n"
    return f'ETag: "{row.etag}"\r\nLast-Modified: {modified}\r\n{storage}'


def _send(connection: socket.socket, parts: list[bytes | memoryview]) -> None:
    sent = connection.sendmsg(parts)
    for part in parts:
        if sent < len(part):
            connection.sendall(memoryview(part)[sent:])
            sent = 0
        else:
            sent -= len(part)


@contextmanager
def serving(buckets: Mapping[str, Rows], trouble: Trouble | None = None) -> Iterator[Server]:
    """A server in threads of this process, for tests."""
    server = Server(buckets, trouble)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(5)


@contextmanager
def serving_processes(
    buckets: Callable[[], Mapping[str, Rows]], count: int
) -> Iterator[tuple[str, list[int]]]:
    """A server of `count` processes that share one port: its endpoint and its pids."""
    server = Server({})
    pids: list[int] = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                server.buckets = buckets()
                server.serve()
            finally:
                os._exit(0)
        pids.append(pid)
    try:
        yield server.endpoint, pids
    finally:
        server.close()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


__all__ = ["Few", "Server", "Trouble", "serving", "serving_processes"]
