"""What replicators say of themselves, and the contradiction with what was found.

moto stands for AWS where it serves the call (replication configuration, CloudWatch); a tiny server of canned answers
for the rest (ReplicationStatus, ECR's status, replicated automated backups, copy jobs, filer.sync's metrics).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws

from ccobs_ops.core.exercise import Recorder, Verdict, utc_now
from ccobs_ops.core.replication.native.ask import ask, contradict
from ccobs_ops.core.replication.native.backup import BackupCopies
from ccobs_ops.core.replication.native.cloudwatch import CloudWatch
from ccobs_ops.core.replication.native.ecr import EcrReplication
from ccobs_ops.core.replication.native.filer_sync import FilerSync
from ccobs_ops.core.replication.native.rds import RdsReplication
from ccobs_ops.core.replication.native.s3 import S3Replication
from ccobs_ops.core.replication.native.signal import Signal

KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)
Answer = Callable[[str, str, bytes], tuple[int, dict[str, str], str]]


@contextmanager
def fake(answer: Answer) -> Iterator[str]:
    """A server that answers every request by `answer(operation, path, body)`; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            operation = (self.headers.get("X-Amz-Target") or "").rpartition(".")[2]
            operation = operation or parse_qs(body.decode()).get("Action", [self.command])[0]
            status, headers, text = answer(operation, self.path, body)
            data = text.encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = do_any

        def log_message(self, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def aws(service: str, endpoint: str) -> Any:
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, proxies={})
    return boto3.client(service, endpoint_url=endpoint, config=config, **KEYS)


def replicated_bucket(statuses: dict[str, str]) -> Answer:
    """A bucket with one enabled rule, whose objects have these statuses."""
    rules = (
        '<ReplicationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Role>r</Role><Rule><ID>all</ID>'
        "<Status>Enabled</Status><Prefix></Prefix><Destination><Bucket>arn:aws:s3:::there</Bucket></Destination>"
        "</Rule></ReplicationConfiguration>"
    )
    listing = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><ETag>e</ETag>"
        "<LastModified>2026-11-23T00:00:00.000Z</LastModified></Contents>"
        for key in statuses
    )

    def answer(operation: str, path: str, _body: bytes) -> tuple[int, dict[str, str], str]:
        xml = {"Content-Type": "application/xml"}
        if "replication" in path:
            return 200, xml, rules
        if operation == "HEAD":
            key = path.removeprefix("/bucket/")
            if key not in statuses:
                return 404, {}, ""
            status = {"x-amz-replication-status": statuses[key]} if statuses[key] else {}
            return 200, {"Content-Length": "1", "ETag": '"e"', **status}, ""
        return 200, xml, f"<ListBucketResult><IsTruncated>false</IsTruncated>{listing}</ListBucketResult>"

    return answer


@pytest.mark.parametrize(
    ("statuses", "suspects", "in_sync", "subjects"),
    [
        ({"a": "COMPLETED", "b": "COMPLETED"}, [], True, ("a", "b")),
        ({"a": "COMPLETED", "b": "PENDING"}, [], False, ("a",)),
        ({"a": "COMPLETED", "b": "FAILED"}, [], False, ("a",)),
        ({"a": "", "b": ""}, [], None, ()),
        ({"a": "COMPLETED", "b": "PENDING"}, ["a", "b"], True, ("a",)),
        ({"a": "COMPLETED", "b": "FAILED"}, ["b"], False, ()),
        ({"a": "COMPLETED"}, ["gone"], None, ()),
    ],
)
def test_s3_is_asked_about_the_very_objects_that_differ(
    statuses: dict[str, str], suspects: list[str], in_sync: bool | None, subjects: tuple[str, ...]
) -> None:
    with fake(replicated_bucket(statuses)) as endpoint:
        said = S3Replication(aws("s3", endpoint), "bucket", "", 10).ask(suspects)
    assert (said.in_sync, said.subjects) == (in_sync, subjects)
    assert said.measurements["native_rules_enabled"] == 1


