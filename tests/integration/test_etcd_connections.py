"""Whatever keeps us from an endpoint, the error names the endpoint and the reason."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.etcd.access import EndpointError
from ccobs_ops.core.etcd.client import EtcdClient
from ccobs_ops.core.etcd.health import examine
from ccobs_ops.core.etcd.snapshot import take_snapshot
from ccobs_ops.core.etcd.tls import Tls
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.inventory_load import loads
from ccobs_ops.lab.certificates import Pair, authority, issue
from ccobs_ops.lab.ports import free_base
from tests.etcd_support import NO_TLS, Lone, lone_member, ready

CA, STRANGER = authority("right"), authority("wrong")
DAY = timedelta(days=1)


def tls(*, ca: Pair = CA, client: Pair | None = None, server_name: str | None = None) -> Tls:
    return Tls(
        ca.cert.encode(),
        client.cert.encode() if client else None,
        client.key.encode() if client else None,
        "/pki/ca.crt",
        "/pki/client.crt" if client else "",
        server_name,
    )


ME = issue(CA, "me")


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lone]:
    """A member that wants TLS and a client certificate; its own lies in a file that a test may exchange."""
    folder = tmp_path_factory.mktemp("tls")
    (folder / "ca.crt").write_text(CA.cert)
    _show(folder, issue(CA, "server"))
    url = f"https://127.0.0.1:{free_base((0,))}"
    flags = {
        "cert-file": folder / "server.crt",
        "key-file": folder / "server.key",
        "trusted-ca-file": folder / "ca.crt",
        "client-cert-auth": "true",
    }
    with (
        lone_member(folder, url=url, flags=flags) as lone,
        EtcdClient(url, tls(client=ME), timeout=10) as client,
    ):
        ready(client)
        yield lone


def _show(folder: Path, pair: Pair) -> None:
    (folder / "server.crt").write_text(pair.cert)
    (folder / "server.key").write_text(pair.key)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lone]:
    """A member without TLS."""
    url = f"http://127.0.0.1:{free_base((0,))}"
    with (
        lone_member(tmp_path_factory.mktemp("plain"), url=url) as lone,
        EtcdClient(url, NO_TLS, timeout=10) as one,
    ):
        ready(one)
        yield lone


def refusal(endpoint: str, how: Tls, **options: str) -> EndpointError:
    with EtcdClient(endpoint, how, timeout=5, **options) as client, pytest.raises(EndpointError) as found:  # type: ignore[arg-type]
        client.range(b"x")
    error = found.value
    assert endpoint in error.message
    assert error.hint
    return error


def test_an_expired_server_certificate(secure: Lone) -> None:
    _show(secure.folder, issue(CA, "server", age=10 * DAY, lifetime=9 * DAY))
    try:
        assert "its certificate has expired on 2" in refusal(secure.endpoint, tls(client=ME)).message
    finally:
        _show(secure.folder, issue(CA, "server"))
    with EtcdClient(secure.endpoint, tls(client=ME), timeout=5) as client:
        assert client.status().version == "3.5.1"


def test_a_server_certificate_that_is_not_valid_yet(secure: Lone) -> None:
    _show(secure.folder, issue(CA, "server", age=-DAY))
    try:
        assert "is not valid yet" in refusal(secure.endpoint, tls(client=ME)).message
    finally:
        _show(secure.folder, issue(CA, "server"))


def test_the_wrong_authority(secure: Lone) -> None:
    told = refusal(secure.endpoint, tls(ca=STRANGER, client=ME)).message
    assert "is not signed by /pki/ca.crt" in told


def test_a_certificate_for_another_name(secure: Lone) -> None:
    told = refusal(secure.endpoint, tls(client=ME, server_name="etcd.example.com")).message
    assert "its certificate is not for etcd.example.com" in told


def test_no_client_certificate(secure: Lone) -> None:
    assert "it wants a client certificate" in refusal(secure.endpoint, tls()).message


def test_an_expired_client_certificate(secure: Lone) -> None:
    mine = issue(CA, "me", age=10 * DAY, lifetime=9 * DAY)
    told = refusal(secure.endpoint, tls(client=mine)).message
    assert "refuses our certificate /pki/client.crt, which has expired on 2" in told


def test_a_client_certificate_of_a_stranger(secure: Lone) -> None:
    told = refusal(secure.endpoint, tls(client=issue(STRANGER, "me"))).message
    assert "refuses our certificate /pki/client.crt" in told
    assert "expired" not in told


def test_http_to_a_member_with_tls(secure: Lone) -> None:
    error = refusal(secure.endpoint.replace("https", "http"), NO_TLS)
    assert "it speaks TLS" in error.message


def test_https_to_a_member_without_tls(plain: Lone) -> None:
    error = refusal(plain.endpoint.replace("http", "https"), tls(client=ME))
    assert "it does not speak TLS" in error.message
    assert plain.endpoint in error.hint


def test_nobody_listens() -> None:
    assert "connection refused" in refusal(f"http://127.0.0.1:{free_base((0,))}", NO_TLS).message


def test_a_name_that_nobody_knows() -> None:
    assert "cannot be resolved" in refusal("http://etcd.invalid:2379", NO_TLS).message


def test_something_that_is_no_etcd() -> None:
    with _listener(b"HTTP/1.1 404 Not Found\r\n\r\n") as port:
        refusal(f"http://127.0.0.1:{port}", NO_TLS)


def test_somebody_who_never_answers() -> None:
    with _listener(b"") as port:
        endpoint = f"http://127.0.0.1:{port}"
        with EtcdClient(endpoint, NO_TLS, timeout=1) as client, pytest.raises(EndpointError) as found:
            client.status()
    assert f"{endpoint}: it did not answer within 1 s" in found.value.message


@contextlib.contextmanager
def _listener(answer: bytes) -> Iterator[int]:
    """A port that answers everything with the same bytes, or with nothing, until the block is left."""
    over = threading.Event()
    kept: list[socket.socket] = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(0.1)

        def serve() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    kept.append(connection)
                    if answer:
                        connection.recv(64)
                        connection.sendall(answer)
                        connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join()
            for connection in kept:
                connection.close()


def test_authentication(tmp_path: Path) -> None:
    """Auth is switched on with etcd's own requests; then every way to get it wrong is told apart from the right one."""
    from ccobs_ops.core.etcd.wire import block

    url = f"http://127.0.0.1:{free_base((0,))}"
    with lone_member(tmp_path, url=url) as lone:
        with EtcdClient(url, NO_TLS, timeout=10) as admin:
            ready(admin)
            for method, request in (
                ("Auth/UserAdd", block(1, b"root") + block(2, b"right-password")),
                ("Auth/UserAdd", block(1, b"guest") + block(2, b"guest-password")),
                ("Auth/UserGrantRole", block(1, b"root") + block(2, b"root")),
                ("Auth/AuthEnable", b""),
            ):
                admin._call(method, request)
        assert "it wants a user and a password" in refusal(lone.endpoint, NO_TLS).message
        told = refusal(lone.endpoint, NO_TLS, user="root", password="wrong-password").message
        assert "it refuses the user 'root' with this password" in told
        assert "wrong-password" not in told
        told = refusal(lone.endpoint, NO_TLS, user="nobody", password="x").message
        assert "it refuses the user 'nobody'" in told
        told = refusal(lone.endpoint, NO_TLS, user="guest", password="guest-password").message
        assert "the user 'guest' may not do that" in told
        with EtcdClient(lone.endpoint, NO_TLS, timeout=10, user="root", password="right-password") as client:
            assert client.put(b"k", b"v") > 1
            with client.snapshot(10) as stream:
                assert sum(len(each) for each in stream) > 512


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    """An inventory whose only etcd endpoint nobody listens at."""
    text = f"""
version: 1
environment: lab
stores: {{us: {{bucket: none, endpoint: "http://127.0.0.1:9", credentials: {{access_key: env:HOME, secret_key: env:HOME}}}}}}
etcd: {{main: {{endpoints: ["http://127.0.0.1:{free_base((0,))}"], store: us}}}}
"""
    (tmp_path / "inventory.yaml").write_text(text)
    inventory = loads(text, tmp_path / "inventory.yaml")
    with Ledger.of(inventory) as ledger:
        yield Context(inventory, ledger)


