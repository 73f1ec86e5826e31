"""The lab's pager: takes alerts as a webhook and keeps each as one line of JSON, so that it can be seen who was told what.

`python -m ccobs_ops.lab.pager --port N --file FILE`. A line is on disk before the sender is told that it was taken.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MOST_BYTES = 1024 * 1024


def serve(port: int, file: Path, stop: threading.Event) -> None:
    """Take messages on 127.0.0.1:`port` until `stop` is set."""
    lock = threading.Lock()

    class Pager(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            """Whether it is there."""
            self._answer(200)

        def do_POST(self) -> None:
            """Keep one message."""
            size = int(self.headers.get("Content-Length") or 0)
            if not 0 < size <= MOST_BYTES:
                self._answer(413 if size else 400)
                return
            try:
                body = json.loads(self.rfile.read(size))
            except ValueError:
                self._answer(400)
                return
            line = json.dumps({"at": datetime.now(UTC).isoformat(), "body": body}) + "\n"
            with lock, file.open("a", encoding="utf-8") as out:
                out.write(line)
                out.flush()
                os.fsync(out.fileno())
            self._answer(200)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the file says it all."""

    with ThreadingHTTPServer(("127.0.0.1", port), Pager) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stop.wait()
        server.shutdown()


def main() -> int:
    """Parse the command line and serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="pager")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True)
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    serve(arguments.port, arguments.file, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
