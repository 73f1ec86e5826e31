"""What the lab's Terraform provider manages: buckets, settings of the database, files. All on the lab's real servers."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf.iface import (
    CreateContext,
    DataSource,
    DeleteContext,
    ImportContext,
    ReadContext,
    ReadDataContext,
    Resource,
    UpdateContext,
)
from tf.schema import Attribute, Schema
from tf.types import Bool, Map, Number, String
from tf.utils import Diagnostics

from ccobs_ops.lab.state import State
from ccobs_ops.lab.terraform.s3 import Bucket, S3Error

Values = dict[str, Any]


class Estate:
    """Where the provider finds the lab: its folder, its ports, its secrets. Read anew for each call."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def crash_file(self) -> Path:
        """While this is there, reading a bucket ends the provider."""
        return self.directory / ".ccobs" / "terraform" / "provider.crash"

    def bucket(self, values: Values) -> Bucket:
        """The bucket that a resource's values name."""
        region = values["region"]
        plan = _state(self.directory).plan
        return Bucket(
            "127.0.0.1",
            plan.s3_port(region),
            {"us": "us-east-1", "eu": "eu-west-1"}[region],
            plan.secret(f"{region}_terraform_access_key"),
            plan.secret(f"{region}_terraform_secret_key"),
            values["name"],
        )

    def sql(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run a statement as the database's owner."""
        import psycopg  # noqa: PLC0415 - only roots with a database setting need it

        plan = _state(self.directory).plan
        with psycopg.connect(
            host="127.0.0.1",
            port=plan.ports["postgres"],
            user="ccobs",
            password=plan.secret("postgres_password"),
            dbname="observatory",
            connect_timeout=3,
            sslmode="disable",
            gssencmode="disable",
            autocommit=True,
        ) as connection:
            cursor = connection.execute(query, arguments or None)  # pyright: ignore[reportArgumentType, reportCallIssue]
            return cursor.fetchall() if cursor.description else []


def _state(directory: Path) -> State:
    found = State.load(directory)
    if found is None:
        raise OSError(f"there is no lab in {directory}")
    return found


@dataclass
class _Guarded(contextlib.AbstractContextManager[None]):
    """Turns an error of a server into a diagnostic: Terraform shows it, and the object counts as not read."""

    diagnostics: Diagnostics
    what: str

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        denied = isinstance(error, S3Error) and error.status in (401, 403)
        summary = "ExpiredToken: the credentials are not accepted" if denied else "the server cannot be asked"
        self.diagnostics.add_error(summary, f"{self.what}: {' '.join(str(error).split())}")
        return True


class BucketResource(Resource):
    """`lab_bucket`: versioning, retention (object lock) and tags of a bucket on the lab's S3."""

    def __init__(self, provider: Any) -> None:
        self._estate: Estate = provider.estate

    @classmethod
    def get_name(cls) -> str:
        """The type, without the provider's prefix."""
        return "bucket"

    @classmethod
    def get_schema(cls) -> Schema:
        """Its attributes."""
        return Schema(
            attributes=[
                Attribute("id", String(), computed=True),
                Attribute("name", String(), required=True, requires_replace=True),
                Attribute("region", String(), required=True, requires_replace=True),
                Attribute("versioning", Bool(), required=True),
                Attribute("retention_days", Number(), optional=True),
                Attribute("tags", Map(String()), optional=True),
                Attribute("endpoint", String(), computed=True),
            ]
        )

    def create(self, ctx: CreateContext, planned: Values) -> Values | None:
        """Create it; one that is there already is an error."""
        with _Guarded(ctx.diagnostics, f"creating bucket {planned['name']}"):
            bucket = self._estate.bucket(planned)
            bucket.create(locked=planned["retention_days"] is not None)
            self._put(bucket, planned, {})
            return self._read(bucket, planned)
        return None

    def read(self, ctx: ReadContext, current: Values) -> Values | None:
        """Its settings as they are; None when it is gone."""
        if self._estate.crash_file.exists():
            os._exit(2)
        with _Guarded(ctx.diagnostics, f"reading bucket {current['name']}"):
            bucket = self._estate.bucket(current)
            return self._read(bucket, current) if bucket.exists() else None
        return current

    def update(self, ctx: UpdateContext, current: Values, planned: Values) -> Values | None:
        """Set what differs."""
        with _Guarded(ctx.diagnostics, f"changing bucket {planned['name']}"):
            bucket = self._estate.bucket(planned)
            self._put(bucket, planned, current)
            return self._read(bucket, planned)
        return current

    def delete(self, ctx: DeleteContext, current: Values) -> None:
        """Delete it."""
        with _Guarded(ctx.diagnostics, f"deleting bucket {current['name']}"):
            self._estate.bucket(current).delete()

    def import_(self, ctx: ImportContext, id: str) -> Values | None:
        """Adopt `region/name`."""
        region, _, name = id.partition("/")
        with _Guarded(ctx.diagnostics, f"importing bucket {id}"):
            values: Values = {"region": region, "name": name}
            return self._read(self._estate.bucket(values), values)
        return None

    def _put(self, bucket: Bucket, planned: Values, current: Values) -> None:
        if planned["retention_days"] is None and planned["versioning"] != current.get("versioning", False):
            bucket.set_versioning(planned["versioning"])
        if planned["retention_days"] is not None and planned["retention_days"] != current.get(
            "retention_days"
        ):
            bucket.set_retention_days(int(planned["retention_days"]))
        if (planned["tags"] or {}) != (current.get("tags") or {}):
            bucket.set_tags(planned["tags"] or {})

    def _read(self, bucket: Bucket, known: Values) -> Values:
        return {
            "id": f"{known['region']}/{known['name']}",
            "name": known["name"],
            "region": known["region"],
            "versioning": bucket.versioning(),
            "retention_days": bucket.retention_days(),
            "tags": bucket.tags() or None,
            "endpoint": f"http://{bucket.host}:{bucket.port}",
        }


class DatabaseSettingResource(Resource):
    """`lab_database_setting`: one setting of the lab's database (`ALTER DATABASE … SET`)."""

    def __init__(self, provider: Any) -> None:
        self._estate: Estate = provider.estate

    @classmethod
    def get_name(cls) -> str:
        """The type, without the provider's prefix."""
        return "database_setting"

    @classmethod
    def get_schema(cls) -> Schema:
        """Its attributes."""
        return Schema(
            attributes=[
                Attribute("id", String(), computed=True),
                Attribute("database", String(), required=True, requires_replace=True),
                Attribute("name", String(), required=True, requires_replace=True),
                Attribute("value", String(), required=True),
            ]
        )

    def create(self, ctx: CreateContext, planned: Values) -> Values | None:
        """Set it."""
        return self._set(ctx.diagnostics, planned)

    def update(self, ctx: UpdateContext, current: Values, planned: Values) -> Values | None:
        """Set it."""
        return self._set(ctx.diagnostics, planned) or current

    def read(self, ctx: ReadContext, current: Values) -> Values | None:
        """Its value; None when the database has no such setting."""
        with _Guarded(ctx.diagnostics, f"reading setting {current['name']}"):
            rows = self._estate.sql(
                "SELECT split_part(s, '=', 2) FROM pg_db_role_setting r JOIN pg_database d ON d.oid = r.setdatabase,"
                " unnest(r.setconfig) s WHERE d.datname = %s AND r.setrole = 0 AND split_part(s, '=', 1) = %s",
                current["database"],
                current["name"],
            )
            return current | {"value": rows[0][0]} if rows else None
        return current

    def delete(self, ctx: DeleteContext, current: Values) -> None:
        """Reset it."""
        with _Guarded(ctx.diagnostics, f"resetting {current['name']}"):
            self._estate.sql(f"ALTER DATABASE {_word(current['database'])} RESET {_word(current['name'])}")

    def _set(self, diagnostics: Diagnostics, planned: Values) -> Values | None:
        with _Guarded(diagnostics, f"setting {planned['name']}"):
            value = str(planned["value"]).replace("'", "''")
            database, name = _word(planned["database"]), _word(planned["name"])
            self._estate.sql(f"ALTER DATABASE {database} SET {name} = '{value}'")
            return planned | {"id": f"{planned['database']}/{planned['name']}"}
        return None


class FileResource(Resource):
    """`lab_file`: a file in the lab's folder. Its content is sensitive, as that of a key or a password file would be."""

    def __init__(self, provider: Any) -> None:
        self._estate: Estate = provider.estate

    @classmethod
    def get_name(cls) -> str:
        """The type, without the provider's prefix."""
        return "file"

    @classmethod
    def get_schema(cls) -> Schema:
        """Its attributes."""
        return Schema(
            attributes=[
                Attribute("id", String(), computed=True),
                Attribute("path", String(), required=True, requires_replace=True),
                Attribute("content", String(), required=True, sensitive=True),
                Attribute("mode", String(), required=True),
                Attribute("modified", String(), computed=True),
            ]
        )

    def create(self, ctx: CreateContext, planned: Values) -> Values | None:
        """Write it."""
        return self._write(ctx.diagnostics, planned)

    def update(self, ctx: UpdateContext, current: Values, planned: Values) -> Values | None:
        """Write it again."""
        return self._write(ctx.diagnostics, planned) or current

    def read(self, ctx: ReadContext, current: Values) -> Values | None:
        """Its content and mode; None when it is gone."""
        with _Guarded(ctx.diagnostics, f"reading file {current['path']}"):
            path = self._path(current)
            try:
                return self._read(path, current)
            except FileNotFoundError:
                return None
        return current

    def delete(self, ctx: DeleteContext, current: Values) -> None:
        """Remove it."""
        with _Guarded(ctx.diagnostics, f"removing file {current['path']}"):
            self._path(current).unlink(missing_ok=True)

    def plan(self, ctx: Any, current: Values | None, planned: Values) -> Values:
        """A file that is written gets a new time."""
        from tf.types import Unknown  # noqa: PLC0415

        return planned | ({"modified": Unknown} if ctx.changed_fields & {"content", "mode"} else {})

    def _write(self, diagnostics: Diagnostics, planned: Values) -> Values | None:
        with _Guarded(diagnostics, f"writing file {planned['path']}"):
            path = self._path(planned)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(planned["content"])
            path.chmod(int(planned["mode"], 8))
            return self._read(path, planned)
        return None

    def _read(self, path: Path, known: Values) -> Values:
        found = path.stat()
        return {
            "id": known["path"],
            "path": known["path"],
            "content": path.read_text(),
            "mode": f"{found.st_mode & 0o7777:04o}",
            "modified": str(found.st_mtime_ns),
        }

    def _path(self, values: Values) -> Path:
        root = (self._estate.directory / "terraform" / "files").resolve()
        path = (root / values["path"]).resolve()
        if not path.is_relative_to(root):
            raise OSError(f"{values['path']} lies outside the lab's files")
        return path


class ClockSource(DataSource):
    """`lab_clock`: changes with every reading, as many data sources do; it is noise for a scan."""

    def __init__(self, provider: Any) -> None:
        self._estate: Estate = provider.estate

    @classmethod
    def get_name(cls) -> str:
        """The type, without the provider's prefix."""
        return "clock"

    @classmethod
    def get_schema(cls) -> Schema:
        """Its attribute."""
        return Schema(attributes=[Attribute("now", String(), computed=True)])

    def read(self, ctx: ReadDataContext, config: Values) -> Values | None:
        """The present moment."""
        from datetime import UTC, datetime  # noqa: PLC0415

        return {"now": datetime.now(UTC).isoformat()}


def _word(text: str) -> str:
    if not text.replace("_", "").isalnum():
        raise OSError(f"{text!r} cannot be the name of a setting or a database")
    return text
