"""pgBackRest, which refuses PostgreSQL 18 in the version that Debian has: on a PostgreSQL 15 of its own, same data.

It speaks to the same store as everybody else, by a second S3 gateway with TLS in front of it, since pgBackRest knows no
plain HTTP. It copies files from the data directory itself; the server's part in the work is smaller than with a base
backup that is streamed. Its restore checks every file's SHA-1.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from bench.postgres.contender import Result
from bench.postgres.estate import DATABASE, LOAD_SECONDS, Estate, free_port, size_of
from bench.postgres.measure import Usage, cpu_of, measure
from ccobs_ops.core.errors import OpsError
from ccobs_ops.core.process import Child, User, environment, launch, run
from ccobs_ops.lab import wheels
from ccobs_ops.lab.plan import BUCKET
from ccobs_ops.lab.ports import free_base

POSTGRES = Path("/usr/lib/postgresql/15/bin")
STANZA = "bench"
READY_SECONDS = 30.0


class PgBackRest:
    """pgBackRest with a process a core, zstd level 3 as ours, and small files bundled."""

    name = "pgBackRest (PostgreSQL 15)"
    proves = "SHA-1 of every file, fsync"

    def __init__(self, estate: Estate) -> None:
        missing = [
            program
            for program in ("pgbackrest", "openssl", str(POSTGRES / "postgres"))
            if shutil.which(program) is None
        ]
        if missing:
            raise OpsError(
                f"not installed: {', '.join(missing)}",
                hint="apt-get install -y --no-install-recommends pgbackrest postgresql-15",
            )
        self._estate = estate
        self._user = User.named("postgres") if os.geteuid() == 0 else None
        self._home = estate.scratch.parent / "pgbackrest"
        self._data = self._home / "data"
        self._config = self._home / "pgbackrest.conf"
        self._port = free_port()
        self._s3_port = free_base((0, 10_000))
        self._children: list[subprocess.Popen[bytes]] = []
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def backup(self) -> Result:
        """A full backup; the earlier one expires by repo1-retention-full=1."""
        usage = self._run("backup", "--type=full")[1]
        info = json.loads(self._run("info", "--output=json")[0])
        size = info[0]["backup"][-1]["info"]["repository"]["delta"]
        return Result(usage, size)

    def restore(self, to: Path) -> Result:
        """Into another folder than the server's."""
        to.mkdir(mode=0o700)
        self._own(to)
        return Result(self._run("restore", f"--pg1-path={to}")[1])

    def data_bytes(self) -> int:
        """Its own server's: the same pgbench data, without the lab's small database."""
        return size_of(self._data)

    def close(self) -> None:
        """End the server and the gateway, remove the folder."""
        for child in reversed(self._children):
            Child(child, ["server"]).stop(grace=30)
        self._children.clear()
        for socket in Path("/tmp").glob(f"seaweedfs-s3-*{self._s3_port}.sock"):
            socket.unlink(missing_ok=True)
        shutil.rmtree(self._home, ignore_errors=True)

    # -- its server, its gateway, its configuration ------------------------------------------------------------------

    def _prepare(self) -> None:
        self._home.mkdir(mode=0o700)
        for name in ("log", "lock", "spool"):
            (self._home / name).mkdir(mode=0o700)
            self._own(self._home / name)
        self._own(self._home)
        self._gateway()
        self._write_config()
        self._server()
        self._run("stanza-create")
        self._psql(
            f"alter system set archive_command = 'pgbackrest --config={self._config} --stanza={STANZA} archive-push %p'"
        )
        self._psql("select pg_reload_conf()")

    def _gateway(self) -> None:
        plan = self._estate.lab.plan
        key, certificate = self._estate.scratch / "tls.key", self._estate.scratch / "tls.crt"
        run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=127.0.0.1",
                "-keyout",
                key,
                "-out",
                certificate,
            ],
            deadline=30,
        )
        argv = [
            wheels.weed(),
            "s3",
            f"-filer=127.0.0.1:{plan.filer_port('us')}",
            "-ip.bind=127.0.0.1",
            f"-port={self._s3_port}",
            "-port.iceberg=0",
            "-port.lance=0",
            f"-config={plan.secret_file('s3-us.json')}",
            f"-cert.file={certificate}",
            f"-key.file={key}",
        ]
        with (self._estate.scratch / "gateway.log").open("wb") as log:
            self._children.append(
                launch(argv, env=plan.environment(), cwd=self._estate.scratch, stdout=log, stderr=log)
            )
        trusting = ssl.create_default_context(cafile=str(certificate))
        trusting.check_hostname = False
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
        )
        self._await(
            lambda: opener.open(f"https://127.0.0.1:{self._s3_port}/healthz", timeout=2), "S3 gateway"
        )

    def _write_config(self) -> None:
        aws = self._estate.aws()
        settings = {
            "repo1-type": "s3",
            "repo1-path": "/pgbackrest",
            "repo1-s3-bucket": BUCKET,
            "repo1-s3-region": "us-east-1",
            "repo1-s3-endpoint": "127.0.0.1",
            "repo1-storage-port": self._s3_port,
            "repo1-storage-verify-tls": "n",
            "repo1-s3-uri-style": "path",
            "repo1-s3-key": aws["AWS_ACCESS_KEY_ID"],
            "repo1-s3-key-secret": aws["AWS_SECRET_ACCESS_KEY"],
            "repo1-retention-full": 1,
            "repo1-bundle": "y",
            "compress-type": "zst",
            "compress-level": 3,
            "process-max": os.cpu_count() or 1,
            "start-fast": "y",
            "log-level-console": "warn",
            "log-path": self._home / "log",
            "lock-path": self._home / "lock",
            "spool-path": self._home / "spool",
        }
        stanza = {"pg1-path": self._data, "pg1-port": self._port, "pg1-socket-path": self._home}
        text = "[global]\n" + "".join(f"{key}={value}\n" for key, value in settings.items())
        text += f"\n[{STANZA}]\n" + "".join(f"{key}={value}\n" for key, value in stanza.items())
        self._config.touch(mode=0o600)
        self._config.write_text(text)
        self._own(self._config)

    def _server(self) -> None:
        own = environment({"HOME": str(self._home)})
        run(
            [
                POSTGRES / "initdb",
                "-D",
                self._data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "--data-checksums",
                "--no-sync",
                "--locale=C.UTF-8",
            ],
            deadline=60,
            user=self._user,
            env=own,
        )
        settings = {
            "port": self._port,
            "listen_addresses": "",
            "unix_socket_directories": self._home,
            "archive_mode": "on",
            "archive_command": "true",
            "shared_buffers": "64MB",
            "max_wal_size": "2GB",
        }
        argv: list[str | Path] = [POSTGRES / "postgres", "-D", self._data]
        argv += [f"--{key}={value}" for key, value in settings.items() if key != "archive_command"]
        with (self._data / "postgresql.auto.conf").open("a") as file:
            file.write("archive_command = 'true'\n")
        with (self._estate.scratch / "postgres15.log").open("wb") as log:
            self._children.append(launch(argv, env=own, user=self._user, stdout=log, stderr=log))
        self._await(lambda: self._psql("select 1"), "PostgreSQL 15")
        self._psql(f"create database {DATABASE}")
        run(
            [POSTGRES / "pgbench", "-i", "-q", "-s", str(self._estate.scale), *self._where(), DATABASE],
            deadline=LOAD_SECONDS,
        )
        self._psql("checkpoint")

    def _psql(self, statement: str) -> None:
        run([POSTGRES / "psql", "-qAtX", *self._where(), "-c", statement, "postgres"], deadline=600)

    def _where(self) -> list[str]:
        return ["-h", str(self._home), "-p", str(self._port), "-U", "postgres"]

    def _await(self, asks: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            with contextlib.suppress(OSError, OpsError):
                asks()
                return
            if time.monotonic() > deadline:
                raise OpsError(f"{what} did not answer within {READY_SECONDS:.0f} s")
            time.sleep(0.2)

    def _own(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user.uid, self._user.gid)

    def _servers_cpu(self) -> float:
        store = self._estate.lab.pid("us")
        return cpu_of([*([store] if store else []), *(child.pid for child in self._children)])

    def _run(self, command: str, *options: str) -> tuple[str, Usage]:
        done = measure(
            ["pgbackrest", f"--config={self._config}", f"--stanza={STANZA}", *options, command],
            scratch=self._estate.scratch,
            cwd=Path("/"),
            env={"HOME": str(self._home)},
            user=self._user,
            servers=self._servers_cpu,
        )
        return done.stdout, done.usage
