"""How a program is tethered to us and runs as another account, with nothing of ours between fork and exec."""

from __future__ import annotations

import functools
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ccobs_ops.core.process import User


def wrapped(*, tethered: bool, other: User | None) -> tuple[list[str], dict[str, object]]:
    """What comes before a program's words, and what Popen is told, for it to be tethered and to run as `other`.

    Both by `setpriv`, where util-linux has it: CPython uses vfork then. With its own `user` it forks, and the fork handlers
    of gRPC, which Dagster has loaded, crash about one child in ten while other threads are in gRPC.
    """
    program = _setpriv()
    if program is None:
        return [], {} if other is None else {"user": other.uid, "group": other.gid, "extra_groups": []}
    words: list[str] = []
    if other is not None:
        words += [program, "--reuid", str(other.uid), "--regid", str(other.gid), "--clear-groups"]
    if tethered:  # by itself: the kernel forgets the signal when the account changes
        words += [program, "--pdeathsig", "TERM"]
    return words, {}


@functools.cache
def _setpriv() -> str | None:
    return shutil.which("setpriv")
