"""Memory that was freed goes back to the system at once, so that what we hold is what we use.

glibc learns from the first large buffer that is freed to keep such buffers in its own heaps, one heap a thread. With parts
and segments of 16 MiB passing through threads that was measured as 60 to 100 MiB held for nothing.
"""

from __future__ import annotations

import ctypes
import functools
import sys

_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 1024 * 1024


@functools.cache
def return_large_buffers() -> bool:
    """Have every buffer of a megabyte and more mapped and unmapped by itself; returns whether that is possible here."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent from other C libraries than glibc
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES) == 1
