"""One S3 region: a SeaweedFS cluster in one process, with one read-write and one read-only identity."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import IO

from ccobs_ops.core import process
from ccobs_ops.lab import wheels
from ccobs_ops.lab.artifacts import seed_artifacts
from ccobs_ops.lab.plan import (
    ARTIFACTS,
    BUCKET,
    PROBE_BUCKET,
    SEAWEED_OFFSETS,
    STATE_BUCKET,
    VAULT_BUCKET,
    Plan,
    write_private,
)
from ccobs_ops.lab.s3 import client
from ccobs_ops.lab.services.base import Service

MEMORY = {"us": {"GOMEMLIMIT": "1GiB"}, "eu": {"GOMEMLIMIT": "250MiB", "GOGC": "50"}}
"""Bounds. Near its bound Go collects garbage all the time, a tenth of a core while idle: `eu` is the slower region, so that
a replicator has something on its way when it is killed.
"""


class Seaweed(Service):
    """The region `name`."""

    stop_seconds = 1.0
    """Its own graceful stop waits 15 s for streams that never end. Killed, it keeps all that it answered for: the
    kernel holds the written pages."""

    def __init__(self, name: str) -> None:
        self.name = name

    def address(self, plan: Plan) -> str:
        """The S3 endpoint."""
        return f"http://127.0.0.1:{plan.s3_port(self.name)}"

    def prepare(self, plan: Plan) -> None:
        """Its folder, its identities, and one volume a bucket, which is enough here and starts faster."""
        folder = self._folder(plan)
        folder.mkdir(mode=0o700)
        (folder / "data").mkdir()
        (folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        identities = [
            ("operator", "", ["Admin", "Read", "Write", "List", "Tagging"]),
            ("reader", "read_only_", ["Read", "List"]),
            ("terraform", "terraform_", ["Admin", "Read", "Write", "List", "Tagging"]),
        ]
        document = {
            "identities": [
                {
                    "name": name,
                    "credentials": [
                        {
                            "accessKey": plan.secret(f"{self.name}_{right}access_key"),
                            "secretKey": plan.secret(f"{self.name}_{right}secret_key"),
                        }
                    ],
                    "actions": actions,
                }
                for name, right, actions in identities
            ]
        }
        write_private(plan.secret_file(f"s3-{self.name}.json"), json.dumps(document, indent=2))

    def start(self, plan: Plan, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Master, volume server, filer and S3 gateway in one process.

        The two ports that are 0 and the socket in its own folder keep two regions apart; telemetry is off: a lab talks
        to nobody.
        """
        base, folder = plan.ports[self.name], self._folder(plan)
        arguments = [
            "-v=0",
            "server",
            f"-dir={folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={base}",
            f"-volume.port={base + 1}",
            "-filer",
            f"-filer.port={base + 2}",
            "-s3",
            f"-s3.port={base + 3}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={plan.secret_file(f's3-{self.name}.json')}",
            "-master.volumeSizeLimitMB=256",
            "-volume.max=0",
            "-master.electionTimeout=1s",
            "-master.volumePreallocate=false",
            "-master.telemetry=false",
            "-volume.preStopSeconds=0",
            "-s3.concurrentUploadLimitMB=64",
            "-filer.concurrentUploadLimitMB=64",
            "-volume.concurrentUploadLimitMB=64",
        ]
        return process.launch(
            [wheels.weed(), *arguments],
            env=plan.environment(MEMORY[self.name] | {"HOME": str(folder)}),
            cwd=folder,
            stdout=log,
            stderr=log,
        )

    def settle(self, plan: Plan) -> str:
        """The buckets for backups and artifacts, and one of the lab's own with an object to read."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        if not self._has_volume_server(plan):
            return "its volume server has not joined yet"
        s3 = client(plan, self.name)
        try:
            existing = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
            for bucket in (BUCKET, ARTIFACTS, PROBE_BUCKET, STATE_BUCKET):
                if bucket not in existing:
                    s3.create_bucket(Bucket=bucket)
            if self.name == "eu" and VAULT_BUCKET not in existing:
                s3.create_bucket(Bucket=VAULT_BUCKET, ObjectLockEnabledForBucket=True)
            if ARTIFACTS not in existing:
                s3.put_bucket_versioning(Bucket=ARTIFACTS, VersioningConfiguration={"Status": "Enabled"})
                if self.name == "us":
                    seed_artifacts(s3, plan.seed)
            if not s3.list_objects_v2(Bucket=PROBE_BUCKET, Prefix=ready_key(self.name)).get("KeyCount"):
                s3.put_object(Bucket=PROBE_BUCKET, Key=ready_key(self.name), Body=b"ready\n")
        except (BotoCoreError, ClientError) as error:
            return f"{self.address(plan)} takes no writes yet: {_said(error)}"
        return ""

    def probe(self, plan: Plan) -> str:
        """A real GET with the read-only identity: the health page answers long before reads do."""
        return can_read(plan, self.name, ready_key(self.name))

    def tidy(self, plan: Plan) -> None:
        """SeaweedFS keeps unix sockets in /tmp, named by port."""
        for port in (plan.ports[self.name] + offset for offset in SEAWEED_OFFSETS):
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink(missing_ok=True)

    def folders(self, plan: Plan) -> tuple[Path, ...]:
        """All that it stores."""
        return (self._folder(plan),)

    def _has_volume_server(self, plan: Plan) -> bool:
        """Whether anything can be stored yet; a PUT before that is retried inside the server for seconds."""
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"http://127.0.0.1:{plan.ports[self.name]}/dir/status", timeout=2
            ) as answer:
                return json.load(answer)["Topology"]["Max"] > 0
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _folder(self, plan: Plan) -> Path:
        return plan.directory / f"s3-{self.name}"


def ready_key(region: str) -> str:
    """The object that was written in `region` when it was set up."""
    return f"ready/{region}"


def can_read(plan: Plan, region: str, key: str) -> str:
    """Read `key` of the lab's own bucket in `region`; "" when that works, else why not."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        body = client(plan, region, read_only=True).get_object(Bucket=PROBE_BUCKET, Key=key)["Body"].read()
    except (BotoCoreError, ClientError) as error:
        return f"s3://{PROBE_BUCKET}/{key} cannot be read in {region}: {_said(error)}"
    return "" if body == b"ready\n" else f"s3://{PROBE_BUCKET}/{key} holds other bytes in {region}"


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
