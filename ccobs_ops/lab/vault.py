"""The lab's immutable copy of the archives: whatever is finished in `us` is put into a locked bucket of `eu`.

`python -m ccobs_ops.lab.vault --inventory FILE`. It stands for replication into a locked bucket of a backup account: nothing
that is there can be changed or removed before its retention ends, by whoever holds the keys of the estate.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.storage import ObjectStore
from ccobs_ops.inventory_load import load

SOURCE, VAULT = "us", "vault"
INTERVAL_SECONDS = 2.0
FOLDERS = ("postgres/", "etcd/")
_LAST = "catalogue/"
"""A catalogue entry says that a backup is whole, so it is copied after everything else."""


def copy_new(source: ObjectStore, vault: ObjectStore) -> int:
    """Copy what the vault does not have, catalogue entries last; returns how many objects that were. Raises OpsError."""
    there = {stored.key for folder in FOLDERS for stored in vault.list(folder)}
    new = [
        stored.key
        for folder in FOLDERS
        for stored in source.list(folder)
        if stored.key not in there and ".partial." not in stored.key
    ]
    for key in sorted(new, key=lambda each: (_LAST in each, each)):
        vault.put(key, source.get(key), lock=True)
    return len(new)


def run(inventory: Path, stop: threading.Event) -> None:
    """Copy until `stop` is set; a store that does not answer is asked again, an inventory that changed is read again."""
    read_at = 0
    stores: tuple[ObjectStore, ObjectStore] | None = None
    while not stop.is_set():
        began = time.monotonic()
        try:
            changed_at = inventory.stat().st_mtime_ns
            if stores is None or changed_at != read_at:
                found = load(inventory)
                stores = ObjectStore.open(found, SOURCE, read_only=True), ObjectStore.open(found, VAULT)
                read_at = changed_at
            if copied := copy_new(*stores):
                _log(f"{copied} objects copied")
        except OpsError as error:
            _log(error.message)
        stop.wait(max(0.2, INTERVAL_SECONDS - (time.monotonic() - began)))


def _log(text: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} vault: {text}", flush=True)


def main() -> int:
    """Parse the command line and copy until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="vault")
    parser.add_argument("--inventory", type=Path, required=True)
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(arguments.inventory, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
