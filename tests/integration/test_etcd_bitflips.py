"""No flipped bit and no cut in a stored snapshot survives reading it, at 1,000 seeded positions each.

The snapshot is a real one. Each flip is looked at three ways: as the store gives it; by a reader whose catalogue was
rewritten to fit the damaged object (its MD5 and size), so that only zstd's and etcd's own checksums are left; and in the
snapshot itself before it was compressed and stored with all checksums right, so that only etcd's trailer is left.
CCOBS_SWEEP raises the number.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.archive import Part, compress
from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.etcd.archive import Archive, TrailerCheck
from ccobs_ops.core.etcd.boltdb import BoltFile
from ccobs_ops.core.etcd.client import EtcdClient
from ccobs_ops.core.etcd.layout import Entry, catalogue_key, load_entry, part_key
from ccobs_ops.core.etcd.messages import parse_key_value
from ccobs_ops.core.storage import ObjectStore, md5_hex
from ccobs_ops.inventory import Store
from ccobs_ops.lab.kubernetes_keys import keys
from tests.etcd_support import NO_TLS, lone_member, ready

FLIPS = max(1000, int(os.environ.get("CCOBS_SWEEP", "0")) * 100)
PART_BYTES = 64 * 1024


class Shelf:
    """The part of an S3 client that reading needs, over a dictionary."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        body = self.objects[Key]
        return {"ETag": '"x"', "Body": io.BytesIO(body), "ContentLength": len(body)}


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a real member sends, of 200 keys, some written over and some deleted."""
    with (
        lone_member(tmp_path_factory.mktemp("e")) as lone,
        EtcdClient(lone.endpoint, NO_TLS, timeout=10) as client,
    ):
        ready(client)
        pairs = list(keys(200, 5))
        client.put_many([*pairs[:100]])
        client.put_many([*pairs[100:]])
        client.put_many([(pairs[7][0], b"again"), (pairs[8][0], None)])
        with client.snapshot(30) as stream:
            return b"".join(bytes(block) for block in stream)


@pytest.fixture(scope="module")
def stored(snapshot: bytes) -> tuple[Entry, dict[str, bytes]]:
    return _store(snapshot)


def _store(data: bytes) -> tuple[Entry, dict[str, bytes]]:
    """The archive that holds `data`, with every checksum right."""
    objects: dict[str, bytes] = {}
    parts = []
    for number, start in enumerate(range(0, len(data), PART_BYTES)):
        raw = data[start : start + PART_BYTES]
        packed = compress(raw, 1)
        key = part_key("s", number)
        objects[key] = packed
        parts.append(Part(key, len(packed), len(raw), md5_hex(packed)))
    now = datetime(2026, 11, 23, tzinfo=UTC)
    entry = Entry(
        id="s",
        cluster_id="1",
        member="m",
        etcd_version="3.5.1",
        revision=4,
        compact_revision=0,
        raft_term=2,
        raft_index=7,
        members=(),
        db_bytes=len(data) - 32,
        hash=None,
        hash_compact_revision=None,
        counts={"": 199},
        alarms=(),
        sha256=hashlib.sha256(data[:-32]).hexdigest(),
        started_at=now,
        stopped_at=now,
        raw_bytes=len(data),
        stored_bytes=sum(len(each) for each in objects.values()),
        parts=tuple(parts),
    )
    return entry, objects


def _read(entry: Entry, objects: dict[str, bytes]) -> bytes:
    archive = Archive(ObjectStore(Shelf(objects), Store(bucket="shelf"), "shelf"), "")
    return b"".join(archive.blocks(entry))


def _flip(data: bytes, bit: int) -> bytes:
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << (bit % 8)
    return bytes(flipped)


def _fitting(entry: Entry, key: str, body: bytes) -> Entry:
    parts = tuple(
        replace(part, bytes=len(body), md5=md5_hex(body)) if part.key == key else part for part in entry.parts
    )
    return replace(entry, parts=parts)


def test_unharmed_it_is_read_back_and_says_its_revision(
    snapshot: bytes, stored: tuple[Entry, dict[str, bytes]]
) -> None:
    assert _read(*stored) == snapshot
    file = BoltFile(lambda offset, length: snapshot[offset : offset + length], len(snapshot) - 32, "here")
    facts = file.facts()
    assert (facts.revision, facts.compact_revision, facts.members) == (4, 0, ("lone",))
    revisions = list(file.revisions())
    assert len(revisions) == 202
    assert [each.deletion for each in revisions].count(True) == 1
    assert {parse_key_value(each.value).key for each in revisions} == {key for key, _ in keys(200, 5)}


def test_every_flipped_bit_of_a_stored_part_is_found(
    snapshot: bytes, stored: tuple[Entry, dict[str, bytes]]
) -> None:
    entry, objects = stored
    dice = random.Random(41)
    harmless = 0
    for _ in range(FLIPS):
        key = dice.choice(list(objects))
        bit = dice.randrange(len(objects[key]) * 8)
        body = _flip(objects[key], bit)
        with pytest.raises(DamagedError) as found:
            _read(entry, objects | {key: body})
        assert found.value.code == "snapshot_corrupt"
        assert key in found.value.subject
        try:  # the catalogue fits what lies there: MD5 and size are right
            data = _read(_fitting(entry, key, body), objects | {key: body})
        except DamagedError:
            continue
        harmless += 1
        assert data == snapshot, f"bit {bit} of {key} was read as other bytes"
    assert harmless < FLIPS / 100, "zstd ignores a bit here and there, and then gives the very same bytes"


def test_every_flipped_bit_of_the_snapshot_itself_is_found_by_its_trailer(snapshot: bytes) -> None:
    dice = random.Random(42)
    for _ in range(FLIPS):
        bit = dice.randrange(len(snapshot) * 8)
        check = TrailerCheck()
        flipped = memoryview(_flip(snapshot, bit))
        for start in range(0, len(flipped), PART_BYTES):
            check.feed(flipped[start : start + PART_BYTES])
        assert check.problem(), f"bit {bit} was not found"


def test_a_wrong_snapshot_that_was_stored_with_right_checksums_is_found(snapshot: bytes) -> None:
    entry, objects = _store(_flip(snapshot, 8 * 5000 + 3))
    with pytest.raises(DamagedError, match="its trailer says"):
        _read(entry, objects)


def test_cut_at_any_length_it_is_found(snapshot: bytes, stored: tuple[Entry, dict[str, bytes]]) -> None:
    dice = random.Random(43)
    edges = [
        0,
        1,
        31,
        32,
        33,
        511,
        512,
        544,
        4096,
        4128,
        len(snapshot) - 512,
        len(snapshot) - 32,
        len(snapshot) - 1,
    ]
    for length in [*edges, *(dice.randrange(len(snapshot)) for _ in range(FLIPS))]:
        check = TrailerCheck()
        check.feed(memoryview(snapshot)[:length])
        assert check.problem(), f"a cut after {length} bytes was not found"
    entry, objects = stored
    for _ in range(FLIPS // 4):
        key = dice.choice(list(objects))
        body = objects[key][: dice.randrange(len(objects[key]))]
        with pytest.raises(DamagedError):
            _read(entry, objects | {key: body})
        with contextlib.suppress(
            DamagedError
        ):  # a catalogue that fits: only zstd's last checksum can be missing
            assert _read(_fitting(entry, key, body), objects | {key: body}) == snapshot
    with pytest.raises(DamagedError):  # whole parts are missing at the end, and the catalogue agrees
        _read(replace(entry, parts=entry.parts[:-1]), objects)


def test_every_flipped_bit_of_a_catalogue_entry_is_found(stored: tuple[Entry, dict[str, bytes]]) -> None:
    data = stored[0].dump()
    assert load_entry(data, catalogue_key("s")) == stored[0]
    dice = random.Random(44)
    for _ in range(FLIPS):
        with pytest.raises(DamagedError) as found:
            load_entry(_flip(data, dice.randrange(len(data) * 8)), catalogue_key("s"))
        assert found.value.code == "catalogue_corrupt"


@pytest.mark.parametrize("chunk", [1, 7, 31, 32, 33, 4096, 1 << 20])
def test_the_trailer_is_found_however_the_stream_is_cut(snapshot: bytes, chunk: int) -> None:
    data = snapshot[-4096 * 4 - 32 :] if chunk < 32 else snapshot
    whole = data[:-32] + hashlib.sha256(data[:-32]).digest()
    check = TrailerCheck()
    for start in range(0, len(whole), chunk):
        check.feed(whole[start : start + chunk])
    assert check.problem() == ""
    assert check.digest == whole[-32:].hex()


def test_random_bytes_are_no_file_of_etcds(tmp_path: Path) -> None:
    dice = random.Random(45)
    for _ in range(200):
        data = dice.randbytes(dice.randrange(64, 3 * 4096))
        with pytest.raises(DamagedError, match="is no file of etcd's"):
            BoltFile(lambda offset, length, data=data: data[offset : offset + length], len(data), "noise")
