"""Connect to the ledger's database and bring its schema up to date, once, whoever comes first.

SQLite: a file of mode 0600, WAL, synchronous=FULL, and BEGIN IMMEDIATE for writes, so that a writer waits for its turn
at the start of its transaction and never fails half-way. PostgreSQL: psycopg 3, with timeouts on everything.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.event import listen
from sqlalchemy.exc import SQLAlchemyError

from ccobs_ops.core.errors import UnknownError, UsageError
from ccobs_ops.core.ledger_schema import HEAD, VERSION_TABLE
from ccobs_ops.core.redaction import REDACT

BUSY_SECONDS = 30
LOCK_SECONDS = 60
_ADVISORY_KEY = 0x63636F6273  # "ccobs"
_WRITE = "ccobs_write"


class LedgerError(UnknownError):
    """The ledger could not be reached, read or written."""


def connect(url: str) -> Engine:
    """An engine on the ledger at `url`, migrated to this code's schema.

    `url` is a SQLAlchemy URL for SQLite or PostgreSQL. Raises UsageError for any other, and for a ledger that is newer
    than this code; LedgerError when it cannot be reached.
    """
    parsed = _parse(url)
    with translated(parsed):
        if parsed.get_backend_name() == "sqlite":
            return _open_sqlite(parsed)
        return _open_postgresql(parsed)


def writing(engine: Engine) -> Engine:
    """`engine`, for transactions that write."""
    return engine.execution_options(**{_WRITE: True})


_DAMAGED = ("is malformed", "is not a database")
"""What SQLite says of a file that is cut off, or another one."""


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn the database's errors into LedgerError, redacted, with what to look at."""
    try:
        yield
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()
        told = REDACT(cause[0] if cause else type(error).__name__)
        where = url.render_as_string(hide_password=True)
        if any(word in told for word in _DAMAGED):
            hint = f"{url.database} is damaged: keep it, and put a copy of the ledger in its place"
        elif url.get_backend_name() == "sqlite":
            hint = f"see whether {url.database} may be written, its disk has space, and no other process holds it"
        else:
            hint = "see whether the server answers, and whether the account may create tables and write"
        raise LedgerError(f"the ledger {where} failed: {told}", hint=hint) from error


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (SQLAlchemyError, ValueError):
        raise UsageError(
            "the ledger's URL cannot be read",
            hint="write sqlite:///ledger.db or postgresql://user@host/database",
        ) from None
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed.set(drivername="sqlite")
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise UsageError(
        f"a ledger cannot be kept in {parsed.render_as_string(hide_password=True)!r}",
        hint="write sqlite:///ledger.db or postgresql://user@host/database",
    )


def _open_sqlite(url: URL) -> Engine:
    path = Path(url.database or "")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} cannot be created: {error.strerror}",
            hint="name another place as `ledger` in the inventory, or see who owns the folder",
        ) from error
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False})
    listen(engine, "connect", _sqlite_connected)
    listen(engine, "begin", _sqlite_begin)
    try:
        with engine.connect() as connection:
            ready = _revision(connection) == HEAD and _is_wal(connection)
        if not ready:
            with _migration_lock(path):
                with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                with writing(engine).begin() as connection:
                    _migrate(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _sqlite_connected(connection: object, _record: object) -> None:
    # sqlite3 begins transactions by itself, and late; "begin" below does it instead
    connection.isolation_level = None  # pyright: ignore[reportAttributeAccessIssue]
    cursor = connection.cursor()  # pyright: ignore[reportAttributeAccessIssue]
    cursor.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return
    immediate = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _is_wal(connection: Connection) -> bool:
    return connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


@contextmanager
def _migration_lock(path: Path) -> Iterator[None]:
    # a file of its own: closing the database's file would drop SQLite's locks, and the folder may be locked by others
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise LedgerError(
                        f"another process has been migrating the ledger {path} for {LOCK_SECONDS} s",
                        hint=f"find it with: fuser {path.parent}/.{path.name}.lock",
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(lock)


def _open_postgresql(url: URL) -> Engine:
    settings: dict[str, object] = {}
    if "connect_timeout" not in url.query:
        settings["connect_timeout"] = 10
    if "application_name" not in url.query:
        settings["application_name"] = "ccobs-ops"
    if "options" not in url.query:
        settings["options"] = "-c statement_timeout=60s -c lock_timeout=60s"
    engine = sa.create_engine(url, connect_args=settings, pool_pre_ping=True, pool_timeout=BUSY_SECONDS)
    try:
        with engine.connect() as connection:
            ready = _revision(connection) == HEAD
        if not ready:
            with engine.begin() as connection:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_KEY)))
                _migrate(connection)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    revision = connection.execute(
        sa.select(sa.column("version_num")).select_from(sa.table(VERSION_TABLE))
    ).scalar()
    if revision is not None and revision > HEAD:
        raise UsageError(
            f"the ledger has schema {revision}, and this version of ccobs-ops knows schemas up to {HEAD}",
            hint="upgrade ccobs-ops here: a newer version has already written to this ledger",
        )
    return revision


def _migrate(connection: Connection) -> None:
    """Bring the schema to HEAD inside the caller's transaction; the caller holds the lock."""
    if _revision(connection) == HEAD:
        return  # somebody else was first
    from alembic import command  # noqa: PLC0415 - costs start-up time, and is rarely needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    scripts = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", scripts)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