@mock_aws
def test_a_bucket_without_a_rule_that_is_enabled_is_not_in_sync() -> None:
    s3 = boto3.client("s3", **KEYS)
    s3.create_bucket(Bucket="bucket")
    said = S3Replication(s3, "bucket", "", 10).ask([])
    assert said.in_sync is False
    assert "no replication configuration" in said.message
    for bucket in ("bucket", "there"):
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rule = {"ID": "all", "Status": "Disabled", "Prefix": "", "Destination": {"Bucket": "arn:aws:s3:::there"}}
    s3.put_bucket_replication(
        Bucket="bucket", ReplicationConfiguration={"Role": "arn:aws:iam::1:role/r", "Rules": [rule]}
    )
    said = S3Replication(s3, "bucket", "", 10).ask([])
    assert (said.in_sync, "no replication rule" in said.message) == (False, True)


@mock_aws
@pytest.mark.parametrize(
    ("values", "in_sync"),
    [
        ({"OperationsPendingReplication": 0, "BytesPendingReplication": 0, "ReplicationLatency": 2}, True),
        ({"OperationsPendingReplication": 3, "BytesPendingReplication": 900}, False),
        ({"OperationsPendingReplication": 0, "OperationsFailedReplication": 1}, False),
        ({}, None),
    ],
)
def test_cloudwatch_says_what_is_pending(values: dict[str, float], in_sync: bool | None) -> None:
    client = boto3.client("cloudwatch", **KEYS)
    dimensions = [
        {"Name": "SourceBucket", "Value": "here"},
        {"Name": "DestinationBucket", "Value": "there"},
        {"Name": "RuleId", "Value": "all"},
    ]
    at = utc_now() - timedelta(minutes=3)
    for name, value in values.items():
        client.put_metric_data(
            Namespace="AWS/S3",
            MetricData=[
                {"MetricName": name, "Dimensions": dimensions, "Timestamp": at, "Value": float(value)}
            ],
        )
    said = CloudWatch(client, "here", "there", "all", timedelta(minutes=30), utc_now).ask([])
    assert said.in_sync is in_sync, said.message
    if "ReplicationLatency" in values:
        assert said.measurements["native_latency_seconds"] == 2
    other = CloudWatch(client, "here", "there", "another-rule", timedelta(minutes=30), utc_now).ask([])
    assert other.in_sync is None


def registry(images: dict[str, str]) -> Answer:
    """A registry of these digests, each with its status for eu-central-1."""

    def answer(operation: str, _path: str, body: bytes) -> tuple[int, dict[str, str], str]:
        headers = {"Content-Type": "application/x-amz-json-1.1"}
        if operation == "DescribeImages":
            rows = [{"imageDigest": digest, "imagePushedAt": 1.0} for digest in images]
            return 200, headers, json.dumps({"imageDetails": rows})
        digest = json.loads(body)["imageId"]["imageDigest"]
        statuses = [{"region": "eu-central-1", "registryId": "1", "status": images[digest]}]
        return 200, headers, json.dumps({"repositoryName": "api", "replicationStatuses": statuses})

    return answer


@pytest.mark.parametrize(
    ("source", "replica", "in_sync", "lost"),
    [
        ({"d1": "COMPLETE", "d2": "COMPLETE"}, {"d1": "", "d2": ""}, True, ()),
        ({"d1": "COMPLETE", "d2": "IN_PROGRESS"}, {"d1": ""}, False, ()),
        ({"d1": "COMPLETE", "d2": "FAILED"}, {"d1": ""}, False, ()),
        ({"d1": "COMPLETE", "d2": "COMPLETE"}, {"d1": ""}, True, ("api@d2",)),
        ({}, {}, None, ()),
    ],
)
def test_an_image_that_is_called_replicated_has_to_be_there(
    source: dict[str, str], replica: dict[str, str], in_sync: bool | None, lost: tuple[str, ...]
) -> None:
    with fake(registry(source)) as here, fake(registry(replica)) as there:
        said = EcrReplication(aws("ecr", here), aws("ecr", there), "eu-central-1", ("api",), 20).ask([])
    assert (said.in_sync, said.subjects) == (in_sync, lost)
    verdict, codes = judged([said], differences=0)
    assert ("replication_contradiction" in codes) is bool(lost)
    if lost:
        assert verdict is Verdict.FAILED


