"""Exports of many rows a side: ours beside one naive full outer join in DuckDB with the same bound on memory."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.postgres.measure import measure
from ccobs_ops.core.errors import OpsError

MEMORY = 3_000_000_000
LIMIT = 4_000_000_000
_EVERY = 1_000_003


def write(path: Path, rows: int, *, replica: bool) -> None:
    """An export of `rows` keys as S3 Inventory writes it, made by DuckDB; the replica lacks some and differs in some."""
    import duckdb

    key = "'conversations/' || lpad(CAST(i // 50000 AS VARCHAR), 6, '0') || '/' || lpad(CAST(i AS VARCHAR), 12, '0')"
    size = (
        f"10000 + (i * 7919) % 90000 + {f'CASE WHEN i % {_EVERY} = 17 THEN 1 ELSE 0 END' if replica else '0'}"
    )
    gone = f" WHERE i % {_EVERY} <> 5" if replica else ""
    connection = duckdb.connect(config={"memory_limit": "2GB", "preserve_insertion_order": "false"})
    connection.execute(
        f"COPY (SELECT 'b' AS bucket, {key} AS key, {size} AS size, TIMESTAMP '2026-01-02 03:04:05' AS last_modified_date,"
        f" md5(CAST(i AS VARCHAR)) AS e_tag, 'STANDARD' AS storage_class FROM range({rows}) t(i){gone})"
        f" TO '{path}' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 200000)"
    )
    connection.close()


def ours(folder: Path) -> None:
    """The product's own join, and the differences it finds."""
    from datetime import UTC, datetime

    from ccobs_ops.core.replication.exports import Engine, join
    from ccobs_ops.core.replication.exports_files import Export, relation
    from ccobs_ops.inventory_replication import ReplicationPair

    pair = ReplicationPair(source="us", replica="eu")
    at = datetime.now(UTC)
    sides = [
        Export(relation([str(folder / f"{name}.parquet")], "parquet", (), "", "", pair), at, name)
        for name in ("source", "replica")
    ]
    work = folder / "work"
    work.mkdir()
    engine = Engine(work, MEMORY)
    join(engine, pair, *sides)
    print(
        json.dumps(engine.run("SELECT kind, count(*) FROM difference GROUP BY kind ORDER BY kind").fetchall())
    )
    engine.close()


def naive(folder: Path) -> None:
    """One full outer join of everything."""
    import duckdb

    connection = duckdb.connect(
        config={"memory_limit": f"{MEMORY // 1_000_000}MB", "temp_directory": str(folder / "spill")}
    )
    found = connection.execute(
        "SELECT CASE WHEN r.key IS NULL THEN 'missing' WHEN s.key IS NULL THEN 'only_in_replica' ELSE 'size_mismatch' END"
        f" AS kind, count(*) FROM '{folder}/source.parquet' s FULL OUTER JOIN '{folder}/replica.parquet' r USING (key)"
        " WHERE s.key IS NULL OR r.key IS NULL OR s.size <> r.size OR s.e_tag <> r.e_tag GROUP BY 1 ORDER BY 1"
    ).fetchall()
    print(json.dumps(found))


def measure_exports(folder: Path, rows: int, *, write_only: bool = False) -> dict[str, Any]:
    """Write both exports and measure both ways of comparing them."""
    began = time.monotonic()
    folder = folder / f"exports-{rows}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("source", "replica"):
        if not (folder / f"{name}.parquet").exists():
            write(folder / f"{name}.new", rows, replica=name == "replica")
            (folder / f"{name}.new").rename(folder / f"{name}.parquet")
    size = sum((folder / f"{name}.parquet").stat().st_size for name in ("source", "replica"))
    print(
        f"{rows:,} rows a side, {size / 2**30:.1f} GiB of Parquet, written in {time.monotonic() - began:.0f} s",
        flush=True,
    )
    expected = [
        ["missing", sum(1 for _ in range(5, rows, _EVERY))],
        ["size_mismatch", sum(1 for _ in range(17, rows, _EVERY))],
    ]
    results: dict[str, Any] = {"rows": rows, "parquet_bytes": size, "tools": {}}
    for tool in () if write_only else ("ours", "naive"):
        place = Path(tempfile.mkdtemp(dir=folder, prefix=tool))
        for name in ("source", "replica"):
            (place / f"{name}.parquet").symlink_to(folder / f"{name}.parquet")
        try:
            outcome = measure(
                [sys.executable, "-m", "bench.replication.exports", tool, place],
                scratch=place,
                cwd=Path.cwd(),
                env={"PYTHONPATH": str(Path.cwd())},
            )
        except OpsError as error:
            results["tools"][tool] = {"problem": str(error)}
            print(f"  {tool:<8} {str(error).splitlines()[-1][:150]}", flush=True)
            continue
        shutil.rmtree(place)
        usage = outcome.usage
        right = json.loads(outcome.stdout) == expected
        told = "right" if right else f"wrong: {outcome.stdout.strip()}"
        print(
            f"  {tool:<8} {usage.wall_seconds:6.1f} s  {usage.own_peak_bytes / 1e9:5.2f} GB  {told}",
            flush=True,
        )
        results["tools"][tool] = usage.to_json() | {
            "right": right,
            "within_limit": usage.own_peak_bytes < LIMIT,
        }
    return results


if __name__ == "__main__":
    {"ours": ours, "naive": naive}[sys.argv[1]](Path(sys.argv[2]))
