"""Read a stream one step ahead in a thread of its own, into a few buffers that are used over and over.

Fresh buffers cost more than what is read into them: the kernel clears and maps every page of each. Four buffers of a megabyte
stay mapped and in the processor's cache (measured with zstd frames on their way to files: a third of the system time).
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator

BUFFER_BYTES = 1024 * 1024
_BUFFERS = 4
_JOIN_SECONDS = 300.0


@contextlib.contextmanager
def read_ahead(
    readinto: Callable[[memoryview], int], *, size: int = BUFFER_BYTES, buffers: int = _BUFFERS
) -> Generator[Generator[memoryview]]:
    """What `readinto` puts into a buffer of `size` bytes, call after call, until it returns 0.

    `readinto` is called in one thread that is not the caller's. A block is valid until the next one is asked for. An error of
    `readinto` is raised where its block would have come. Leaving the context waits for the call that is running.
    """
    empty: queue.SimpleQueue[bytearray | None] = queue.SimpleQueue()
    full: queue.SimpleQueue[tuple[bytearray, int] | BaseException] = queue.SimpleQueue()
    over = threading.Event()
    for _ in range(buffers):
        empty.put(bytearray(size))

    def fill() -> None:
        try:
            while (buffer := empty.get()) is not None and not over.is_set():
                count = readinto(memoryview(buffer))
                full.put((buffer, count))
                if not count:
                    return
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            full.put(error)

    def blocks() -> Generator[memoryview]:
        while True:
            got = full.get()
            if isinstance(got, BaseException):
                raise got
            buffer, count = got
            if not count:
                return
            yield memoryview(buffer)[:count]
            empty.put(buffer)

    thread = threading.Thread(target=fill, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield blocks()
    finally:
        over.set()
        empty.put(None)
        thread.join(_JOIN_SECONDS)