def automated(status: str, latest: datetime) -> Answer:
    def answer(operation: str, _path: str, _body: bytes) -> tuple[int, dict[str, str], str]:
        assert operation == "DescribeDBInstanceAutomatedBackups"
        row = (
            "<DBInstanceAutomatedBackup><DBInstanceIdentifier>observatory</DBInstanceIdentifier>"
            f"<Status>{status}</Status><RestoreWindow><LatestTime>{latest:%Y-%m-%dT%H:%M:%SZ}</LatestTime>"
            "</RestoreWindow></DBInstanceAutomatedBackup>"
        )
        text = (
            f'<{operation}Response xmlns="http://rds.amazonaws.com/doc/2014-10-31/"><{operation}Result>'
            f"<DBInstanceAutomatedBackups>{row}</DBInstanceAutomatedBackups></{operation}Result>"
            f"</{operation}Response>"
        )
        return 200, {"Content-Type": "text/xml"}, text

    return answer


@pytest.mark.parametrize(
    ("status", "age", "names", "in_sync"),
    [
        ("replicating", 60, ("observatory",), True),
        ("replicating", 3600, ("observatory",), False),
        ("retained", 60, ("observatory",), False),
        ("replicating", 60, ("observatory", "billing"), False),
    ],
)
def test_rds_is_in_sync_when_every_instance_can_be_restored_recently(
    status: str, age: int, names: tuple[str, ...], in_sync: bool
) -> None:
    with fake(automated(status, NOW - timedelta(seconds=age))) as endpoint:
        client = aws("rds", endpoint)
        said = RdsReplication(client, client, names, False, timedelta(minutes=15), lambda: NOW).ask([])
    assert said.in_sync is in_sync, said.message
    assert said.measurements["native_restorable_age_seconds"] == age


def snapshots(rows: list[dict[str, str]]) -> Answer:
    def answer(operation: str, _path: str, _body: bytes) -> tuple[int, dict[str, str], str]:
        inside = ""
        if operation == "DescribeDBSnapshots":
            each = "".join(
                "<DBSnapshot>" + "".join(f"<{k}>{v}</{k}>" for k, v in row.items()) + "</DBSnapshot>"
                for row in rows
            )
            inside = f"<DBSnapshots>{each}</DBSnapshots>"
        text = (
            f'<{operation}Response xmlns="http://rds.amazonaws.com/doc/2014-10-31/"><{operation}Result>{inside}'
            f"</{operation}Result></{operation}Response>"
        )
        return 200, {"Content-Type": "text/xml"}, text

    return answer


def test_a_snapshot_without_a_finished_copy_is_named() -> None:
    own = [
        {"DBSnapshotArn": f"arn:aws:rds:us-east-1:1:snapshot:{name}", "DBInstanceIdentifier": "observatory"}
        for name in ("one", "two", "three")
    ]
    copies = [
        {"SourceDBSnapshotIdentifier": own[0]["DBSnapshotArn"], "Status": "available"},
        {"SourceDBSnapshotIdentifier": own[1]["DBSnapshotArn"], "Status": "creating"},
    ]
    with fake(snapshots(own)) as here, fake(snapshots(copies)) as there:
        source, replica = aws("rds", here), aws("rds", there)
        said = RdsReplication(source, replica, (), True, timedelta(minutes=15), lambda: NOW)._uncopied()
        assert said == []
        both = RdsReplication(source, replica, ("observatory",), True, timedelta(minutes=15), lambda: NOW)
        assert [arn.rpartition(":")[2] for arn in both._uncopied()] == ["two", "three"]
        assert both.ask([]).in_sync is False


