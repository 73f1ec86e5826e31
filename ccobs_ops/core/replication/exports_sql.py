"""The comparison of two exported listings as SQL: for DuckDB on this machine, for Athena or Spark beyond it.

One join, one classification, in the words of every other comparison. What only a request to the object can tell (tags, native
checksums, versions of one key) is not in an export and is not claimed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ccobs_ops.inventory_replication import ReplicationPair

Dialect = Literal["duckdb", "athena", "spark"]


@dataclass(frozen=True, slots=True)
class Moments:
    """When the exports were made. What was written less than the RPO before the older one may still be on its way."""

    source: datetime
    replica: datetime


def literal(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def moment(at: datetime) -> str:
    """A moment in UTC as SQL; `last_modified` is a timestamp in UTC without a zone in all three dialects."""
    return f"TIMESTAMP {literal(at.strftime('%Y-%m-%d %H:%M:%S'))}"


def _begins(column: str, prefix: str) -> str:
    """`column` begins with `prefix`; a comparison of substrings needs no escapes, unlike LIKE."""
    return f"substr({column}, 1, {len(prefix)}) = {literal(prefix)}"


def excluded(pair: ReplicationPair, key: str, storage_class: str) -> str:
    """A condition that holds for what the rules leave out."""
    rules = pair.rules
    conditions = [_begins(key, prefix) for prefix in (pair.canary.prefix, *rules.exclude_prefixes)]
    if rules.prefixes:
        conditions.append(f"NOT ({' OR '.join(_begins(key, prefix) for prefix in rules.prefixes)})")
    if rules.storage_classes:
        known = ", ".join(literal(each) for each in rules.storage_classes)
        conditions.append(f"{storage_class} NOT IN ({known})")
    return " OR ".join(conditions)


def classified(pair: ReplicationPair, moments: Moments, source: str, replica: str) -> str:
    """The join: one row a difference, from two relations with key, size, etag, last_modified and storage_class."""
    since = min(moments.source, moments.replica) - pair.rpo
    extra_since = moments.source - pair.rpo
    plain = "length(s.etag) = 32 AND length(r.etag) = 32"
    return f"""SELECT
  coalesce(s.key, r.key) AS key,
  CASE
    WHEN {excluded(pair, "coalesce(s.key, r.key)", "coalesce(s.storage_class, r.storage_class)")} THEN 'excluded_by_rule'
    WHEN s.key IS NULL AND r.last_modified > {moment(extra_since)} THEN 'pending'
    WHEN s.key IS NULL THEN 'only_in_replica'
    WHEN s.last_modified > {moment(since)} THEN 'pending'
    WHEN r.key IS NULL THEN 'missing'
    WHEN s.size <> r.size THEN 'size_mismatch'
    WHEN {plain} THEN 'content_mismatch'
    ELSE 'unverifiable'
  END AS kind,
  s.size AS source_size, s.etag AS source_etag, s.last_modified AS source_modified,
  r.size AS replica_size, r.etag AS replica_etag, r.last_modified AS replica_modified
FROM {source} s FULL OUTER JOIN {replica} r ON s.key = r.key
WHERE s.key IS NULL OR r.key IS NULL OR s.size <> r.size OR s.etag <> r.etag"""


def statement(
    pair: ReplicationPair,
    moments: Moments,
    *,
    dialect: Dialect,
    source_table: str,
    replica_table: str,
    low: str | None = None,
    high: str | None = None,
) -> str:
    """The whole comparison for an engine that has both exports as tables, of S3 Inventory's own columns.

    `low` and `high` bound the keys (low < key <= high), so that it can be run range by range.
    """
    bounds = [f"key > {literal(low)}"] if low is not None else []
    bounds += [f"key <= {literal(high)}"] if high is not None else []
    if pair.prefix:
        bounds.append(_begins("key", pair.prefix))
    modified = {
        "duckdb": "CAST(last_modified_date AS TIMESTAMP)",
        "athena": "CAST(last_modified_date AS TIMESTAMP)",
        "spark": "to_timestamp(last_modified_date)",
    }[dialect]

    def side(table: str) -> str:
        conditions = ["coalesce(is_latest, true)", "NOT coalesce(is_delete_marker, false)", *bounds]
        return (
            f"SELECT key, size, replace(e_tag, '\"', '') AS etag, {modified} AS last_modified,\n"
            f"    coalesce(storage_class, 'STANDARD') AS storage_class\n"
            f"  FROM {table}\n  WHERE {' AND '.join(conditions)}"
        )

    return (
        f"-- replication comparison; {dialect}; sizes and ETags of current objects\n"
        f"WITH source_side AS (\n  {side(source_table)}\n), replica_side AS (\n  {side(replica_table)}\n)\n"
        f"{classified(pair, moments, 'source_side', 'replica_side')}\nORDER BY key"
    )
