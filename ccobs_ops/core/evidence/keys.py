"""ed25519 keys that evidence is signed with: PEM files as every other tool writes and reads them (PKCS #8, PKIX)."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ccobs_ops.core.errors import OpsError, UsageError
from ccobs_ops.core.secrets import resolve

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from ccobs_ops.inventory import Inventory


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key. `id` is the SHA-256 in hex of its PKIX form (DER)."""

    id: str
    pem: str
    raw: Ed25519PublicKey

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` is by this key over `data`."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

        with contextlib.suppress(InvalidSignature):
            self.raw.verify(signature, data)
            return True
        return False


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private key; it is not printed."""

    public: PublicKey
    _raw: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.id[:16]})"

    def sign(self, data: bytes) -> bytes:
        """The signature over `data`."""
        return self._raw.sign(data)


def private(inventory: Inventory) -> PrivateKey | None:
    """The key that the inventory names under `evidence.key`; None where it names none.

    Raises SecretError where it is missing or readable by others, UsageError where it is no ed25519 key.
    """
    reference = inventory.evidence.key
    if reference is None:
        return None
    return _private(resolve(reference, base=inventory.path.parent), reference)


def read_public(path: Path) -> PublicKey:
    """The public key in the PEM file `path`. Raises UsageError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the public key {path} cannot be read: {error.strerror}") from None
    if b"PRIVATE KEY" in data:
        raise UsageError(
            f"{path} is a private key, and only the public one is needed",
            hint=f"whoever checks evidence gets {path}.pub only",
        )
    return _public(data, str(path))


def generate(path: Path) -> PublicKey:
    """Make a key pair: the private key in the new file `path` (mode 0600), the public one in `path`.pub.

    Raises OpsError when either is there already: a key that evidence was signed with is not overwritten.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = _of(key.public_key())
    beside = path.with_name(path.name + ".pub")
    if beside.exists():
        raise OpsError(f"{beside} is there already", hint="name another file; keep the keys of old evidence")
    _write_new(path, pem, 0o600)
    _write_new(beside, public.pem.encode(), 0o644)
    return public


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    except FileExistsError:
        raise OpsError(
            f"{path} is there already", hint="name another file; keep the keys of old evidence"
        ) from None
    except OSError as error:
        raise OpsError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _private(text: str, reference: str) -> PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError):
        raise _no_key(reference, "private") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(reference, "private")
    return PrivateKey(_of(key.public_key()), key)


def _public(data: bytes, where: str) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        key = load_pem_public_key(data)
    except ValueError:
        raise _no_key(where, "public") from None
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(where, "public")
    return _of(key)


def _no_key(where: str, kind: str) -> UsageError:
    return UsageError(
        f"{where} is no {kind} ed25519 key in PEM form", hint="make one with: ccobs-ops evidence keygen FILE"
    )


def _of(key: Ed25519PublicKey) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return PublicKey(hashlib.sha256(der).hexdigest(), pem, key)
