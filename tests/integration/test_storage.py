"""The store against a real S3: what is read is what was written, or an error that says what is wrong, in time."""

from __future__ import annotations

import base64
import hashlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.errors import DamagedError, OpsError, UnknownError
from ccobs_ops.core.guard import Permit
from ccobs_ops.core.storage import MissingObjectError, ObjectStore, md5_hex
from ccobs_ops.inventory import Credentials
from ccobs_ops.inventory_load import load
from ccobs_ops.lab import Lab
from ccobs_ops.lab.plan import BUCKET
from ccobs_ops.lab.s3 import client
from tests.lab_support import MakeLab, take_down_and_check

pytestmark = pytest.mark.lab
MIB = 1024 * 1024
PERMIT = Permit("retention", "test")


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of one S3 region."""
    directory = tmp_path_factory.mktemp("region") / "lab"
    try:
        yield Lab.up(directory, services=("us",))
    finally:
        take_down_and_check(directory)


@pytest.fixture(scope="module")
def store(region: Lab) -> ObjectStore:
    return opened(region)


def opened(lab: Lab, *, read_only: bool = False, **changes: Any) -> ObjectStore:
    """The region as the inventory describes it, with `changes`."""
    inventory = load(lab.inventory_path)
    config = inventory.stores["us"].model_copy(update=changes)
    return ObjectStore.open(
        inventory.model_copy(update={"stores": {"us": config}}), "us", read_only=read_only
    )


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 20 * MIB])
def test_what_was_put_comes_back(store: ObjectStore, size: int) -> None:
    data = noise(size)
    stored = store.put(f"sizes/{size}", data)
    assert (stored.bytes, stored.etag) == (size, md5_hex(data))
    assert store.get(f"sizes/{size}", md5=md5_hex(data)) == data
    [listed] = store.list(f"sizes/{size}")
    assert (listed.key, listed.bytes, listed.etag) == (f"sizes/{size}", size, stored.etag)
    assert store.etag_matches(listed, md5_hex(data)) is True
    assert store.etag_matches(listed, md5_hex(data + b"x")) is False


def test_a_file_is_put_like_bytes(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(noise(3 * MIB))
    assert store.put("file", path).bytes == 3 * MIB
    assert store.get("file") == path.read_bytes()


def test_an_object_streams_in_blocks_of_the_size_asked_for(store: ObjectStore) -> None:
    data = noise(MIB)
    store.put("blocks", data)
    blocks = list(store.stream("blocks", block=100_000))
    assert b"".join(blocks) == data
    assert max(map(len, blocks)) <= 100_000


def test_the_store_keeps_our_checksum_and_metadata(region: Lab, store: ObjectStore) -> None:
    data = noise(5000)
    store.put("checked", data, metadata={"lsn": "0-5000028"})
    head = client(region.plan, "us").head_object(Bucket=BUCKET, Key="checked", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert head["Metadata"] == {"lsn": "0-5000028"}


def test_an_object_that_is_larger_than_it_may_be_is_not_read_to_its_end(store: ObjectStore) -> None:
    store.put("large", noise(3 * MIB))
    with pytest.raises(DamagedError, match="larger than the 1048576 bytes") as caught:
        store.get("large", limit=MIB)
    assert caught.value.code == "object_oversized"


def test_keys_lie_below_the_stores_prefix(region: Lab) -> None:
    below = opened(region, prefix="/deep/er/")
    below.put("a/b", b"1")
    assert opened(region).get("deep/er/a/b") == b"1"
    assert [item.key for item in below.list("a/")] == ["a/b"]
    assert below.locate("a/b") == f"s3://{BUCKET}/deep/er/a/b"


def test_a_listing_is_whole_and_in_order_beyond_a_page(store: ObjectStore) -> None:
    odd = ["many/Z", "many/a b", "many/a+b", "many/a-b", "many/ä", "many/%41", "many/a&b=c"]
    names = [*odd, *(f"many/{number:04d}" for number in range(1100))]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, name.encode()), names))
    listed = [item.key for item in store.list("many/")]
    assert listed == sorted(names, key=lambda name: name.encode())
    assert [item.key for item in store.list("many/00")] == [f"many/{number:04d}" for number in range(100)]
    for name in odd:
        assert store.get(name) == name.encode()


def test_an_empty_prefix_lists_nothing(store: ObjectStore) -> None:
    assert list(store.list("no/such/prefix/")) == []


def test_a_deleted_object_is_gone_and_deleting_needs_a_permit(store: ObjectStore) -> None:
    store.put("gone", b"1")
    with pytest.raises(ValueError, match="permit"):
        store.delete("gone", Permit("", "test"))
    assert store.get("gone") == b"1"
    store.delete("gone", PERMIT)
    with pytest.raises(MissingObjectError):
        store.get("gone")


def test_a_missing_object_is_damage_and_named(store: ObjectStore) -> None:
    with pytest.raises(MissingObjectError) as caught:
        store.get("wal/none")
    assert (caught.value.code, caught.value.subject) == ("object_missing", f"s3://{BUCKET}/wal/none")


def test_a_missing_bucket_is_unknown_not_damage(region: Lab) -> None:
    nowhere = opened(region, bucket="no-such-bucket")
    for ask in (lambda: nowhere.get("x"), lambda: list(nowhere.list(""))):
        with pytest.raises(UnknownError, match="there is no such bucket"):
            ask()


@pytest.mark.parametrize("which", ["access_key", "secret_key"])
def test_wrong_credentials_are_unknown_and_never_shown(
    region: Lab, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setenv("WRONG_KEY", "quite-wrong-0123456789")
    right = load(region.inventory_path).stores["us"].credentials
    wrong = Credentials.model_validate(right.model_dump() | {which: "env:WRONG_KEY"})
    locked_out = opened(region, credentials=wrong)
    for ask in (
        lambda: locked_out.put("x", b"1"),
        lambda: locked_out.get("x"),
        lambda: list(locked_out.list("")),
    ):
        with pytest.raises(UnknownError, match="access denied") as caught:
            ask()
        assert "quite-wrong" not in str(caught.value)


def test_read_only_credentials_read_and_change_nothing(region: Lab, store: ObjectStore) -> None:
    reader = opened(region, read_only=True)
    store.put("read-only", b"kept")
    assert reader.get("read-only") == b"kept"
    assert [item.key for item in reader.list("read-only")] == ["read-only"]
    for change in (
        lambda: reader.put("read-only", b"changed"),
        lambda: reader.put("new", b"1"),
        lambda: reader.delete("read-only", PERMIT),
    ):
        with pytest.raises(UnknownError, match="access denied"):
            change()
    assert store.get("read-only") == b"kept"


def test_an_endpoint_where_nobody_listens_is_unknown_in_time(region: Lab) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        nowhere = opened(region, endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}", attempts=3)
        began = time.monotonic()
        for ask in (lambda: nowhere.get("x"), lambda: nowhere.put("x", b""), lambda: list(nowhere.list(""))):
            with pytest.raises(UnknownError, match="could not be"):
                ask()
        assert time.monotonic() - began < 60


def test_a_replaced_object_is_damage(region: Lab, store: ObjectStore) -> None:
    data = noise(100_000)
    record = store.put("flipped", data)
    for bit in (0, 400_000, 799_999):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        client(region.plan, "us").put_object(Bucket=BUCKET, Key="flipped", Body=bytes(changed))
        with pytest.raises(DamagedError, match="is not what was stored") as caught:
            store.get("flipped", md5=record.etag)
        assert (caught.value.code, caught.value.subject) == ("object_corrupt", f"s3://{BUCKET}/flipped")
        [listed] = store.list("flipped")
        assert store.etag_matches(listed, record.etag) is False, "the listing shows it as well"


def test_a_byte_that_rots_on_the_stores_disk_is_damage(region: Lab, store: ObjectStore) -> None:
    data = noise(200_000, seed=7)
    store.put("rotten", data)
    assert rot(region, data[100_000:100_064]) == 1
    patient = opened(
        region, timeout=timedelta(seconds=90), attempts=1
    )  # this store looks for a better copy first
    with pytest.raises(DamagedError) as caught:
        patient.get("rotten", md5=md5_hex(data))
    assert caught.value.code in ("object_unreadable", "object_corrupt")
    assert caught.value.subject == f"s3://{BUCKET}/rotten"


def rot(lab: Lab, pattern: bytes) -> int:
    """Flip one bit wherever `pattern` lies in the region's volumes; returns how often it did."""
    count = 0
    for path in (lab.directory / "s3-us").rglob("*.dat"):
        at = path.read_bytes().find(pattern)
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at)
                file.write(bytes([pattern[0] ^ 1]))
            count += 1
    return count


