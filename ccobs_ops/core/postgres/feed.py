"""WAL ahead of replay: fetched side by side into a folder that PostgreSQL's restore_command takes it from.

What is ready and not yet taken is bounded, so that disk use is. A restore that is not started by us gets all of its WAL
beforehand and needs neither this program nor the store any more.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.postgres.archive import Archive
from ccobs_ops.core.postgres.outlet import WRITE_BYTES
from ccobs_ops.core.postgres.plan import Plan, WalFile
from ccobs_ops.core.process import User
from ccobs_ops.core.storage import MissingObjectError, in_order

FOLDER = "ccobs_recovery"
_READY_BYTES = 1024 * 1024 * 1024
_IN_FLIGHT_BYTES = 64 * 1024 * 1024


class Feeder:
    """Brings the WAL of `plan` into `folder` in order. Use as a context manager; `error` is what stopped it, if anything.

    Damaged WAL is never handed over: fetching stops before it and recovery aborts.
    """

    def __init__(
        self, ctx: Context, archive: Archive, plan: Plan, folder: Path, user: User | None, *, bounded: bool
    ) -> None:
        self._ctx = ctx
        self._archive = archive
        self._plan = plan
        self._folder = folder
        self._user = user if os.geteuid() == 0 else None
        self._room = max(4, _READY_BYTES // plan.segment_size) if bounded else None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wal-feed", daemon=True)
        self.error: OpsError | None = None
        self.segments = 0
        self.bytes = 0

    def __enter__(self) -> Feeder:
        ready = self._folder / "ready"
        ready.mkdir(mode=0o700, parents=True)
        script = self._folder / "fetch.sh"
        script.write_text(resources.files("ccobs_ops.core.postgres").joinpath("fetch.sh").read_text())
        (self._folder / "plan").write_text("".join(f"{file.name}\n" for file in self._plan.files))
        logs = [self._folder / "waits", self._folder / "taken"]
        for path in logs:
            path.touch()
        for path in (self._folder, ready, script, self._folder / "plan", *logs):
            path.chmod(0o700 if path.is_dir() else 0o600)
            self._own(path)
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    def wait(self) -> None:
        """Wait until everything is there (or failed, or stopped); raises what stopped it."""
        self._thread.join()
        if self.error is not None:
            raise self.error

    def waited(self) -> float:
        """Seconds that recovery waited for WAL so far, as restore_command measured them."""
        began: dict[str, float] = {}
        total = 0.0
        for line in (self._folder / "waits").read_text().splitlines():
            at, name, what = line.split()
            if what == "begin":
                began[name] = float(at)
            elif name in began:
                total += float(at) - began.pop(name)
        return total

    def _run(self) -> None:
        try:
            ahead = max(2, _IN_FLIGHT_BYTES // self._plan.segment_size)
            workers = min(ahead, self._archive.store.concurrency)
            for name, data in in_order(self._wanted(), self._fetch, workers=workers, ahead=ahead):
                if self._stop.is_set():
                    return
                self._place(name, data)
        except OpsError as error:
            self.error = error
        except OSError as error:
            self.error = OpsError(f"WAL cannot be written to {self._folder}: {error.strerror}")
        finally:
            if self.error is not None:
                (self._folder / "failed").touch()

    def _wanted(self) -> Iterator[WalFile]:
        ready = self._folder / "ready"
        for file in self._plan.files:
            while (
                self._room is not None
                and sum(1 for _ in ready.iterdir()) >= self._room
                and not self._stop.wait(0.02)
            ):
                pass
            if self._stop.is_set():
                return
            yield file

    def _fetch(self, file: WalFile) -> tuple[str, bytes]:
        if file.history:
            return file.name, self._archive.read(file.key)
        size = self._plan.segment_size
        try:
            data = self._archive.read(file.key, md5=file.md5, limit=size)
        except MissingObjectError:
            newer = self._archive.wal().segments.get(file.name) if file.md5 is None else None
            if newer is None or newer.partial:
                raise
            data = self._archive.read(
                newer.key, md5=newer.md5, limit=size
            )  # finished since the plan was made
        return file.name, data

    def _place(self, name: str, data: bytes) -> None:
        path = self._folder / "ready" / name
        temporary = self._folder / f"{name}.part"
        with temporary.open("wb") as file:
            view = memoryview(data)
            for start in range(0, len(view), WRITE_BYTES):
                file.write(view[start : start + WRITE_BYTES])
            if not name.endswith(".history"):
                file.truncate(self._plan.segment_size)
        self._own(temporary)
        temporary.rename(path)
        self.segments += not name.endswith(".history")
        self.bytes += len(data)
        self._ctx.progress.advance(len(data))

    def _own(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user.uid, self._user.gid)


def remove(folder: Path) -> None:
    """Take the recovery folder away once recovery is over."""
    shutil.rmtree(folder, ignore_errors=True)
