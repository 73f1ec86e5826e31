"""What the backend itself says: who holds the state lock, and which serial the state has.

A scan takes no lock, so as not to stand in anybody's way. Known backends: local files, and S3 with a lock file or a DynamoDB
table. Of others nothing is said about locks, and Terraform is asked for the state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccobs_ops.core.redaction import REDACT
from ccobs_ops.core.terraform.runner import StateVersion

if TYPE_CHECKING:
    from ccobs_ops.core.terraform.root import Root

_SECONDS = 5
_LONGEST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that is held: its id, who took it for which operation, and when (None if it does not say)."""

    id: str
    who: str
    operation: str
    created: datetime | None

    def __str__(self) -> str:
        since = f" since {self.created:%Y-%m-%d %H:%M:%S} UTC" if self.created else ""
        return f"{self.who or 'somebody'} holds it{since} for {self.operation or 'an operation'} (lock {self.id})"


@dataclass(frozen=True, slots=True)
class Look:
    """What asking gave: `lock` if one is held; `problem` says why nobody could tell, empty where that is known."""

    lock: Lock | None = None
    problem: str = ""


def look(root: Root) -> Look:
    """Who holds the lock of `root` now. Never raises: not knowing is an answer too."""
    kind, config = _backend(root)
    if kind == "local":
        return _local(root, config)
    if kind == "s3":
        return _s3(root, config)
    return Look(problem=f"locks of the backend {kind!r} cannot be looked at")


def version(root: Root) -> StateVersion | None:
    """Serial and lineage of the state of `root` as it is now, from its first bytes; None where only Terraform can tell.

    A quarter of a second less than asking Terraform. Never raises.
    """
    kind, config = _backend(root)
    try:
        if kind == "local":
            with _local_state(root, config).open("rb") as file:
                return StateVersion.of(file.read(_LONGEST))
        if kind == "s3":
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

            try:
                answer = _client(root, config, "s3").get_object(
                    Bucket=str(config.get("bucket") or ""),
                    Key=_s3_key(root, config),
                    Range=f"bytes=0-{_LONGEST - 1}",
                )
                return StateVersion.of(answer["Body"].read(_LONGEST))
            except (BotoCoreError, ClientError):
                return None
    except OSError:
        return None
    return None


def _backend(root: Root) -> tuple[str, dict[str, Any]]:
    try:
        document = json.loads(root.backend_file.read_text())
        return str(document["backend"]["type"]), dict(document["backend"]["config"])
    except (OSError, ValueError, KeyError, TypeError):
        return "local", {}


def _local_state(root: Root, config: Mapping[str, Any]) -> Path:
    if root.config.workspace == "default":
        return root.directory / (config.get("path") or "terraform.tfstate")
    folder = root.directory / (config.get("workspace_dir") or "terraform.tfstate.d")
    return folder / root.config.workspace / "terraform.tfstate"


def _local(root: Root, config: Mapping[str, Any]) -> Look:
    state = _local_state(root, config)
    try:
        return Look(_parse((state.parent / f".{state.name}.lock.info").read_bytes()))
    except FileNotFoundError:
        return Look()
    except OSError as error:
        return Look(problem=f"the lock of {state} cannot be read: {error.strerror}")


def _s3_key(root: Root, config: Mapping[str, Any]) -> str:
    key = str(config.get("key") or "")
    if root.config.workspace == "default":
        return key
    return f"{config.get('workspace_key_prefix') or 'env:'}/{root.config.workspace}/{key}"


def _s3(root: Root, config: Mapping[str, Any]) -> Look:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    key = _s3_key(root, config)
    bucket = str(config.get("bucket") or "")
    try:
        if config.get("use_lockfile"):
            answer = _client(root, config, "s3").get_object(Bucket=bucket, Key=f"{key}.tflock")
            return Look(_parse(answer["Body"].read(_LONGEST)))
        table = config.get("dynamodb_table")
        if table:
            row = _client(root, config, "dynamodb").get_item(
                TableName=table, Key={"LockID": {"S": f"{bucket}/{key}"}}, ConsistentRead=True
            )
            info = row.get("Item", {}).get("Info", {}).get("S")
            return Look(_parse(info.encode()) if info else None)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
            return Look()
        return Look(problem=f"the lock cannot be looked at: {REDACT(str(error))}")
    except BotoCoreError as error:
        return Look(problem=f"the lock cannot be looked at: {REDACT(str(error))}")
    return Look(problem="the backend s3 is used without any lock")


def _client(root: Root, config: Mapping[str, Any], service: str) -> Any:
    """A boto3 client with the credentials and the endpoint that Terraform itself would use."""
    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    env = root.environment
    session = boto3.Session(
        aws_access_key_id=env.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=env.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=env.get("AWS_SESSION_TOKEN"),
        profile_name=config.get("profile") or env.get("AWS_PROFILE"),
        region_name=config.get("region") or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION"),
    )
    endpoints = config.get("endpoints") or {}
    named = endpoints[0] if isinstance(endpoints, list) and endpoints else endpoints
    endpoint = named.get(service) if isinstance(named, dict) else None
    return session.client(
        service,
        endpoint_url=endpoint
        or env.get(f"AWS_ENDPOINT_URL_{service.upper()}")
        or env.get("AWS_ENDPOINT_URL"),
        config=Config(
            connect_timeout=_SECONDS,
            read_timeout=_SECONDS,
            retries={"total_max_attempts": 2},
            s3={"addressing_style": "path" if config.get("use_path_style") else "auto"},
        ),
    )


def _parse(content: bytes) -> Lock:
    try:
        info = json.loads(content)
        created = datetime.fromisoformat(str(info.get("Created", ""))[:19]).replace(tzinfo=UTC)
    except (ValueError, AttributeError):
        return Lock("unknown", "", "", None)
    return Lock(str(info.get("ID", "")), str(info.get("Who", "")), str(info.get("Operation", "")), created)
