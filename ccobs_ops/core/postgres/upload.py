"""A base backup's stream on its way to the store: compressed in frames on all cores, joined to parts, stored side by side."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from queue import SimpleQueue

from ccobs_ops.core.archive import Part, compress
from ccobs_ops.core.context import Context
from ccobs_ops.core.postgres import layout
from ccobs_ops.core.postgres.archive import Archive
from ccobs_ops.core.postgres.server import Cluster
from ccobs_ops.core.postgres.tarstream import TarReader
from ccobs_ops.core.process import Child
from ccobs_ops.core.storage import in_order, md5_hex

_IN_FLIGHT_BYTES = 64 * 1024 * 1024
_FRAME_BYTES = 8 * 1024 * 1024
_PART_RAW_BYTES = 64 * 1024 * 1024
"""However well it compresses, a part stands for no more: parts are fetched side by side, and named when they are damaged."""


def upload(
    ctx: Context, cluster: Cluster, archive: Archive, backup_id: str, child: Child, reader: TarReader
) -> list[Part]:
    """Compress the stream in frames on all cores, join frames to objects of up to `part_size`, store those side by side."""
    config = cluster.config.backup
    frame = min(_FRAME_BYTES, config.part_size)
    cores = os.cpu_count() or 1
    ahead = min(max(_IN_FLIGHT_BYTES // frame, 2), 2 * cores + 2)
    free: SimpleQueue[bytearray] = (
        SimpleQueue()
    )  # the same few buffers go round: a fresh one costs a fault for every page
    for _ in range(ahead + 1):
        free.put(bytearray(frame))

    def blocks() -> Iterator[tuple[bytearray, int]]:
        for buffer, filled in _cut(child, free):
            reader.feed(memoryview(buffer)[:filled])
            ctx.progress.advance(filled)
            yield buffer, filled

    def pack(item: tuple[bytearray, int]) -> tuple[bytes, int]:
        buffer, filled = item
        try:
            return compress(memoryview(buffer)[:filled], config.compression_level), filled
        finally:
            free.put(buffer)

    def store(item: tuple[int, bytes, int]) -> Part:
        number, packed, raw_bytes = item
        key = layout.part_key(backup_id, number)
        md5 = md5_hex(packed)
        archive.store.put(archive.key(key), packed, md5=md5, lock=True)
        return Part(key, len(packed), raw_bytes, md5)

    stores = max(2, min(archive.store.concurrency, _IN_FLIGHT_BYTES // config.part_size))
    frames = in_order(blocks(), pack, workers=min(ahead, cores + 1), ahead=ahead)
    with contextlib.closing(frames):
        return list(in_order(_join(frames, config.part_size), store, workers=stores, ahead=stores))


def _join(frames: Iterable[tuple[bytes, int]], part_size: int) -> Iterator[tuple[int, bytes, int]]:
    """Numbered objects of whole frames: as many as fit into `part_size`, at least one, with the bytes that they stand for."""
    number, held, raw_bytes = 0, list[bytes](), 0
    for packed, filled in frames:
        if held and (sum(map(len, held)) + len(packed) > part_size or raw_bytes + filled > _PART_RAW_BYTES):
            yield number, b"".join(held), raw_bytes
            number, held, raw_bytes = number + 1, [], 0
        held.append(packed)
        raw_bytes += filled
    if held:
        yield number, b"".join(held), raw_bytes


def _cut(child: Child, free: SimpleQueue[bytearray]) -> Iterator[tuple[bytearray, int]]:
    """The stream in buffers taken from `free`, each full but the last, with the number of bytes in it."""
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(child.stdout, fcntl.F_SETPIPE_SZ, 1 << 20)
    while True:
        buffer = free.get()
        view = memoryview(buffer)
        filled = 0
        while filled < len(view):
            count = child.stdout.readinto(view[filled:])  # pyright: ignore[reportAttributeAccessIssue]
            if not count:
                break
            filled += count
        if filled:
            yield buffer, filled
        if filled < len(view):
            return