@pytest.mark.parametrize(
    ("jobs", "in_sync"),
    [
        ([("db", "COMPLETED", 1), ("fs", "COMPLETED", 1)], True),
        ([("db", "FAILED", 1), ("db", "COMPLETED", 2)], True),
        ([("db", "COMPLETED", 1), ("db", "FAILED", 2)], False),
        ([("db", "COMPLETED", 1), ("fs", "RUNNING", 1)], False),
        ([], False),
    ],
)
def test_the_newest_copy_job_of_each_resource_counts(jobs: list[tuple[str, str, int]], in_sync: bool) -> None:
    rows = [
        {"ResourceArn": f"arn:{name}", "State": state, "CreationDate": 1000.0 + order, "StatusMessage": "why"}
        for name, state, order in jobs
    ]

    def answer(_operation: str, path: str, _body: bytes) -> tuple[int, dict[str, str], str]:
        page = rows[1:] if "nextToken=more" in path else rows[:1]
        more = {} if "nextToken=more" in path or len(rows) < 2 else {"NextToken": "more"}
        return 200, {"Content-Type": "application/json"}, json.dumps({"CopyJobs": page} | more)

    with fake(answer) as endpoint:
        said = BackupCopies(aws("backup", endpoint), "arn:vault", timedelta(hours=26), lambda: NOW).ask([])
    assert said.in_sync is in_sync, said.message


METRICS = """\
# HELP SeaweedFS_filerSync_lag_seconds lag
SeaweedFS_filerSync_events_received_total{{a="b"}} 120
SeaweedFS_filerSync_events_processed_total{{a="b"}} 118
SeaweedFS_filerSync_events_failed_total{{a="b"}} {failed}
SeaweedFS_filerSync_in_flight_jobs{{a="b"}} 2
SeaweedFS_filerSync_lag_seconds{{a="b"}} {lag}
"""


@pytest.mark.parametrize(
    ("text", "in_sync"),
    [
        (METRICS.format(failed=0, lag=0.7), True),
        (METRICS.format(failed=11, lag=0.7), False),
        (METRICS.format(failed=0, lag=610.2), False),
        ("go_goroutines 12\n", None),
    ],
)
def test_filer_sync_is_in_sync_by_its_lag(text: str, in_sync: bool | None) -> None:
    with fake(lambda *_: (200, {"Content-Type": "text/plain"}, text)) as address:
        assert FilerSync(f"{address}/metrics", 10.0).ask([]).in_sync is in_sync


def test_what_cannot_be_asked_says_nothing() -> None:
    (said,) = ask([FilerSync("http://127.0.0.1:9/metrics", 10.0)], [])
    assert said.in_sync is None
    verdict, codes = judged([said], differences=3)
    assert (verdict, codes) == (Verdict.UNKNOWN, {"native_silent"})


def judged(signals: list[Signal], *, differences: int) -> tuple[Verdict | None, set[str]]:
    rec = Recorder("replication/pair", "comparison", clock=utc_now, timer=time.monotonic)
    contradict(rec, signals, differences=differences)
    made = next((claim for claim in rec.claims if claim.name == "contradiction"), None)
    return (made.verdict if made else None), {finding.code for finding in rec.findings}


@pytest.mark.parametrize(
    ("in_sync", "differences", "verdict", "contradiction"),
    [
        (True, 3, Verdict.FAILED, True),
        (True, 0, Verdict.PASSED, False),
        (False, 3, Verdict.PASSED, False),
        (None, 3, Verdict.UNKNOWN, False),
    ],
)
def test_in_sync_and_differences_contradict(
    in_sync: bool | None, differences: int, verdict: Verdict, contradiction: bool
) -> None:
    found, codes = judged([Signal("s3 replication", in_sync, "it says so")], differences=differences)
    assert found is verdict
    assert ("replication_contradiction" in codes) is contradiction


def test_no_signal_makes_no_claim() -> None:
    assert judged([], differences=3) == (None, set())
