"""One table out of a restored copy, and into an empty database: what is handed back after an accidental delete."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.drill.step import Outcome
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.postgres.server import Tools, explain
from ccobs_ops.core.process import ProcessError, environment, run
from ccobs_ops.core.scratch import scratch
from ccobs_ops.core.units import format_bytes

if TYPE_CHECKING:
    from ccobs_ops.core.postgres.instance import Instance

_DEADLINE_SECONDS = 12 * 3600.0
TRIAL = "ccobs_drill_table"
"""The empty database that the table is loaded into, in the copy itself."""


def extract(copy: Instance, tools: Tools, table: str, database: str, role: str) -> Outcome:
    """Dump `table` of the copy with pg_dump, load it into an empty database with pg_restore, and compare row by row.

    FAILED when the copy has no such table, it cannot be loaded, or what was loaded differs. Constraints and indexes are left
    out: a foreign key would need the other tables.
    """
    import psycopg  # noqa: PLC0415

    where = [f"--host={copy.folder}", f"--username={role}", "--no-password"]
    schema, _, name = table.partition(".")
    try:
        with scratch("table") as folder:
            file = folder / "table.dump"
            run(
                [
                    tools["pg_dump"],
                    *where,
                    "--format=custom",
                    f"--table={table}",
                    f"--dbname={database}",
                    f"--file={file}",
                ],
                deadline=_DEADLINE_SECONDS,
                env=environment(),
            )
            size = file.stat().st_size
            with copy.connect("postgres") as connection:
                connection.execute(f"drop database if exists {TRIAL}")
                connection.execute(f"create database {TRIAL} template template0")
            with copy.connect(TRIAL) as connection:
                from psycopg import sql  # noqa: PLC0415

                connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
            run(
                [
                    tools["pg_restore"],
                    *where,
                    "--no-owner",
                    "--no-privileges",
                    "--section=pre-data",
                    "--section=data",
                    "--exit-on-error",
                    f"--dbname={TRIAL}",
                    file,
                ],
                deadline=_DEADLINE_SECONDS,
                env=environment(),
            )
        before, after = (_fingerprint(copy, each, schema, name) for each in (database, TRIAL))
        with copy.connect("postgres") as connection:
            connection.execute(f"drop database {TRIAL}")
    except ProcessError as error:
        lines = error.tail.strip().splitlines()
        return Outcome(Verdict.FAILED, f"{table}: {lines[-1] if lines else error.message}")
    except psycopg.Error as error:
        return Outcome(Verdict.FAILED, f"{table}: {explain(error)}")
    if before != after:
        return Outcome(
            Verdict.FAILED, f"{table}: {after[0]} rows were loaded, {before[0]} were dumped, or they differ"
        )
    return Outcome(
        Verdict.PASSED, f"{table}: {before[0]} rows dumped ({format_bytes(size)}), loaded and compared"
    )


def _fingerprint(copy: Instance, database: str, schema: str, name: str) -> tuple[int, str]:
    """How many rows, and a digest of them all that does not depend on their order."""
    from psycopg import sql  # noqa: PLC0415

    query = sql.SQL(
        "select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text from {} t"
    ).format(sql.Identifier(schema, name))
    with copy.connect(database) as connection:
        row: Any = connection.execute(query).fetchone()
    return row[0], hashlib.sha256(row[1].encode()).hexdigest()
