"""DSSE envelopes: a payload, its type, and ed25519 signatures over both. Protocol version 1.0.2 of secure-systems-lab/dsse.

    PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body

The type is inside of what is signed, so that a signature made for one kind of document never verifies another. What was
verified is what is returned: nothing is decoded a second time.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ccobs_ops.core.errors import DamagedError, UsageError

if TYPE_CHECKING:
    from ccobs_ops.core.evidence.keys import PrivateKey, PublicKey

IN_TOTO = "application/vnd.in-toto+json"
MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload with its type, and signatures as (key id, signature)."""

    payload: bytes
    payload_type: str
    signatures: tuple[tuple[str, bytes], ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed; lengths are of bytes, not of characters."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload: bytes, payload_type: str, key: PrivateKey) -> Envelope:
    """`payload` signed with `key`."""
    return Envelope(payload, payload_type, ((key.public.id, key.sign(pae(payload_type, payload))),))


def verify(envelope: Envelope, key: PublicKey, *, payload_type: str = IN_TOTO) -> bytes:
    """The payload of `envelope`, if one of its signatures is by `key` and its type is `payload_type`.

    The key id is only a hint, as the protocol says, and never decides. Raises DamagedError.
    """
    if envelope.payload_type != payload_type:
        raise DamagedError(
            f"the envelope holds a payload of type {envelope.payload_type!r}, and {payload_type!r} was expected",
            code="wrong_type",
            subject=envelope.payload_type,
        )
    signed = pae(envelope.payload_type, envelope.payload)
    if any(key.verifies(signature, signed) for _, signature in envelope.signatures):
        return envelope.payload
    others = ", ".join(sorted({identifier[:16] or "none" for identifier, _ in envelope.signatures})) or "none"
    raise DamagedError(
        f"no signature of the envelope is by the key {key.id[:16]} (it names the keys: {others})",
        code="wrong_signature",
        subject=key.id,
        hint="it was changed after it was signed, or signed with another key: ask for the public key of that time",
    )


def dumps(envelope: Envelope) -> bytes:
    """The JSON form, in one line as other tools write it."""
    document = {
        "payload": base64.b64encode(envelope.payload).decode(),
        "payloadType": envelope.payload_type,
        "signatures": [
            {"keyid": identifier, "sig": base64.b64encode(signature).decode()}
            for identifier, signature in envelope.signatures
        ],
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def loads(data: bytes, *, subject: str) -> Envelope:
    """The envelope in `data`, the content of `subject`. Raises UsageError when it is none."""
    try:
        document = json.loads(data)
        return Envelope(
            _decoded(document["payload"]),
            str(document["payloadType"]),
            tuple((str(each.get("keyid") or ""), _decoded(each["sig"])) for each in document["signatures"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f"{subject} is no DSSE envelope",
            hint="envelopes end in .dsse.json and are written by ccobs-ops evidence export and ccobs-ops report",
        ) from None


def _decoded(text: str) -> bytes:
    """Base64, of either alphabet: the protocol allows both."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
