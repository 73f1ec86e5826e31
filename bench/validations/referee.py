"""A second restore to the same position by nothing but zstd, tar and PostgreSQL, to see whether a PASSED was earned.

It uses the archive's documented layout and none of the product's restore, plan or proof.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import zstandard

from bench.validations.archive import SEGMENT_BYTES, Backup, Bucket, Contents
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.process import environment, run, spawn
from ccobs_ops.lab import Lab

READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the referee's own copy holds at the position."""

    witness: frozenset[int]
    canaries: int
    last_canary_at: datetime | None


def restore_to(lab: Lab, bucket: Bucket, contents: Contents, lsn: int, timeline: int) -> Seen:
    """Restore to just before the record at `lsn` and look.

    Raises OpsError when PostgreSQL does not get there.
    """
    chosen = max((b for b in contents.backups if b.stop_lsn <= lsn), key=lambda b: b.stop_lsn)
    folder = Path(tempfile.mkdtemp(prefix="ccobs-referee-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        data = _base(lab, bucket, contents.chain(chosen), folder)
        _wal(bucket, contents, chosen, lsn, folder / "wal")
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": folder / "socket",
            "archive_mode": "off",
            "hot_standby": "on",
            "restore_command": f"cp {folder}/wal/%f %p",
            "recovery_target_lsn": f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}",
            "recovery_target_inclusive": "off",
            "recovery_target_action": "pause",
            "recovery_target_timeline": timeline,
        }
        (folder / "socket").mkdir(mode=0o700)
        (data / "recovery.signal").touch()
        _give(lab, folder)
        with _running(lab, data, settings, folder / "log") as port:
            return _look(lab, folder / "socket", port)
    finally:
        shutil.rmtree(folder)


def _base(lab: Lab, bucket: Bucket, links: list[Backup], folder: Path) -> Path:
    unpacked = []
    for number, link in enumerate(links):
        to = folder / f"link-{number}"
        to.mkdir(mode=0o700)
        packed = io.BytesIO(b"".join(bucket.get(part) for part in link.parts))
        stream = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            tar.extractall(to, filter="data")
        run([lab.plan.bin_dir / "pg_verifybackup", "-q", "-n", to], deadline=300)
        unpacked.append(to)
    if len(unpacked) == 1:
        return unpacked[0]
    data = folder / "data"
    run([lab.plan.bin_dir / "pg_combinebackup", *unpacked, "-o", data], deadline=300)
    return data


def _wal(bucket: Bucket, contents: Contents, backup: Backup, lsn: int, folder: Path) -> None:
    folder.mkdir()
    first, last = backup.start_lsn // SEGMENT_BYTES, lsn // SEGMENT_BYTES + 1
    for name, key in {**contents.partial, **contents.finished}.items():
        if first <= int(name[8:16], 16) * 256 + int(name[16:], 16) <= last:
            path = folder / name
            path.write_bytes(_unpacked(bucket.get(key)).rstrip(b"\0"))
            os.truncate(path, SEGMENT_BYTES)
    for name, key in contents.histories.items():
        (folder / name).write_bytes(_unpacked(bucket.get(key)))


def _unpacked(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()


def _give(lab: Lab, folder: Path) -> None:
    user = lab.plan.user
    if user is None:
        return
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(root, name), user.uid, user.gid, follow_symlinks=False)


@contextlib.contextmanager
def _running(lab: Lab, data: Path, settings: dict[str, Any], log: Path) -> Iterator[int]:
    port = lab.plan.ports["postgres"]  # only a name for the socket here
    argv: list[str | Path] = [lab.plan.bin_dir / "postgres", "-D", data]
    argv += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    with (
        log.open("wb") as file,
        spawn(argv, env=environment(user=lab.plan.user), user=lab.plan.user, cwd=data, stderr=file) as child,
    ):
        deadline = time.monotonic() + READY_SECONDS
        while True:
            if child.poll() is not None or time.monotonic() > deadline:
                raise OpsError(
                    f"the referee's server did not get there:\n{log.read_text(errors='replace')[-1500:]}"
                )
            with (
                contextlib.suppress(psycopg.OperationalError),
                _connect(lab, Path(settings["unix_socket_directories"]), port) as c,
            ):
                if c.execute("select pg_get_wal_replay_pause_state()").fetchone() == ("paused",):
                    break
            time.sleep(0.1)
        yield port


def _look(lab: Lab, socket: Path, port: int) -> Seen:
    with _connect(lab, socket, port) as connection:
        rows = connection.execute("select id from witness").fetchall()
        row = connection.execute("select count(*), max(written_at) from ccobs.canary").fetchone()
        assert row is not None
        return Seen(frozenset(number for (number,) in rows), row[0], row[1])


def _connect(lab: Lab, socket: Path, port: int) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=str(socket),
        port=port,
        user="postgres",
        password=lab.plan.secret("superuser_password"),
        dbname="observatory",
        connect_timeout=5,
    )
