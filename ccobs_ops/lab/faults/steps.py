"""Steps of the replication faults: a stray object, an older version, a replica killed while it is written to, a proxy."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ccobs_ops.core import process
from ccobs_ops.core.errors import OpsError
from ccobs_ops.lab.faults.step import KeptObject, Step
from ccobs_ops.lab.ports import answers
from ccobs_ops.lab.processes import Identity
from ccobs_ops.lab.s3 import client

if TYPE_CHECKING:
    from ccobs_ops.lab.lab import Lab

_PROXY_SECONDS = 20.0
_WRITERS = 6
_UNDER_WAY = 4
"""Objects of one writer before the kill."""
_MOST_OBJECTS = 60
_CRASHES = 5
_SETTLE_SECONDS = 6.0
"""What is missing for so long after eu is back does not come any more."""


class PutObject(Step):
    """Store one object that has no business there."""

    kind: Literal["put_object"] = "put_object"
    region: str
    bucket: str
    key: str
    file: str
    bytes: int

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"stored s3://{self.bucket}/{self.key} in {self.region} ({self.bytes} bytes)"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Store it."""
        body = (folder / self.file).read_bytes()
        client(lab.plan, self.region).put_object(Bucket=self.bucket, Key=self.key, Body=body)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Delete it."""
        client(lab.plan, self.region).delete_object(Bucket=self.bucket, Key=self.key)


class DropNewestVersion(Step):
    """Delete the newest version of one object, so that the one before it is the current one."""

    kind: Literal["drop_newest_version"] = "drop_newest_version"
    kept: KeptObject
    version_id: str

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"deleted version {self.version_id} of {self.kept.location}: an older one is current"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Delete that version."""
        client(lab.plan, self.kept.region).delete_object(
            Bucket=self.kept.bucket, Key=self.kept.key, VersionId=self.version_id
        )

    def undo(self, lab: Lab, folder: Path) -> None:
        """Put the same bytes and metadata back; S3 gives them a version id of their own."""
        self.kept.put(lab, (folder / self.kept.file).read_bytes())


class CrashWhileSyncing(Step):
    """Write objects to us, kill -9 eu while they are carried over, and start eu again.

    What was on its way at that moment is what a wedged replicator never brings; the rest arrives as if nothing had happened.
    """

    kind: Literal["crash_while_syncing"] = "crash_while_syncing"
    bucket: str
    prefix: str
    bytes: int

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"killed (-9) the service eu while objects s3://{self.bucket}/{self.prefix}* were on their way"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Once more until something was lost on the way, five times at most."""
        for turn in range(_CRASHES):
            self._crash(lab, turn)
            deadline = time.monotonic() + _SETTLE_SECONDS
            while time.monotonic() < deadline:
                time.sleep(0.5)
                lost = self._keys(lab, "us") - self._keys(lab, "eu")
                if not lost:
                    break
            else:
                return
        raise OpsError(
            f"eu was killed {_CRASHES} times and nothing was lost on the way",
            hint="try it again: which objects are on their way is a matter of timing",
        )

    def undo(self, lab: Lab, folder: Path) -> None:
        """Carry over what was lost. Nothing is deleted: filer.sync, which begins again before the crash, may lose a deletion
        that follows so soon on the writing.
        """
        lab.start_service("eu")
        us, eu = client(lab.plan, "us"), client(lab.plan, "eu")
        for key in self._keys(lab, "us") - self._keys(lab, "eu"):
            body = us.get_object(Bucket=self.bucket, Key=key)["Body"].read()
            eu.put_object(Bucket=self.bucket, Key=key, Body=body)

    def _crash(self, lab: Lab, turn: int) -> None:
        under_way, stop = threading.Event(), threading.Event()
        failures: list[Exception] = []

        def write(number: int) -> None:
            s3 = client(lab.plan, "us")
            for count in range(_MOST_OBJECTS):
                if stop.is_set():
                    return
                key = f"{self.prefix}{turn}-{number}-{count:04d}"
                try:
                    s3.put_object(Bucket=self.bucket, Key=key, Body=secrets.token_bytes(self.bytes))
                except Exception as error:  # noqa: BLE001 - told below
                    failures.append(error)
                    return
                if count >= _UNDER_WAY:
                    under_way.set()

        threads = [threading.Thread(target=write, args=(number,), name="wedge") for number in range(_WRITERS)]
        for thread in threads:
            thread.start()
        under_way.wait(60.0)
        lab.kill_service("eu")
        time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join(120.0)
        lab.start_service("eu")
        if failures:
            raise OpsError(f"us does not take objects: {failures[0]}", hint="see ccobs-ops lab status")

    def _keys(self, lab: Lab, region: str) -> set[str]:
        pages = client(lab.plan, region).get_paginator("list_objects_v2")
        return {
            row["Key"]
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix)
            for row in page.get("Contents", ())
        }


class StartProxy(Step):
    """Put a small proxy between the inventory's stores of one region and their S3 gateway."""

    kind: Literal["start_proxy"] = "start_proxy"
    region: str
    port: int
    arguments: tuple[str, ...]
    what: str

    def describe(self) -> str:
        """What this breaks, exactly."""
        return f"the inventory reaches {self.region} by a proxy on 127.0.0.1:{self.port} that {self.what}"

    def apply(self, lab: Lab, folder: Path) -> None:
        """Start it, and name it in the inventory. Whoever has read the inventory before goes on as before."""
        argv = lab.plan.python(
            "ccobs_ops.lab.proxy",
            f"--listen={self.port}",
            f"--to={lab.plan.s3_port(self.region)}",
            *self.arguments,
        )
        with lab.plan.log(f"proxy-{self.region}").open("ab") as log:
            child = process.launch(
                argv, env=lab.plan.python_environment(), cwd=lab.plan.directory, stdout=log, stderr=log
            )
        identity = Identity.of(child.pid)
        (folder / "proxy.pid").write_text(f"{identity.pid} {identity.created}")
        deadline = time.monotonic() + _PROXY_SECONDS
        while not answers(self.port):
            if child.poll() is not None or time.monotonic() > deadline:
                raise OpsError(
                    f"the proxy before {self.region} did not come up",
                    hint=f"see {lab.plan.log(f'proxy-{self.region}')}",
                )
            time.sleep(0.05)
        self._repoint(lab, lab.plan.s3_port(self.region), self.port)

    def undo(self, lab: Lab, folder: Path) -> None:
        """Name the gateway itself again, then end the proxy."""
        self._repoint(lab, self.port, lab.plan.s3_port(self.region))
        with contextlib.suppress(OSError, ValueError):
            pid, created = (folder / "proxy.pid").read_text().split()
            found = Identity(int(pid), float(created)).process()
            if found is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found.pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(found.pid, 0)

    def _repoint(self, lab: Lab, before: int, after: int) -> None:
        path = lab.plan.inventory
        text = path.read_text().replace(f"http://127.0.0.1:{before}\n", f"http://127.0.0.1:{after}\n")
        fresh = path.with_suffix(".yaml.new")
        fresh.write_text(text)
        fresh.replace(path)
