"""Talking to a PostgreSQL cluster and finding the tools that fit it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.cluster import ArchivedCluster
from ccobs_ops.core.errors import OpsError, UnknownError, UsageError
from ccobs_ops.core.process import environment, run
from ccobs_ops.inventory import Inventory, Postgres

if TYPE_CHECKING:
    import psycopg

CONNECT_SECONDS = 10
_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a running cluster says of itself. `version` as `18.6`; `segment_size` of its WAL in bytes."""

    version: str
    system_identifier: str
    segment_size: int
    in_recovery: bool
    commit_timestamps: bool
    archive_mode: str
    data_checksums: bool
    slot_limit_bytes: int | None
    summarize_wal: bool

    @property
    def major(self) -> int:
        """The major version."""
        return int(self.version.split(".")[0])


class Cluster(ArchivedCluster[Postgres]):
    """One PostgreSQL cluster of the inventory: how to reach it, and its tools. Raises UsageError when there is none."""

    def __init__(self, inventory: Inventory, name: str) -> None:
        super().__init__(inventory, name, inventory.postgres, noun="postgres", kind="PostgreSQL")
        self._tools: dict[int, Tools] = {}

    @property
    def slot(self) -> str:
        """The replication slot of the agent."""
        return self.config.archive.slot or f"ccobs_{self.name}"

    @property
    def spool(self) -> Path:
        """Where pg_receivewal writes before the agent ships."""
        configured = self.config.archive.spool
        return self.inventory.resolve(configured) if configured else self.state / "spool"

    def client_environment(self) -> dict[str, str]:
        """Environment for PostgreSQL's client programs: the password goes here and never on a command line."""
        extra = {"PGCONNECT_TIMEOUT": str(CONNECT_SECONDS), "PGAPPNAME": "ccobs-ops"}
        if self.password is not None:
            extra["PGPASSWORD"] = self.password
        return environment(extra)

    @contextmanager
    def connect(
        self,
        *,
        database: str | None = None,
        autocommit: bool = True,
        options: Mapping[str, str] | None = None,
    ) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A connection to production for the length of the block; raises UnknownError when there is none to be had."""
        import psycopg  # noqa: PLC0415

        settings: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, "application_name": "ccobs-ops"}
        settings["client_encoding"] = "utf8"  # SQL_ASCII databases would answer in bytes
        settings |= {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
        if self.password is not None:
            settings["password"] = self.password
        if database is not None:
            settings["dbname"] = database
        chosen = {"statement_timeout": "60s", "lock_timeout": "10s", "timezone": "UTC"} | dict(options or {})
        settings["options"] = " ".join(f"-c {name}={value}" for name, value in chosen.items())
        try:
            connection = psycopg.connect(self.config.dsn, autocommit=autocommit, **settings)
        except psycopg.Error as error:
            raise UnknownError(
                f"{self.target} cannot be reached: {_first_line(error)}",
                hint="see whether the server runs, and whether dsn and password in the inventory are right",
            ) from error
        try:
            yield connection
        finally:
            connection.close()

    def facts(self) -> ServerFacts:
        """Ask the running cluster about itself."""
        import psycopg  # noqa: PLC0415

        with self.connect() as connection:
            try:
                row = connection.execute(_FACTS).fetchone()
            except psycopg.Error as error:
                raise UnknownError(f"{self.target} does not answer: {_first_line(error)}") from error
        assert row is not None
        return ServerFacts(
            version=row[0].split()[0],
            system_identifier=str(row[1]),
            segment_size=int(row[2]),
            in_recovery=row[3],
            commit_timestamps=row[4] == "on",
            archive_mode=row[5],
            data_checksums=row[6] == "on",
            slot_limit_bytes=None if int(row[7]) < 0 else int(row[7]) * 1024 * 1024,
            summarize_wal=row[8] == "on",
        )

    def tools(self, major: int) -> Tools:
        """PostgreSQL's own programs of version `major`; raises UsageError naming what was found instead."""
        if major not in self._tools:
            self._tools[major] = Tools.find(self.config.bin_dir, major)
        return self._tools[major]


_FACTS = """
select current_setting('server_version'), (select system_identifier from pg_control_system()),
       (select setting::bigint from pg_settings where name = 'wal_segment_size'), pg_is_in_recovery(),
       current_setting('track_commit_timestamp'), current_setting('archive_mode'), current_setting('data_checksums'),
       (select setting::bigint from pg_settings where name = 'max_slot_wal_keep_size'),
       coalesce(current_setting('summarize_wal', true), 'off')
"""


@dataclass(frozen=True, slots=True)
class Tools:
    """A folder with PostgreSQL's programs, known to be of one major version."""

    folder: Path
    major: int

    @classmethod
    def find(cls, folder: str | None, major: int) -> Tools:
        """Programs of version `major`: in `folder` if named, else Debian's place, else PATH."""
        if folder is not None:
            candidates = [Path(folder).expanduser()]
        else:
            candidates = [_DEBIAN / str(major) / "bin"]
            on_path = shutil.which("pg_basebackup")
            if on_path is not None:
                candidates.append(Path(on_path).resolve().parent)
        seen: list[str] = []
        for candidate in candidates:
            program = candidate / "pg_basebackup"
            if not os.access(program, os.X_OK):
                seen.append(f"{candidate}: no pg_basebackup")
                continue
            found = run([program, "--version"], deadline=10).stdout
            match = re.search(r"\(PostgreSQL\) (\d+)", found)
            if match and int(match[1]) == major:
                return cls(candidate, major)
            seen.append(f"{candidate}: version {match[1] if match else 'unknown'}")
        raise UsageError(
            f"the tools of PostgreSQL {major} are needed, and were not found ({'; '.join(seen)})",
            hint=f"install the client and server programs of PostgreSQL {major} and name their folder as bin_dir",
        )

    def __getitem__(self, program: str) -> Path:
        return self.folder / program

    def supports(self, program: str, option: str) -> bool:
        """Whether `program --help` knows `option`."""
        return option in run([self[program], "--help"], deadline=10).stdout


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def explain(error: BaseException) -> str:
    """One line for a report, whatever the error is."""
    return error.message if isinstance(error, OpsError) else _first_line(error)
