"""The account: what is in it and in no state (a real S3, RDS, KMS and IAM interface answers), and who changed what."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from ccobs_ops.core.exercise import Severity
from ccobs_ops.core.terraform import cloudtrail
from ccobs_ops.core.terraform.change import AttributeChange, Change, DriftClass
from ccobs_ops.core.terraform.document import read_plan
from ccobs_ops.core.terraform.plan import PlanDocument
from ccobs_ops.core.terraform.unmanaged import find_unmanaged
from tests.unit.plans import write

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
KINDS = ("s3_bucket", "rds_instance", "rds_cluster", "kms_key", "iam_role")


def boto(service: str, endpoint: str, attempts: int = 1) -> Any:
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            s3={"addressing_style": "path"},
        ),
    )


@pytest.fixture(scope="module")
def account() -> Iterator[Callable[[str], Any]]:
    """An AWS account in a server of this process: 7 of each kind, more than its pages hold."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        clients = {each: boto(each, f"http://{host}:{port}") for each in ("s3", "rds", "kms", "iam")}
        _fill(clients)
        yield clients.__getitem__
    finally:
        server.stop()


def _fill(clients: dict[str, Any]) -> None:
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    for number in range(7):
        clients["s3"].create_bucket(Bucket=f"bucket-{number}")
        clients["rds"].create_db_instance(
            DBInstanceIdentifier=f"db-{number}",
            DBInstanceClass="db.t4g.micro",
            Engine="postgres",
            AllocatedStorage=20,
        )
        clients["rds"].create_db_cluster(
            DBClusterIdentifier=f"cluster-{number}",
            Engine="aurora-postgresql",
            MasterUsername="root",
            MasterUserPassword="notasecret",
        )
        clients["iam"].create_role(RoleName=f"role-{number}", AssumeRolePolicyDocument=trust)
        clients["kms"].create_key(Description=f"key-{number}")
    clients["iam"].create_service_linked_role(AWSServiceName="autoscaling.amazonaws.com")
    dying = clients["kms"].create_key(Description="dying")["KeyMetadata"]["KeyId"]
    clients["kms"].schedule_key_deletion(KeyId=dying, PendingWindowInDays=7)


def holding(tmp_path: Path, *held: tuple[str, dict[str, Any]]) -> PlanDocument:
    resources = [
        {"address": f"{kind}.n{number}", "mode": "managed", "type": kind, "values": values}
        for number, (kind, values) in enumerate(held)
    ]
    plan = {"format_version": "1.2", "prior_state": {"values": {"root_module": {"resources": resources}}}}
    return read_plan(write(tmp_path / "state.json", plan))


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def timer(self) -> float:
        return self.now


def test_what_no_state_holds_is_found_and_what_aws_owns_is_not(
    account: Callable[[str], Any], tmp_path: Path
) -> None:
    clock = Clock()
    keys = [row["KeyId"] for row in account("kms").list_keys()["Keys"]]
    described = {key: account("kms").describe_key(KeyId=key)["KeyMetadata"] for key in keys}
    held_key = next(key for key, about in described.items() if about["Description"] == "key-0")
    one = holding(
        tmp_path,
        ("aws_s3_bucket", {"bucket": "bucket-0", "id": "bucket-0"}),
        ("aws_db_instance", {"identifier": "db-0", "id": "db-ABCDEF"}),
        ("aws_rds_cluster_instance", {"identifier": "db-1"}),
        ("aws_rds_cluster", {"cluster_identifier": "cluster-0"}),
        ("aws_kms_key", {"key_id": held_key}),
        ("aws_iam_role", {"name": "role-0"}),
    )
    other = holding(tmp_path, ("lab_bucket", {"name": "bucket-1"}), ("aws_iam_role", {"id": "role-1"}))
    found = find_unmanaged(
        account,
        [one, other],
        kinds=KINDS,
        also={"lab_bucket": "s3_bucket"},
        sleep=clock.sleep,
        timer=clock.timer,
    )
    assert found.unread == ()
    names = {change.address for change in found.changes if not change.address.startswith("kms_key/")}
    assert names == (
        {f"s3_bucket/bucket-{number}" for number in range(2, 7)}
        | {f"rds_instance/db-{number}" for number in range(2, 7)}
        | {f"rds_cluster/cluster-{number}" for number in range(1, 7)}
        | {f"iam_role/role-{number}" for number in range(2, 7)}
    )
    keys_found = {
        change.address.partition("/")[2] for change in found.changes if change.address.startswith("kms_key/")
    }
    assert keys_found == {
        key for key, about in described.items() if about["Description"] in {f"key-{n}" for n in range(1, 7)}
    }
    assert all(change.drift_class is DriftClass.UNMANAGED and change.is_open for change in found.changes)
    bucket = next(change for change in found.changes if change.address == "s3_bucket/bucket-6")
    assert bucket.when is not None
    assert dict(bucket.identity) == {"name": "bucket-6", "arn": "arn:aws:s3:::bucket-6"}
    assert bucket.type == "aws_s3_bucket"


