"""Keys of KMS that AWS owns, or that are on their way out, are nobody's omission. No server here knows such keys."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.stub import Stubber

from ccobs_ops.core.terraform.unmanaged import find_unmanaged

KEYS = {"mine": ("CUSTOMER", "Enabled"), "aws": ("AWS", "Enabled"), "dying": ("CUSTOMER", "PendingDeletion")}


def test_only_the_key_that_somebody_made_and_keeps_is_unmanaged() -> None:
    client: Any = boto3.client(
        "kms", region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
    )
    with Stubber(client) as stub:
        rows = [{"KeyId": name, "KeyArn": f"arn:aws:kms:us-east-1:1:key/{name}"} for name in KEYS]
        stub.add_response("list_keys", {"Keys": rows, "Truncated": False})
        for name, (manager, state) in KEYS.items():
            about = {"KeyId": name, "Arn": f"arn:aws:kms:us-east-1:1:key/{name}"}
            about |= {"KeyManager": manager, "KeyState": state}
            stub.add_response("describe_key", {"KeyMetadata": about}, {"KeyId": name})
        found = find_unmanaged(
            lambda _service: client, (), kinds=["kms_key"], sleep=lambda _seconds: None, timer=lambda: 0.0
        )
        stub.assert_no_pending_responses()
    assert [change.address for change in found.changes] == ["kms_key/mine"]
    assert (found.seen, found.unread) == (1, ())
