"""Receivers of alerts for tests: a webhook that records, and Debian's Alertmanager."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core import incidents
from ccobs_ops.core.context import Context
from ccobs_ops.core.exercise import Severity, Verdict
from ccobs_ops.core.incident import Incident, State, Transition
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import loads

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALERTMANAGER = shutil.which("prometheus-alertmanager")
needs_alertmanager = pytest.mark.skipif(
    ALERTMANAGER is None, reason="needs prometheus-alertmanager (apt-get install prometheus-alertmanager)"
)
PASSWORD = "opensesame"
_HASH = "$2b$05$abcdefghijklmnopqrstuuQbLfdQZSxZ9gjhA5V9o8Tyc6aQRO0Qi"

INVENTORY = """\
version: 1
environment: lab
owners: [team:observatory]
stores: {us: {bucket: backups}}
postgres:
  observatory: {dsn: host=db, store: us, owners: [team:databases]}
  reports: {dsn: host=db2, store: us}
"""


class Webhook:
    """Records each JSON body; answers `status`; `hang` seconds late."""

    def __init__(self, port: int = 0) -> None:
        self.status = 200
        self.hang = 0.0
        self.bodies: list[dict[str, Any]] = []
        self.before_answer: Callable[[], None] = lambda: None
        self.refuse: Callable[[], bool] = lambda: False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.hang:
                    time.sleep(outer.hang)
                if outer.refuse():
                    return
                if outer.status == 200:
                    outer.bodies.append(json.loads(body))
                outer.before_answer()
                with contextlib.suppress(OSError):
                    self.send_response(outer.status)
                    self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/hook"

    @property
    def told(self) -> list[tuple[str, str]]:
        """(kind, key) of all that came, in order."""
        return [(body["kind"], body["key"]) for body in self.bodies]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Alertmanager:
    """A real one, whose receiver is a webhook; with basic authentication if asked."""

    def __init__(
        self, folder: Path, *, receiver: Webhook | None, login: bool = False, port: int | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.login = login
        url = f"http://127.0.0.1:{receiver.port if receiver else 9}/am"
        (folder / "am.yaml").write_text(
            f"route: {{receiver: hook, group_by: [target], group_wait: 100ms, group_interval: 300ms, repeat_interval: 1h}}\n"
            f"receivers: [{{name: hook, webhook_configs: [{{url: '{url}', send_resolved: true}}]}}]\n"
        )
        arguments = [
            f"--config.file={folder / 'am.yaml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]
        if login:
            (folder / "web.yaml").write_text(f"basic_auth_users: {{ccobs: '{_HASH}'}}\n")
            arguments.append(f"--web.config.file={folder / 'web.yaml'}")
        assert ALERTMANAGER is not None
        self._log = (folder / "log").open("ab")
        self._process = subprocess.Popen([ALERTMANAGER, *arguments], stdout=self._log, stderr=self._log)
        try:
            wait_for(self._ready, "alertmanager does not answer")
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def alerts(self) -> list[dict[str, Any]]:
        """What is active, as its API shows it."""
        return json.loads(self._get("/api/v2/alerts"))

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()
            self._process.wait(20)
            self._log.close()

    def _ready(self) -> bool:
        assert self._process.poll() is None, "alertmanager ended"
        try:
            self._get("/-/ready")
        except (OSError, urllib.error.URLError):
            return False
        return True

    def _get(self, path: str) -> bytes:
        request = urllib.request.Request(self.url + path)
        if self.login:
            import base64

            secret = base64.b64encode(f"ccobs:{PASSWORD}".encode()).decode()
            request.add_header("Authorization", f"Basic {secret}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()


def wait_for(true: Callable[[], object], what: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.05)


class Clock:
    """A clock that is moved by hand."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, span: timedelta) -> None:
        self.now += span


def estate(
    folder: Path, alerts: str, secrets: dict[str, str], *, ledger: str = "sqlite:///ledger.db"
) -> Inventory:
    """An inventory in `folder` with `alerts` (YAML, indented by two) and secrets as files."""
    (folder / "secrets").mkdir(mode=0o700, exist_ok=True)
    for name, value in secrets.items():
        file = folder / "secrets" / name
        file.touch(mode=0o600)
        file.write_text(value)
    path = folder / "inventory.yaml"
    path.write_text(f"ledger: {ledger}\n{INVENTORY}alerts:\n{alerts}")
    return loads(path.read_text(), path)


def incident(number: int = 1, *, target: str = "postgres/observatory", **changes: Any) -> Incident:
    made = Incident(
        id=f"I{number}",
        target=target,
        capability="validation",
        claim="exact",
        kind=Verdict.FAILED,
        state=State.OPEN,
        severity=Severity.CRITICAL,
        reason="3 canaries are missing",
        hint="see the window",
        occurred_at=NOON - timedelta(minutes=5),
        occurred_from="last_passed",
        detected_at=NOON,
        opened_by=f"E{number}",
    )
    return replace(made, **changes)


def happened(name: str, of: Incident, at: datetime = NOON, seq: int = 0) -> Transition:
    return Transition(name, f"{name}-{of.id}-{at.timestamp()}", at, of, {}, seq)


def closed(of: Incident, at: datetime) -> Incident:
    return replace(of, state=State.CLOSED, verified_at=at, verified_by="E99")


def keep(ledger: Ledger, *transitions: Transition) -> None:
    for each in transitions:
        with ledger.writing() as connection:
            assert incidents.keep(connection, each)


@contextlib.contextmanager
def context(inventory: Inventory, clock: Callable[[], datetime]) -> Iterator[Context]:
    with Ledger.of(inventory) as ledger:
        yield Context(inventory, ledger, clock=clock)