def test_every_page_is_read_and_calls_are_paced(account: Callable[[str], Any]) -> None:
    clock = Clock()

    class Small:
        """The client with pages of two."""

        def __init__(self, client: Any) -> None:
            self._client = client

        def get_paginator(self, operation: str) -> Small:
            self._pages = self._client.get_paginator(operation)
            return self

        def paginate(self, **options: Any) -> Any:
            return self._pages.paginate(PaginationConfig={"PageSize": 2})

    found = find_unmanaged(
        lambda service: Small(account(service)),
        [],
        kinds=("iam_role", "rds_instance"),
        per_second=10,
        sleep=clock.sleep,
        timer=clock.timer,
    )
    assert len(found.changes) == 14
    assert len(clock.slept) >= 8
    assert clock.slept == pytest.approx([0.1] * len(clock.slept))


def test_a_kind_that_cannot_be_listed_is_unread_and_the_others_are_reported(
    account: Callable[[str], Any],
) -> None:
    clock = Clock()

    def client(service: str) -> Any:
        return boto(service, "http://127.0.0.1:1") if service == "rds" else account(service)

    found = find_unmanaged(client, [], kinds=KINDS, sleep=clock.sleep, timer=clock.timer)
    assert {unread.code for unread in found.unread} == {"rds_instance_unread", "rds_cluster_unread"}
    assert {change.address.partition("/")[0] for change in found.changes} == {
        "s3_bucket",
        "kms_key",
        "iam_role",
    }
    assert all(unread.hint for unread in found.unread)


# ---------------------------------------------------------------- CloudTrail