def test_with_nobody_there_every_verdict_is_unknown_and_names_the_endpoint(context: Context) -> None:
    (endpoint,) = context.inventory.etcd["main"].endpoints
    for exercise in (examine(context, "main"), take_snapshot(context, "main")):
        assert exercise.verdict is Verdict.UNKNOWN, exercise.to_json()
        assert endpoint in exercise.reason
        assert "connection refused" in exercise.reason


def test_one_endpoint_that_is_down_is_named_and_the_others_are_asked(context: Context, plain: Lone) -> None:
    target = context.inventory.etcd["main"]
    both = target.model_copy(update={"endpoints": (*target.endpoints, plain.endpoint)})
    inventory = context.inventory.model_copy(update={"etcd": {"main": both}})
    health = examine(replace(context, inventory=inventory), "main")
    (finding,) = [each for each in health.findings if each.code == "member_down"]
    assert finding.subject == target.endpoints[0]
    assert "connection refused" in finding.message
    assert health.claim("quorum").verdict is Verdict.PASSED  # type: ignore[union-attr]
    assert health.verdict is Verdict.FAILED


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    from ccobs_ops.inventory_etcd import EtcdTls

    (tmp_path / "me.key").write_text(ME.key)
    (tmp_path / "me.key").chmod(0o644)
    with pytest.raises(OpsError, match="others may use"):
        Tls.load(EtcdTls(key="file:me.key"), tmp_path)