@contextmanager
def meddling(lab: Lab, *, upward: bool) -> Iterator[str]:
    """A proxy before the region that flips bits of the word MEDDLE on the way up, or else on the way down."""
    port = lab.plan.s3_port("us")
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def carry(source: socket.socket, sink: socket.socket, *, meddle: bool) -> None:
        try:
            while block := source.recv(65536):
                sink.sendall(block.replace(b"MEDDLE", b"MUDDLE") if meddle else block)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve() -> None:
        while not over.is_set():
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", port))
            for source, sink, meddle in ((near, far, upward), (far, near, not upward)):
                threading.Thread(
                    target=carry, args=(source, sink), kwargs={"meddle": meddle}, daemon=True
                ).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_bytes_that_change_on_the_way_up_are_not_taken(region: Lab, store: ObjectStore) -> None:
    data = b"MEDDLE" * 20_000
    with meddling(region, upward=True) as endpoint:
        through = opened(region, endpoint=endpoint, attempts=2)
        through.put("way/up", b"harmless")
        with pytest.raises(OpsError):
            through.put("way/up", data)
    assert store.get("way/up") == b"harmless"


def test_bytes_that_change_on_the_way_down_are_not_believed(region: Lab, store: ObjectStore) -> None:
    data = b"MEDDLE" * 20_000
    record = store.put("way/down", data)
    with meddling(region, upward=False) as endpoint:
        through = opened(region, endpoint=endpoint, attempts=2)
        with pytest.raises((DamagedError, UnknownError)) as caught:
            through.get("way/down", md5=record.etag)
    assert "way/down" in str(caught.value)
    assert store.get("way/down", md5=record.etag) == data


