"""The files of one exported listing, and how to read them as one relation of key, size, etag, last_modified, storage_class.

S3 Inventory: a manifest.json names the files, their columns and when they were made; CSV is gzipped, without a header, and
its keys are URL-encoded; Parquet has names such as `last_modified_date` and `e_tag` (Amazon S3 user guide, "Amazon S3
Inventory"). S3 Metadata's inventory tables use the same names. DuckDB reads no ORC.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.errors import DamagedError, UnknownError, UsageError
from ccobs_ops.core.folders import private
from ccobs_ops.core.replication.exports_sql import literal
from ccobs_ops.core.storage import ObjectStore

if TYPE_CHECKING:
    from ccobs_ops.core.context import Context
    from ccobs_ops.inventory_replication import ReplicationPair

_NAMES = {
    "key": "key",
    "size": "size",
    "etag": "etag",
    "lastmodifieddate": "last_modified",
    "lastmodified": "last_modified",
    "storageclass": "storage_class",
    "islatest": "is_latest",
    "isdeletemarker": "is_delete_marker",
}


@dataclass(frozen=True, slots=True)
class Export:
    """One side: `relation` is a SELECT, `made_at` when the listing was taken, `where` is for messages."""

    relation: str
    made_at: datetime
    where: str


def export(
    ctx: Context,
    pair: ReplicationPair,
    location: str,
    store: str,
    prefix: str,
    folder: Path,
    fetched: Callable[[int], None],
) -> Export:
    """The export at `location` (a path or glob, or STORE:KEY of a manifest) of the store `store`, keys below `prefix`.

    What lies in a store is fetched to `folder` and held against the manifest's checksums. Raises UnknownError when it is
    not there or cannot be read, DamagedError when a file is not what the manifest says.
    """
    assert pair.exports is not None
    columns: Sequence[str] = pair.exports.columns
    kind: str = pair.exports.format
    where_store, colon, key = location.partition(":")
    if colon and where_store in ctx.inventory.stores:
        files, columns, kind, made_at = _fetch(ctx, where_store, key, private(folder), fetched)
    else:
        pattern = Path(ctx.inventory.path.parent, location)
        found = Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
        files = sorted(str(path) for path in found if path.is_file())
        if not files:
            raise UnknownError(
                f"there is no export at {location}", hint="name a file, a glob, or STORE:KEY of a manifest"
            )
        made_at = datetime.fromtimestamp(min(Path(file).stat().st_mtime for file in files), UTC)
        if kind == "auto":
            kind = "parquet" if all(".parquet" in Path(file).name for file in files) else "csv"
    config = ctx.inventory.stores[store]
    root = f"{config.prefix.strip('/')}/" if config.prefix.strip("/") else ""
    return Export(relation(files, kind, columns, root, prefix, pair), made_at, location)


def relation(
    files: Sequence[str], kind: str, columns: Sequence[str], root: str, prefix: str, pair: ReplicationPair
) -> str:
    """A SELECT of current objects below `root` + `prefix`, with the root taken off their keys."""
    if kind == "orc":
        raise UsageError(
            "DuckDB reads no ORC", hint="let S3 Inventory write Parquet, or run `replication sql` on Athena"
        )
    listed = "[" + ", ".join(literal(each) for each in files) + "]"
    if kind == "csv":
        if not columns:
            raise UsageError(
                "the columns of the CSV are not known",
                hint="name its manifest, or list them as `exports.columns`",
            )
        names = {_plain(name): name.strip() for name in columns}
        spelled = "{" + ", ".join(f"{literal(name.strip())}: 'VARCHAR'" for name in columns) + "}"
        table = f"read_csv({listed}, header = false, auto_detect = false, delim = ',', quote = '\"', columns = {spelled})"
        key = f"url_decode(replace({_quoted(names['key'])}, '+', ' '))"
    else:
        import duckdb  # noqa: PLC0415

        table = f"read_parquet({listed})"
        try:
            described = duckdb.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()
        except duckdb.Error as error:
            raise UnknownError(f"the export cannot be read: {str(error).splitlines()[0]}") from error
        names = {_plain(row[0]): row[0] for row in described}
        key = _quoted(names["key"]) if "key" in names else ""
    found = {ours: _quoted(names[theirs]) for theirs, ours in _NAMES.items() if theirs in names}
    for needed in ("key", "size", "etag"):
        if needed not in found:
            raise UsageError(
                f"the export has no column for {needed}: it has {', '.join(names.values())}",
                hint="let the export include size and ETag",
            )
    modified = (
        f"CAST({found['last_modified']} AS TIMESTAMP)"
        if "last_modified" in found
        else "CAST(NULL AS TIMESTAMP)"
    )
    storage = f"coalesce({found['storage_class']}, 'STANDARD')" if "storage_class" in found else "'STANDARD'"
    conditions = [f"starts_with({key}, {literal(root + prefix)})"] if root + prefix else []
    if "is_latest" in found:
        conditions.append(f"coalesce(CAST({found['is_latest']} AS BOOLEAN), true)")
    if "is_delete_marker" in found:
        conditions.append(f"NOT coalesce(CAST({found['is_delete_marker']} AS BOOLEAN), false)")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    shown = f"substr({key}, {len(root) + 1})" if root else key
    return (
        f"SELECT {shown} AS key, CAST({found['size']} AS BIGINT) AS size,"
        f" replace({found['etag']}, '\"', '') AS etag, {modified} AS last_modified, {storage} AS storage_class"
        f" FROM {table}{where}"
    )


def _plain(name: str) -> str:
    return name.strip().replace("_", "").lower()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _fetch(
    ctx: Context, store: str, key: str, folder: Path, fetched: Callable[[int], None]
) -> tuple[list[str], list[str], str, datetime]:
    """Fetch a manifest and its files; returns their paths, columns, format and when the listing was taken."""
    opened = ObjectStore.open(ctx.inventory, store, read_only=True)
    try:
        manifest: dict[str, Any] = json.loads(opened.get(key))
        kind = str(manifest["fileFormat"]).lower()
        columns = [part.strip() for part in manifest["fileSchema"].split(",")] if kind == "csv" else []
        made_at = datetime.fromtimestamp(int(manifest["creationTimestamp"]) / 1000, UTC)
        rows = [(str(row["key"]), str(row.get("MD5checksum", ""))) for row in manifest["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UnknownError(
            f"{opened.locate(key)} is no manifest of an S3 Inventory: {error!r}",
            hint="name its manifest.json",
        ) from error
    base = ctx.inventory.stores[store].prefix.strip("/")
    files: list[str] = []
    for number, (name, md5) in enumerate(rows):
        name = name.removeprefix(f"{base}/") if base else name
        path = folder / f"{number:06d}-{Path(name).name}"
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("wb") as file:
            for block in opened.stream(name):
                digest.update(block)
                file.write(block)
                fetched(len(block))
                ctx.progress.advance(len(block))
        if md5 and digest.hexdigest() != md5:
            raise DamagedError(
                f"{opened.locate(name)} is not what its manifest says: MD5 {digest.hexdigest()}, on record {md5}",
                code="export_corrupt",
                subject=opened.locate(name),
                hint="wait for the next export, or compare by listing",
            )
        files.append(str(path))
    if not files:
        raise UnknownError(
            f"{opened.locate(key)} names no files", hint="see whether S3 Inventory has finished"
        )
    return files, columns, kind, made_at
