"""Certificates for the lab's etcd: one authority, one certificate a member for clients and one for peers, one client."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

YEAR = timedelta(days=365)
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, both in PEM."""

    cert: str
    key: str


def authority(name: str) -> Pair:
    """A self-signed authority."""
    return _issue(name, None, valid=(timedelta(0), YEAR))


def issue(ca: Pair, name: str, *, age: timedelta = timedelta(0), lifetime: timedelta = YEAR) -> Pair:
    """A certificate of `ca` for 127.0.0.1 and localhost, good for servers and clients, issued `age` ago."""
    return _issue(name, ca, valid=(age, lifetime))


def _issue(name: str, ca: Pair | None, *, valid: tuple[timedelta, timedelta]) -> Pair:
    from cryptography import x509  # noqa: PLC0415 - the lab's alone
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = subject
    signer: Any = key
    if ca is not None:
        issuer = x509.load_pem_x509_certificate(ca.cert.encode()).subject
        signer = serialization.load_pem_private_key(ca.key.encode(), password=None)
    begin = datetime.now(UTC) - _SKEW - valid[0]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + valid[1])
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=ca is None,
                crl_sign=ca is None,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if ca is not None:
        names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    made = builder.sign(signer, hashes.SHA256())
    return Pair(
        made.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )
