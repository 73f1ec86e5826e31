"""Evidence as files: a document, and beside it the envelope with its signed statement (`NAME.dsse.json`)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ccobs_ops.core.errors import DamagedError, OpsError, UsageError
from ccobs_ops.core.evidence import dsse, statement
from ccobs_ops.core.evidence.chain import Head
from ccobs_ops.core.evidence.keys import PublicKey
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.inventory import Inventory

SUFFIX = ".dsse.json"
MOST_ENVELOPES = 2_000


@dataclass(frozen=True, slots=True)
class Checked:
    """One document or envelope that was checked: what came of it, and the positions of the chain that were signed with it."""

    path: Path
    verdict: Verdict
    reason: str
    heads: tuple[Head, ...] = ()


def folder(inventory: Inventory) -> Path:
    """Where this host keeps the envelopes of everything that was signed."""
    return inventory.state / "evidence"


def known(path: Path) -> bool:
    """Whether there is a file `path`, or at least its envelope."""
    return path.is_file() or _envelope(path).is_file()


def check(path: Path, key: PublicKey) -> Checked:
    """Check the document `path` by the envelope beside it, or the envelope `path` and the documents that it is about.

    UNKNOWN where one of the two is not there.
    """
    envelope = _envelope(path)
    try:
        found = statement.opened(dsse.loads(_read(envelope), subject=envelope.name), key)
        documents = dict(found.subjects)
        if envelope != path and path.name not in documents and len(documents) == 1:
            documents = {path.name: next(iter(documents.values()))}  # renamed, which changes nothing
        for name, digest in documents.items():
            if statement.sha256(_read(envelope.with_name(Path(name).name))) != digest:
                raise DamagedError(
                    f"{name} is not the document that was signed: its SHA-256 is another",
                    code="document_changed",
                    subject=name,
                )
    except UsageError as error:
        return Checked(path, Verdict.UNKNOWN, error.message)
    except OpsError as error:
        return Checked(path, Verdict.FAILED, error.message)
    about = found.predicate.get("exercise") or {}
    told = " ".join(str(about.get(each, "")) for each in ("target", "capability", "verdict")).strip()
    reason = f"signed by {key.id[:16]} at {found.predicate.get('signed_at', 'an unknown time')}: {told}"
    return Checked(path, Verdict.PASSED, reason, found.heads)


def kept(inventory: Inventory, key: PublicKey) -> tuple[list[Head], list[Checked]]:
    """The signed heads that this host keeps, and the envelopes among them that do not hold."""
    heads: list[Head] = []
    wrong: list[Checked] = []
    for path in _envelopes(folder(inventory)):
        try:
            heads.extend(statement.opened(dsse.loads(path.read_bytes(), subject=path.name), key).heads)
        except OpsError as error:
            wrong.append(Checked(path, Verdict.FAILED, error.message))
        except OSError as error:
            wrong.append(Checked(path, Verdict.UNKNOWN, f"cannot be read: {error.strerror}"))
    return heads, wrong


def write(path: Path, data: bytes) -> Path:
    """Write `data` to `path` at once or not at all. Raises OpsError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise OpsError(
            f"{path} cannot be written: {error.strerror}",
            hint="name another file, or see who owns the folder",
        ) from error
    return path


def _envelopes(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from sorted(place.glob(f"*{SUFFIX}"))[-MOST_ENVELOPES:]


def _envelope(path: Path) -> Path:
    return path if path.name.endswith(SUFFIX) else path.with_name(path.name + SUFFIX)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(dsse.MOST_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"{path} is not there") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > dsse.MOST_BYTES:
        raise UsageError(f"{path} is larger than any evidence is")
    return data
