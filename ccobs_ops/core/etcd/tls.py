"""Certificates: what gRPC is handed, how long they last, and why a connection failed, in words that name the endpoint.

gRPC says of a failed handshake only that it failed. `diagnose` repeats it with OpenSSL, which tells an expired certificate
from an unknown authority and a wrong name, and looks at our own certificate where the server hung up on us.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ccobs_ops.core.errors import UsageError
from ccobs_ops.core.scratch import scratch

if TYPE_CHECKING:
    from ccobs_ops.inventory_etcd import EtcdTls

CONNECT_SECONDS = 3.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_EXPIRED, _NOT_YET, _WRONG_HOST, _WRONG_ADDRESS = 10, 9, 62, 64


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificates in PEM, resolved. `cert_path` and `ca_path` are where they came from, for messages."""

    ca: bytes | None
    cert: bytes | None
    key: bytes | None
    ca_path: str
    cert_path: str
    server_name: str | None

    @classmethod
    def load(cls, config: EtcdTls | None, base: Path) -> Tls:
        """What `config` names, relative to the folder `base`. Raises UsageError for a file that cannot be read."""
        if config is None:
            return cls(None, None, None, "", "", None)
        key = None
        if config.key is not None:
            from ccobs_ops.core.secrets import resolve  # noqa: PLC0415

            key = (resolve(config.key, base=base) + "\n").encode()
        return cls(
            _read(config.ca, base, "ca"),
            _read(config.cert, base, "cert"),
            key,
            str(base / config.ca) if config.ca else "the system's authorities",
            str(base / config.cert) if config.cert else "",
            config.server_name,
        )

    def context(self, *, verify: bool) -> ssl.SSLContext:
        """An OpenSSL context with these certificates."""
        context = ssl.create_default_context(cadata=self.ca.decode() if self.ca else None)
        context.set_alpn_protocols(["h2"])
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert and self.key:
            with scratch("tls") as folder:
                pair = folder / "pair.pem"
                pair.touch(mode=0o600)
                pair.write_bytes(self.key + self.cert)
                context.load_cert_chain(pair)
        return context


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an endpoint cannot be used, and what to do about it."""

    message: str
    hint: str


def address_of(endpoint: str) -> tuple[str, int]:
    """Host and port of `scheme://host:port`; an IPv6 address without its brackets."""
    host, _, port = endpoint.partition("://")[2].rpartition(":")
    return host.strip("[]"), int(port)


def valid_until(pem: bytes) -> datetime | None:
    """When the first certificate in `pem` expires, aware UTC; None if it cannot be read."""
    from cryptography import x509  # noqa: PLC0415 - only where certificates are looked at

    with contextlib.suppress(ValueError):
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc
    return None


def server_valid_until(endpoint: str, tls: Tls) -> datetime | None:
    """When the certificate that `endpoint` shows expires; None when it shows none. Raises OSError (also for TLS)."""
    with _handshake(endpoint, tls, verify=False) as connection:
        shown = connection.getpeercert(binary_form=True)
    return valid_until(ssl.DER_cert_to_PEM_cert(shown).encode()) if shown else None


def diagnose(endpoint: str, tls: Tls) -> Reason | None:
    """Why no connection to `endpoint` can be made; None if one can."""
    host, port = address_of(endpoint)
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS):
            pass
    except socket.gaierror:
        return Reason(f"the name {host} cannot be resolved", "correct the endpoint in the inventory, or DNS")
    except TimeoutError:
        return Reason(
            f"no answer within {CONNECT_SECONDS:.0f} s",
            "see whether the host is up and a firewall lets us in",
        )
    except OSError as error:
        told = (error.strerror or str(error)).lower()
        return Reason(told, "see whether etcd runs there and listens on that port")
    return _diagnose_tls(endpoint, tls) if endpoint.startswith("https:") else _diagnose_plain(endpoint, tls)


def _diagnose_plain(endpoint: str, tls: Tls) -> Reason | None:
    try:
        with _handshake(endpoint, tls, verify=False):
            pass
    except ssl.SSLError as error:
        if "ALERT" not in (
            error.reason or ""
        ):  # who answers with an alert speaks TLS, and wants something else
            return None
    except OSError:
        return None
    return Reason("it speaks TLS", f"write https://{endpoint.partition('://')[2]}, and the key `tls`")


def _diagnose_tls(endpoint: str, tls: Tls) -> Reason | None:
    try:
        with _handshake(endpoint, tls, verify=True) as connection:
            # in TLS 1.3 the server's word on our certificate comes after the handshake
            connection.sendall(_PREFACE)
            connection.recv(1)
    except ssl.SSLCertVerificationError as error:
        return _distrusted(endpoint, tls, error)
    except ssl.SSLError as error:
        told = (error.reason or str(error)).lower().replace("_", " ")
        if "wrong version number" in told or "record layer" in told or _speaks_plain(endpoint):
            return Reason("it does not speak TLS", f"write http://{endpoint.partition('://')[2]}")
        return _refused(tls, told)
    except (ConnectionError, TimeoutError) as error:
        return _refused(tls, str(error).lower()) if not isinstance(error, TimeoutError) else None
    return None


def _speaks_plain(endpoint: str) -> bool:
    with (
        contextlib.suppress(OSError),
        socket.create_connection(address_of(endpoint), CONNECT_SECONDS) as plain,
    ):
        plain.settimeout(CONNECT_SECONDS)
        plain.sendall(b"GET /version HTTP/1.0\r\n\r\n")
        answer = plain.recv(12)
        return answer.startswith(b"HTTP/") and b" 400" not in answer
    return False


def _distrusted(endpoint: str, tls: Tls, error: ssl.SSLCertVerificationError) -> Reason:
    if error.verify_code == _EXPIRED:
        until = None
        with contextlib.suppress(OSError):
            until = server_valid_until(endpoint, tls)
        when = f" on {until:%Y-%m-%d %H:%M:%S} UTC" if until else ""
        return Reason(
            f"its certificate has expired{when}",
            "renew it (kubeadm certs renew etcd-server), then restart that member",
        )
    if error.verify_code == _NOT_YET:
        return Reason("its certificate is not valid yet", "compare the clocks of the two hosts")
    if error.verify_code in (_WRONG_HOST, _WRONG_ADDRESS):
        return Reason(
            f"its certificate is not for {tls.server_name or address_of(endpoint)[0]}",
            "name the endpoint as the certificate does, or set tls.server_name",
        )
    return Reason(
        f"its certificate is not signed by {tls.ca_path} ({error.verify_message})",
        "name the CA that signed etcd's certificates as tls.ca (kubeadm: /etc/kubernetes/pki/etcd/ca.crt)",
    )


def _refused(tls: Tls, told: str) -> Reason:
    if tls.cert is None or tls.key is None:
        return Reason(
            f"it wants a client certificate ({told})", "name one that it accepts as tls.cert and tls.key"
        )
    until = valid_until(tls.cert)
    if until is not None and until < datetime.now(UTC):
        return Reason(
            f"it refuses our certificate {tls.cert_path}, which has expired on {until:%Y-%m-%d %H:%M:%S} UTC",
            "renew it, and name the new one as tls.cert and tls.key",
        )
    return Reason(
        f"it refuses our certificate {tls.cert_path} ({told})",
        "use one that is signed by the CA that etcd trusts for clients (its --trusted-ca-file)",
    )


@contextmanager
def _handshake(endpoint: str, tls: Tls, *, verify: bool) -> Iterator[ssl.SSLSocket]:
    host, port = address_of(endpoint)
    with (
        socket.create_connection((host, port), CONNECT_SECONDS) as plain,
        tls.context(verify=verify).wrap_socket(plain, server_hostname=tls.server_name or host) as wrapped,
    ):
        yield wrapped


def _read(path: str | None, base: Path, what: str) -> bytes | None:
    if path is None:
        return None
    try:
        return (base / path).read_bytes()
    except OSError as error:
        raise UsageError(
            f"tls.{what} cannot be read: {base / path}: {error.strerror}",
            hint="relative paths are relative to the inventory's folder",
        ) from None
