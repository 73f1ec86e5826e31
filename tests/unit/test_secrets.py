"""Secrets are found where the inventory says, refused where others can read them, and never repeated."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ccobs_ops.core import secrets
from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.redaction import MASK, REDACT
from ccobs_ops.core.secrets import SecretError, resolve

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:ccobs-AbCdEf"


def test_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CCOBS_TEST_SECRET", "swordfish-env")
    assert resolve("env:CCOBS_TEST_SECRET", base=tmp_path) == "swordfish-env"
    assert REDACT("it is swordfish-env!") == f"it is {MASK}!"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"swordfish-1\n", "swordfish-1"),
        (b"swordfish-2\r\n", "swordfish-2"),
        (b" with space \n\n", " with space \n"),
    ],
)
@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_from_a_file(tmp_path: Path, content: bytes, value: str, mode: int) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    file.chmod(mode)
    assert resolve("file:secret", base=tmp_path) == value
    assert resolve(f"file:{file}", base=Path("/")) == value
    assert value not in REDACT(f"={value}=")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o601, 0o620])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "secret"
    file.write_text("swordfish-3")
    file.chmod(mode)
    with pytest.raises(SecretError, match=f"{mode:04o}") as caught:
        resolve("file:secret", base=tmp_path)
    assert "chmod 600" in caught.value.hint
    assert "swordfish" not in str(caught.value)


def test_a_link_is_judged_by_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "open").write_text("swordfish-4")
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "link").symlink_to("open")
    with pytest.raises(SecretError, match="0644"):
        resolve("file:link", base=tmp_path)


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").touch(0o600)
    (tmp_path / "large").touch(0o600)
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    (tmp_path / "binary").touch(0o600)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for reference, message in (
        ("env:CCOBS_NO_SUCH_VARIABLE", "CCOBS_NO_SUCH_VARIABLE is not set"),
        ("file:nothing", "No such file"),
        ("file:empty", "is empty"),
        ("file:large", "longer than 64 KiB"),
        ("file:binary", "not UTF-8"),
        ("file:pipe", "is no file"),
        ("file:.", "is no file"),
        ("vault:x", "not 'vault'"),
    ):
        with pytest.raises(SecretError, match=message) as caught:
            resolve(reference, base=tmp_path)
        assert caught.value.hint
        assert caught.value.exit_status == 2


def test_a_secret_in_place_of_its_reference_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(SecretError) as caught:
        resolve("swordfish-5", base=tmp_path)
    assert "swordfish" not in str(caught.value)


class SecretsManager(BaseHTTPRequestHandler):
    """Stands in for AWS, which cannot run here: answers GetSecretValue in its JSON protocol."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["X-Amz-Target"] == "secretsmanager.GetSecretValue"
        assert "/eu-west-1/secretsmanager/" in self.headers["Authorization"]
        status, body = (
            200,
            {"SecretString": json.dumps({"user": "ccobs", "password": "swordfish-6", "port": 5})},
        )
        if asked["SecretId"] != ARN:
            status, body = 400, {"__type": "ResourceNotFoundException", "message": "swordfish-7"}
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), SecretsManager)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    yield
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.usefixtures("aws")
def test_from_secrets_manager(tmp_path: Path) -> None:
    assert resolve(f"secretsmanager:{ARN}#password", base=tmp_path) == "swordfish-6"
    assert resolve(f"secretsmanager:{ARN}#port", base=tmp_path) == "5"
    assert json.loads(resolve(f"secretsmanager:{ARN}", base=tmp_path))["user"] == "ccobs"
    with pytest.raises(SecretError, match="no JSON object with a key 'pasword'"):
        resolve(f"secretsmanager:{ARN}#pasword", base=tmp_path)
    with pytest.raises(SecretError, match="ResourceNotFoundException") as caught:
        resolve(f"secretsmanager:{ARN}x", base=tmp_path)
    assert "swordfish" not in str(caught.value)


def test_secrets_manager_that_does_not_answer_leaves_it_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr(secrets, "ATTEMPTS", 1)
    with pytest.raises(UnknownError, match="cannot be read"):
        resolve(f"secretsmanager:{ARN}", base=tmp_path)