class Trail(BaseHTTPRequestHandler):
    """`LookupEvents` over HTTP, as far as boto3 needs it: two events a page."""

    events: dict[str, list[dict[str, Any]]] = {}  # noqa: RUF012 - set by each test
    asked: list[str] = []  # noqa: RUF012
    status = 200

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = body["LookupAttributes"][0]["AttributeValue"]
        type(self).asked.append(name)
        start = int(body.get("NextToken", 0))
        rows = [
            each
            for each in self.events.get(name, [])
            if body["StartTime"] <= each["EventTime"] <= body["EndTime"]
        ]
        answer: dict[str, Any] = {"Events": rows[start : start + 2]}
        if start + 2 < len(rows):
            answer["NextToken"] = str(start + 2)
        if self.status != 200:
            answer = {"__type": "ThrottlingException", "message": "slow down"}
        data = json.dumps(answer).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def trail() -> Iterator[tuple[type[Trail], Any]]:
    handler = type("ThisTrail", (Trail,), {"events": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield handler, boto("cloudtrail", f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def event(
    name: str, minutes_ago: float, who: str = "ann", *, read_only: bool = False, error: str | None = None
) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "userIdentity": {"type": "IAMUser", "arn": f"arn:aws:iam::111122223333:user/{who}"}
    }
    if error:
        detail["errorCode"] = error
    return {
        "EventId": name,
        "EventName": name,
        "ReadOnly": str(read_only).lower(),
        "EventTime": (NOW - timedelta(minutes=minutes_ago)).timestamp(),
        "Username": who,
        "CloudTrailEvent": json.dumps(detail),
    }


def change(
    name: str,
    drift_class: DriftClass = DriftClass.CHANGED,
    *paths: str,
    kind: str = "aws_db_instance",
    **more: Any,
) -> Change:
    return Change(
        address=f"{kind}.{name}",
        type=kind,
        provider="aws",
        drift_class=drift_class,
        severity=Severity.WARNING,
        message="m",
        attributes=tuple(AttributeChange(path, 1, 2) for path in paths),
        identity=(("id", name), ("arn", f"arn:{name}")),
        **more,
    )


def asked(trail: tuple[type[Trail], Any], *changes: Change, clock: Clock | None = None) -> tuple[Change, ...]:
    time = clock or Clock()
    return cloudtrail.attribute(
        changes, trail[1], since=NOW - timedelta(hours=1), now=NOW, sleep=time.sleep, timer=time.timer
    )


def test_the_actor_and_the_time_of_the_change(trail: tuple[type[Trail], Any]) -> None:
    trail[0].events["db"] = [event("ModifyDBInstance", 12)]
    (told,) = asked(trail, change("db"))
    assert told.who == "arn:aws:iam::111122223333:user/ann"
    assert told.when == NOW - timedelta(minutes=12)
    detection = cloudtrail.detection(told, now=NOW, last_clean=NOW - timedelta(minutes=50))
    assert detection == cloudtrail.Detection(720.0, "change")
    assert "by arn:aws:iam" in told.to_finding().message


def test_reads_failures_and_what_is_too_old_do_not_count(trail: tuple[type[Trail], Any]) -> None:
    trail[0].events["db"] = [
        event("DescribeDBInstances", 1, read_only=True),
        event("ModifyDBInstance", 2, "bob", error="AccessDenied"),
        event("ModifyDBInstance", 90, "old"),
    ]
    (told,) = asked(trail, change("db"))
    assert (told.who, told.when) == (None, None)
    detection = cloudtrail.detection(told, now=NOW, last_clean=NOW - timedelta(minutes=50))
    assert detection == cloudtrail.Detection(3000.0, "last_clean_scan")
    assert cloudtrail.detection(told, now=NOW, last_clean=None) is None


def test_the_event_that_is_most_like_the_change_is_taken_from_any_page(
    trail: tuple[type[Trail], Any],
) -> None:
    trail[0].events["b"] = [
        event("PutBucketTagging", 1, "tag"),
        event("PutBucketAcl", 2, "acl"),
        event("PutBucketVersioning", 30, "ver"),
        event("CreateBucket", 40, "new"),
    ]
    (told,) = asked(
        trail,
        change(
            "b", DriftClass.CHANGED, "versioning_configuration[0].status", kind="aws_s3_bucket_versioning"
        ),
    )
    assert str(told.who).endswith("user/ver")


def test_a_deletion_and_a_creation_are_told_apart(trail: tuple[type[Trail], Any]) -> None:
    trail[0].events["x"] = [
        event("PutRolePolicy", 1, "put"),
        event("DeleteRole", 9, "del"),
        event("CreateRole", 20, "new"),
    ]
    deleted, unmanaged, changed = asked(
        trail,
        change("x", DriftClass.DELETED, kind="aws_iam_role"),
        change("x", DriftClass.UNMANAGED, kind="aws_iam_role"),
        change("x", DriftClass.CHANGED, "max_session_duration", kind="aws_iam_role"),
    )
    assert [str(each.who).rpartition("/")[2] for each in (deleted, unmanaged, changed)] == [
        "del",
        "new",
        "put",
    ]


def test_a_second_name_is_tried_and_what_does_not_count_is_not_asked_about(
    trail: tuple[type[Trail], Any],
) -> None:
    trail[0].events["arn:db"] = [event("ModifyDBInstance", 3)]
    quiet = change("quiet", DriftClass.CHANGED_INFORMATIONAL)
    told = asked(trail, quiet, change("db"))
    assert [each.who is not None for each in told] == [False, True]
    assert trail[0].asked == ["db", "arn:db"]


def test_lookups_are_paced_and_bounded_the_worst_first(trail: tuple[type[Trail], Any]) -> None:
    clock = Clock()
    many = [change(f"db{number}") for number in range(60)]
    worst = replace(change("worst"), severity=Severity.CRITICAL)
    asked(trail, *many, worst, clock=clock)
    assert trail[0].asked[0] == "worst"
    assert len(trail[0].asked) == cloudtrail.LOOKUPS
    assert clock.now >= (cloudtrail.LOOKUPS - 1) * 0.5


def test_a_trail_that_is_away_or_refuses_leaves_the_changes_as_they_were(
    trail: tuple[type[Trail], Any],
) -> None:
    trail[0].events["db"] = [event("ModifyDBInstance", 3)]
    trail[0].status = 400
    given = (change("db"), change("other"))
    assert asked(trail, *given) == given
    away = (trail[0], boto("cloudtrail", "http://127.0.0.1:1"))
    assert asked(away, *given) == given
