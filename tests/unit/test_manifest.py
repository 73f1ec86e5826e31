"""A backup manifest is believed only if its own checksum holds; file checksums are PostgreSQL's, byte for byte.

The manifest looked at is one that pg_basebackup has just written.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from ccobs_ops.core.errors import DamagedError
from ccobs_ops.core.postgres.manifest import EXEMPT, Crc32c, ManifestFile, WalRange, checksum, parse_manifest
from ccobs_ops.core.process import run
from tests.ledger_support import fresh_cluster

WHERE = "s3://backups/x/manifest.zst"


@dataclass(frozen=True)
class Backups:
    """Plain base backups of one small server, one for each kind of checksum."""

    folders: dict[str, Path]
    system_identifier: str

    def manifest(self, kind: str) -> bytes:
        return (self.folders[kind] / "backup_manifest").read_bytes()


@pytest.fixture(scope="module")
def backups() -> Iterator[Backups]:
    with fresh_cluster("manifest-pg-") as made:
        with made.started() as server:
            dsn = f"host={made.sockets} user=postgres dbname=postgres"
            with connect(dsn, server.poll) as connection:
                row = connection.execute("select system_identifier::text from pg_control_system()").fetchone()
            odd = made.data / "odd\udcff"  # a name that is no UTF-8 is written as Encoded-Path
            odd.write_bytes(b"odd")
            made.own(odd)
            folders = {kind: made.folder / kind for kind in ("CRC32C", "SHA256", "NONE")}
            for kind, into in folders.items():
                command = [made.binaries / "pg_basebackup", "-h", made.sockets, "-U", "postgres", "-D", into]
                more = ["-X", "none", "-c", "fast", "-N", f"--manifest-checksums={kind}"]
                run([*command, *more], deadline=60)
        assert row is not None
        yield Backups(folders, row[0])


def connect(dsn: str, ended: object) -> psycopg.Connection[tuple[str, ...]]:
    until = time.monotonic() + 30
    while True:
        try:
            return psycopg.connect(dsn, autocommit=True)
        except psycopg.OperationalError:
            assert callable(ended)
            assert ended() is None, "the server has ended"
            assert time.monotonic() < until, "the server did not come up"
            time.sleep(0.05)


def signed(**changes: object) -> bytes:
    """A small manifest with a right checksum."""
    document: dict[str, object] = {
        "PostgreSQL-Backup-Manifest-Version": 2,
        "System-Identifier": 7567890123456789012,
        "Files": [
            {"Path": "PG_VERSION", "Size": 3, "Checksum-Algorithm": "CRC32C", "Checksum": "8c5d2d5a"},
            {"Encoded-Path": "6261ff", "Size": 0},
        ],
        "WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/2000120"}],
    }
    head = json.dumps(document | changes, indent=0).encode()[:-2] + b",\n"
    return head + f'"Manifest-Checksum": "{hashlib.sha256(head).hexdigest()}"}}\n'.encode()


def refused(data: bytes) -> str:
    with pytest.raises(DamagedError) as caught:
        parse_manifest(data, WHERE)
    assert (caught.value.code, caught.value.subject) == ("manifest_corrupt", WHERE)
    return caught.value.message


@pytest.mark.parametrize("kind", ["CRC32C", "SHA256", "NONE"])
def test_a_real_manifest_names_every_file_with_its_size_and_checksum(backups: Backups, kind: str) -> None:
    folder = backups.folders[kind]
    manifest = parse_manifest(backups.manifest(kind), WHERE)
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(manifest.files) - EXEMPT == there - EXEMPT
    assert len(there) > 900
    for file in manifest.files.values():
        if file.path in EXEMPT:
            continue
        content = (folder / file.path).read_bytes()
        assert len(content) == file.size, file.path
        running = checksum(file.algorithm)
        for at in range(0, len(content), 7777):
            running.update(memoryview(content)[at : at + 7777])
        assert running.hexdigest() == file.checksum, file.path
        assert len(file.checksum) == {"CRC32C": 8, "SHA256": 64, "NONE": 0}[kind]


def test_a_real_manifest_says_which_cluster_and_which_wal(backups: Backups) -> None:
    manifest = parse_manifest(backups.manifest("CRC32C"), WHERE)
    label = (backups.folders["CRC32C"] / "backup_label").read_text()
    assert manifest.system_identifier == backups.system_identifier
    [wal] = manifest.wal
    assert f"CHECKPOINT LOCATION: {wal.start_lsn >> 32:X}/" in label
    assert (wal.timeline, wal.start_lsn < wal.end_lsn) == (1, True)


def test_flipped_bits_in_a_real_manifest_are_refused(backups: Backups) -> None:
    data = bytearray(backups.manifest("CRC32C"))
    dice = random.Random(1123)
    last = len(data) - 120  # its checksum line, and a little before: every bit of it
    flips = [dice.randrange(last * 8) for _ in range(150)] + list(range(last * 8, len(data) * 8))
    for flip in flips:
        data[flip // 8] ^= 1 << flip % 8
        assert "cannot be trusted" in refused(bytes(data)), f"bit {flip}"
        data[flip // 8] ^= 1 << flip % 8
    parse_manifest(bytes(data), WHERE)


def test_every_flipped_bit_of_a_small_manifest_is_refused() -> None:
    data = bytearray(signed())
    for flip in range(len(data) * 8):
        data[flip // 8] ^= 1 << flip % 8
        refused(bytes(data))
        data[flip // 8] ^= 1 << flip % 8


def test_a_manifest_cut_off_anywhere_is_refused() -> None:
    data = signed()
    for length in range(len(data) - 1):  # the last byte is a line end
        refused(data[:length])


def test_the_fields_of_a_manifest() -> None:
    manifest = parse_manifest(signed(), WHERE)
    odd = b"ba\xff".decode("utf-8", "surrogateescape")
    assert manifest.files == {
        "PG_VERSION": ManifestFile("PG_VERSION", 3, "CRC32C", "8c5d2d5a"),
        odd: ManifestFile(odd, 0, None, ""),
    }
    assert manifest.wal == (WalRange(1, 0x2000028, 0x2000120),)
    assert manifest.system_identifier == "7567890123456789012"


def test_manifests_before_version_17_name_no_cluster() -> None:
    assert parse_manifest(signed(**{"System-Identifier": None}), WHERE).system_identifier is None


@pytest.mark.parametrize(
    "changes",
    [
        {"Files": None},
        {"Files": [1]},
        {"Files": [{"Size": 1}]},
        {"Files": [{"Path": "x"}]},
        {"Files": [{"Path": "x", "Size": 1, "Checksum-Algorithm": "CRC32C", "Checksum": None}]},
        {"Files": [{"Encoded-Path": "zz", "Size": 1}]},
        {"WAL-Ranges": [{"Timeline": 1}]},
        {"WAL-Ranges": [{"Timeline": 1, "Start-LSN": "x", "End-LSN": "0/0"}]},
        {"WAL-Ranges": None},
    ],
)
def test_a_manifest_of_another_shape_is_refused_though_its_checksum_is_right(
    changes: dict[str, object],
) -> None:
    refused(signed(**changes))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"\xff\xfe", b'"Manifest-Checksum"', b'["Manifest-Checksum"]']
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    refused(data)


def test_crc32c_is_written_little_end_first() -> None:
    """RFC 3720, B.4, gives 32 bytes of zeroes as aa 36 91 8a; "123456789" is the usual check, 0xe3069283."""
    zeroes, digits = Crc32c(), Crc32c()
    zeroes.update(memoryview(bytes(32)))
    digits.update(memoryview(b"1234"))
    digits.update(memoryview(b"56789"))
    assert (zeroes.hexdigest(), digits.hexdigest()) == ("aa36918a", "839206e3")
    assert Crc32c().hexdigest() == "00000000"


@pytest.mark.parametrize("kind", ["SHA224", "SHA256", "SHA384", "SHA512"])
def test_other_checksums_are_the_known_ones(kind: str) -> None:
    running = checksum(kind.lower())
    running.update(memoryview(b"abc"))
    assert running.hexdigest() == hashlib.new(kind, b"abc").hexdigest()


def test_an_unknown_checksum_is_refused_rather_than_skipped() -> None:
    with pytest.raises(DamagedError, match="unknown checksum 'MD5'"):
        checksum("MD5")
