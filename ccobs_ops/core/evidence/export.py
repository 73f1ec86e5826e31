"""Export exercises as evidence: what the ledger holds, a signed statement about it, and a locked copy of both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from ccobs_ops.core import ledger_chain, ledger_schema
from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import DamagedError, UsageError
from ccobs_ops.core.evidence import chain, dsse, files, keys, statement
from ccobs_ops.core.evidence.keys import PrivateKey
from ccobs_ops.core.evidence.statement import About
from ccobs_ops.core.exercise import Exercise
from ccobs_ops.core.folders import private
from ccobs_ops.core.ledger_schema import to_microseconds
from ccobs_ops.core.redaction import redact_document
from ccobs_ops.core.storage import ObjectStore

SIGNED = ("drill", "validation", "replica_validation", "restore_drill", "selftest", "verification")
"""The capabilities whose exercises are evidence of recovery, and are signed without being asked for."""
READER = "evidence"
MOST_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Exported:
    """One document with its envelope; `copied` is where the locked copy lies, empty where none was asked for."""

    document: Path
    envelope: Path
    sha256: str
    copied: str = ""


def signing_key(ctx: Context) -> PrivateKey:
    """The key that the inventory names. Raises UsageError where it names none."""
    key = keys.private(ctx.inventory)
    if key is None:
        raise UsageError(
            "there is no key to sign with",
            hint="make one with `ccobs-ops evidence keygen FILE`, and name it in the inventory: evidence: {key: file:FILE}",
        )
    return key


def publish(
    ctx: Context, document: bytes, name: str, about: About, key: PrivateKey, place: Path, *, named: str = ""
) -> Exported:
    """Write `document` and its envelope to the folder `place`, keep that on this host too, copy both to the locked store.

    `named` is their name where many are kept side by side, if that is not `name`. Raises OpsError.
    """
    private(ctx.inventory.state)
    envelope = dsse.dumps(statement.attest(name, document, about, key))
    written = files.write(place / name, document)
    beside = files.write(place / (name + files.SUFFIX), envelope)
    own = files.folder(ctx.inventory) / ((named or name) + files.SUFFIX)
    if own != beside:
        files.write(own, envelope)
    copied = ""
    if ctx.inventory.evidence.store is not None:
        store = ObjectStore.open(ctx.inventory, ctx.inventory.evidence.store)
        for content, called in ((document, named or name), (envelope, (named or name) + files.SUFFIX)):
            copied = _copy(store, f"{ctx.inventory.evidence.prefix.strip('/')}/{called}", content)
    return Exported(written, beside, statement.sha256(document), copied)


def export(ctx: Context, identifiers: Sequence[str], place: Path) -> list[Exported]:
    """Export the exercises with these ids to the folder `place`. Raises UsageError without a key or for an unknown id."""
    key = signing_key(ctx)
    return [_one(ctx, identifier, place, key) for identifier in identifiers]


def since(ctx: Context, earliest: datetime) -> list[str]:
    """The ids of drills, validations and the like that finished since `earliest`, oldest first."""
    table = ledger_schema.exercises.c
    query = (
        sa.select(table.id)
        .where(table.capability.in_(SIGNED), table.finished_at >= to_microseconds(earliest))
        .order_by(table.finished_at, table.id)
    )
    with ctx.ledger.reading() as connection:
        return list(connection.scalars(query))


def catch_up(ctx: Context, earliest: datetime) -> list[Exported]:
    """Sign what is evidence and was not signed yet: from where the last call ended, at first from `earliest`."""
    key = signing_key(ctx)
    table = ledger_schema.exercises.c
    links = ledger_schema.chain.c
    with ctx.ledger.reading() as connection:
        after = ledger_chain.cursor(connection, READER)
        last = chain.newest(connection).seq
        query = (
            sa.select(table.id, links.seq)
            .select_from(
                ledger_schema.exercises.join(
                    ledger_schema.chain, sa.and_(links.kind == "exercise", links.row == table.id)
                )
            )
            .where(table.capability.in_(SIGNED), table.finished_at >= to_microseconds(earliest))
            .where(links.seq > after)
            .order_by(links.seq)
            .limit(MOST_AT_ONCE)
        )
        found = list(connection.execute(query))
    made = [_one(ctx, row.id, files.folder(ctx.inventory), key) for row in found]
    done = found[-1].seq if len(found) == MOST_AT_ONCE else last
    if done > after:
        with ctx.ledger.writing() as connection:
            ledger_chain.move(connection, READER, done)
    return made


def head(exercise: Exercise) -> dict[str, str]:
    """What a statement repeats of an exercise."""
    document = exercise.to_json()
    return {
        name: document[name]
        for name in ("id", "target", "capability", "verdict", "started_at", "finished_at")
    }


def _one(ctx: Context, identifier: str, place: Path, key: PrivateKey) -> Exported:
    table = ledger_schema.exercises.c
    with ctx.ledger.reading() as connection:
        text = connection.execute(sa.select(table.document).where(table.id == identifier)).scalar()
        link = chain.link_of(connection, "exercise", identifier)
        newest = chain.newest(connection)
    if text is None:
        raise UsageError(
            f"the ledger has no exercise {identifier!r}", hint="ccobs-ops ledger list shows the ids"
        )
    exercise = Exercise.from_json(json.loads(text))
    about = About(
        exercise.capability,
        ctx.inventory.environment,
        head(exercise),
        newest,
        ctx.clock(),
        link,
    )
    document, safe = json.loads(text), redact_document(json.loads(text))
    content = text if safe == document else json.dumps(safe, separators=(",", ":"))
    return publish(ctx, content.encode(), f"{identifier}.json", about, key, place)


def _copy(store: ObjectStore, key: str, data: bytes) -> str:
    store.put(key, data, lock=True)
    if store.locked_until(key) is None:
        raise DamagedError(
            f"{store.locate(key)} was stored and is not locked: whoever can write there can remove it",
            code="copy_not_locked",
            subject=store.locate(key),
            hint="make the bucket with object lock enabled; it cannot be switched on by a request",
        )
    return store.locate(key)


def copied_envelopes(ctx: Context, *, newest: int) -> Iterator[tuple[str, bytes]]:
    """The newest envelopes of the locked store, by key. Raises UnknownError when it cannot be asked."""
    name = ctx.inventory.evidence.store
    if name is None:
        return
    store = ObjectStore.open(ctx.inventory, name, read_only=True)
    prefix = ctx.inventory.evidence.prefix.strip("/") + "/"
    found = [each.key for each in store.list(prefix) if each.key.endswith(files.SUFFIX)]
    for key in sorted(found)[-newest:]:
        yield key, store.get(key, limit=dsse.MOST_BYTES)
