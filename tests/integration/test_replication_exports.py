"""Exports of both sides are compared in the same words as listings, whatever their format, and out of core."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import duckdb
import pytest

from bench.replication.rows import Row
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.replication import exports
from ccobs_ops.core.replication.exports_sql import Moments, statement
from ccobs_ops.inventory_replication import ReplicationPair, Rules
from tests.replication_support import Pair, ago, paired

COLUMNS = ["Bucket", "Key", "Size", "LastModifiedDate", "ETag", "StorageClass"]
ODD = ["a b", "a+b", "ä/ö", "a%2Fb", 'quo"te', "com,ma", "new\nline", "it's"]


def objects(count: int = 3000) -> list[Row]:
    return [Row.of(key, key.encode()) for key in (*ODD, *(f"k/{number:06d}" for number in range(count)))]


def as_csv(path: Path, rows: list[Row]) -> None:
    """As S3 Inventory writes it: gzipped, everything quoted, keys URL-encoded."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for row in rows:
        writer.writerow(["b", quote(row.key), row.bytes, row.modified, row.etag, row.storage_class])
    path.write_bytes(gzip.compress(text.getvalue().encode()))


def as_parquet(path: Path, rows: list[Row]) -> None:
    """As S3 Inventory writes it, in two files."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(
            ["b", row.key, "v2", True, False, row.bytes, row.modified, row.etag, row.storage_class]
        )
    writer.writerow(["b", "k/000001", "v1", False, False, 1, "2020-01-01", "0" * 32, "STANDARD"])
    writer.writerow(["b", "gone", "v3", True, True, "", "2026-01-01", "", ""])
    raw = path.with_suffix(".raw")
    raw.write_text(text.getvalue())
    connection = duckdb.connect()
    connection.execute(
        f"CREATE TABLE t AS SELECT * FROM read_csv('{raw}', header = false, auto_detect = false, quote = '\"', columns = {{"
        "bucket: 'VARCHAR', key: 'VARCHAR', version_id: 'VARCHAR', is_latest: 'BOOLEAN', is_delete_marker: 'BOOLEAN',"
        "size: 'BIGINT', last_modified_date: 'TIMESTAMP', e_tag: 'VARCHAR', storage_class: 'VARCHAR'})"
    )
    path.mkdir()
    connection.execute(f"COPY (SELECT * FROM t WHERE hash(key) % 2 = 0) TO '{path}/one.parquet'")
    connection.execute(f"COPY (SELECT * FROM t WHERE hash(key) % 2 = 1) TO '{path}/two.parquet'")


def damaged(rows: list[Row]) -> tuple[list[Row], set[tuple[str, str]]]:
    """A replica with one difference of each kind, and what is to be found."""
    replica = list(rows)
    replica[600] = Row(replica[600].key, 77, replica[600].etag)
    replica[700] = Row(replica[700].key, replica[700].bytes, "f" * 32)
    replica[800] = Row(replica[800].key, replica[800].bytes, "f" * 32 + "-2")
    found = {
        ("missing", "ä/ö"),
        ("missing", rows[500].key),
        ("size_mismatch", rows[600].key),
        ("content_mismatch", rows[700].key),
        ("unverifiable", rows[800].key),
        ("only_in_replica", "extra"),
    }
    replica = [row for row in replica if row.key not in ("ä/ö", rows[500].key)]
    return [*replica, Row.of("extra", b"1")], found


def seen(pair: Pair) -> set[tuple[str, str]]:
    return {(each.kind.value, each.key) for each in pair.differences()}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_exports_on_this_host(tmp_path: Path, kind: str) -> None:
    rows = objects()
    replica, expected = damaged(rows)
    source = [*rows, Row.of("young", b"1", ago(60))]
    if kind == "csv":
        as_csv(tmp_path / "s.csv.gz", source)
        as_csv(tmp_path / "r.csv.gz", replica)
        names = {"source": "s.csv.gz", "replica": "r.csv.gz", "columns": COLUMNS}
    else:
        as_parquet(tmp_path / "s", source)
        as_parquet(tmp_path / "r", replica)
        names = {"source": "s/*.parquet", "replica": "r/*.parquet"}
    with paired(tmp_path, source, replica, mode="inventory", exports=names) as pair:
        exercise = pair.compare()
        assert seen(pair) == expected | {("pending", "young")}
        assert [each.key for each in pair.differences()] == sorted(
            (key for _, key in [*expected, ("", "young")]), key=str.encode
        )
    assert exercise.verdict is Verdict.FAILED
    assert exercise.measurements["source_objects"] == len(source)
    assert exercise.measurements["rows_joined"] < 1500, "rows whose checksums agree are not joined"


def test_what_changed_since_the_exports_is_not_reported(tmp_path: Path) -> None:
    rows = objects(1000)
    replica, expected = damaged(rows)
    as_parquet(tmp_path / "s", rows)
    as_parquet(tmp_path / "r", replica)
    names = {"source": "s/*.parquet", "replica": "r/*.parquet"}
    with paired(tmp_path, rows, replica, mode="inventory", exports=names) as pair:
        pair.replica.put(Row.of("ä/ö", "ä/ö".encode()))
        exercise = pair.compare()
        assert seen(pair) == expected - {("missing", "ä/ö")}
        assert exercise.measurements["resolved"] == 1
    unreachable = Pair(tmp_path, pair.source, pair.replica, settings=pair.settings)
    exercise = unreachable.compare()
    assert seen(unreachable) == expected
    assert "not_looked_again" in {each.code for each in exercise.findings}


def test_exports_in_the_stores_are_fetched_by_their_manifest(tmp_path: Path) -> None:
    rows = objects(500)
    replica, expected = damaged([*rows[:508], *objects(1000)[508:]])
    made = datetime.now(UTC) - timedelta(hours=9)
    with paired(
        tmp_path,
        objects(1000),
        replica,
        mode="inventory",
        stores={"us": {"prefix": "live"}},
        exports={"source": "us:exports/manifest.json", "replica": "eu:exports/manifest.json"},
    ) as pair:
        below = [Row(f"live/{row.key}", row.bytes, row.etag, row.modified) for row in objects(1000)]
        pair.source.put(*below)
        for bucket, listed, base in ((pair.source, below, "live/"), (pair.replica, replica, "")):
            as_csv(tmp_path / "one.csv.gz", listed)
            body = (tmp_path / "one.csv.gz").read_bytes()
            manifest = {
                "fileFormat": "CSV",
                "fileSchema": ", ".join(COLUMNS),
                "creationTimestamp": str(int(made.timestamp() * 1000)),
                "files": [
                    {
                        "key": f"{base}exports/one.csv.gz",
                        "size": len(body),
                        "MD5checksum": hashlib.md5(body).hexdigest(),
                    }
                ],
            }
            bucket.put(Row.of(f"{base}exports/one.csv.gz", body))
            bucket.put(Row.of(f"{base}exports/manifest.json", json.dumps(manifest).encode()))
        exercise = pair.compare()
        assert seen(pair) == expected
        assert exercise.measurements["source_export_age_seconds"] == pytest.approx(9 * 3600, abs=120)
        pair.replica.put(Row.of("exports/one.csv.gz", b"torn"))
        torn = pair.compare()
    assert torn.verdict is Verdict.FAILED
    assert [each.code for each in torn.findings] == ["export_corrupt"]


def test_many_differences_are_joined_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "ROWS_AT_ONCE", 400)
    rows = objects(3000)
    as_parquet(tmp_path / "s", rows)
    as_parquet(tmp_path / "r", rows[1::2])
    names = {"source": "s/*.parquet", "replica": "r/*.parquet"}
    with paired(tmp_path, rows, rows[1::2], mode="inventory", exports=names) as pair:
        pair.compare()
        assert seen(pair) == {("missing", row.key) for row in rows[::2]}


def test_an_export_without_etags_is_refused(tmp_path: Path) -> None:
    for name in ("s", "r"):
        duckdb.execute(f"COPY (SELECT 'a' AS key, 1 AS size) TO '{tmp_path}/{name}.parquet'")
    names = {"source": "s.parquet", "replica": "r.parquet"}
    with paired(tmp_path, [], [], mode="inventory", exports=names) as pair:
        exercise = pair.compare()
        assert exercise.verdict is not Verdict.PASSED
        assert "no column for etag" in exercise.reason
        pair.settings["exports"] = {"source": "nowhere/*.parquet", "replica": "r.parquet"}
        assert pair.compare().verdict is Verdict.UNKNOWN


def test_the_generated_sql_says_the_same(tmp_path: Path) -> None:
    """It runs on DuckDB as it stands; Athena and Spark differ in one function, and are parsed by nobody here."""
    rows = objects(300)
    replica, expected = damaged([*rows, *objects(1000)[308:]])
    as_parquet(tmp_path / "s", objects(1000))
    as_parquet(tmp_path / "r", replica)
    pair = ReplicationPair(source="us", replica="eu", rules=Rules(exclude_prefixes=("com,",)))
    at = datetime.now(UTC)
    connection = duckdb.connect()
    for name in ("s", "r"):
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{tmp_path}/{name}/*.parquet')")
    written = {
        dialect: statement(
            pair,
            Moments(at, at),
            dialect=dialect,  # type: ignore[arg-type]
            source_table="s",
            replica_table="r",
        )
        for dialect in ("duckdb", "athena", "spark")
    }
    for dialect in ("duckdb", "athena"):
        found = connection.execute(written[dialect]).fetchall()
        assert {(row[1], row[0]) for row in found} == expected, dialect
    assert "to_timestamp(" in written["spark"]
    low = statement(pair, Moments(at, at), dialect="duckdb", source_table="s", replica_table="r", high="j")
    high = statement(pair, Moments(at, at), dialect="duckdb", source_table="s", replica_table="r", low="j")
    parts = [{row[0] for row in connection.execute(each).fetchall()} for each in (low, high)]
    assert parts[0] | parts[1] == {key for _, key in expected}
    assert not parts[0] & parts[1]