def test_a_store_that_dies_while_an_object_streams_is_unknown_in_time(make_lab: MakeLab) -> None:
    lab = make_lab(services=("us",))
    store = opened(lab, attempts=3)
    data = noise(64 * MIB)
    store.put("dying", data)
    stream = store.stream("dying", block=65536)
    got = next(stream)
    lab.kill_service("us")
    began = time.monotonic()
    with pytest.raises(UnknownError, match="could not be read"):
        for block in stream:
            got += block
    assert time.monotonic() - began < 60
    assert len(got) < len(data)
    assert data.startswith(got)


def test_a_stream_goes_on_where_it_broke_once_the_store_is_back(make_lab: MakeLab) -> None:
    lab = make_lab(services=("us",))
    store = opened(lab)
    data = noise(64 * MIB)
    for key in ("same", "replaced"):
        store.put(key, data)
    streams = {key: store.stream(key, block=65536) for key in ("same", "replaced")}
    got = {key: next(stream) for key, stream in streams.items()}
    lab.kill_service("us")
    lab.start_service("us")
    assert got["same"] + b"".join(streams["same"]) == data
    store.put("replaced", noise(64 * MIB, seed=2))
    with pytest.raises(OpsError):  # never the beginning of one object and the end of another
        for _ in streams["replaced"]:
            pass
