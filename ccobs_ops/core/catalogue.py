"""How a catalogue entry is stored: JSON with a SHA-256 of itself, trusted only if no bit of it differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ccobs_ops.core.errors import DamagedError


class Dumped(Protocol):
    """An entry that can be stored."""

    def dump(self) -> bytes:
        """The entry as stored."""
        ...


E = TypeVar("E", bound=Dumped)


def seal(body: dict[str, Any], field: str) -> bytes:
    """`body` as stored, with a SHA-256 of itself as `field`."""
    return json.dumps(body | {field: _digest(body)}, indent=1).encode()


def unseal(
    data: bytes, where: str, *, field: str, newest: int, build: Callable[[dict[str, Any]], E], hint: str
) -> E:
    """What `build` makes of the body that `seal` wrote, of the format `newest` or an older one.

    Raises DamagedError naming `where`, with `hint`, if a single bit differs.
    """
    try:
        body = json.loads(data)
        digest = body.pop(field)
        if digest != _digest(body):
            raise ValueError("its checksum differs")
        if body["format"] > newest:
            raise ValueError(f"format {body['format']} is newer than this program reads ({newest})")
        entry = build(body)
        if entry.dump() != data:  # also catches flips in what JSON does not care about
            raise ValueError("it is not as it was written")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(
            f"the catalogue entry {where} cannot be trusted: {error}",
            code="catalogue_corrupt",
            subject=where,
            hint=hint,
        ) from error
    return entry


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
