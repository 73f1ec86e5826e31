"""Evidence is copied to a bucket that lets nobody remove it: a real S3 with object lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from botocore.exceptions import ClientError

from ccobs_ops.core.context import Context
from ccobs_ops.core.evidence import files, keys, verify
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.report.make import make
from ccobs_ops.inventory_load import load
from ccobs_ops.lab import Lab
from ccobs_ops.lab.s3 import client
from tests import report_support as support
from tests.lab_support import take_down_and_check

pytestmark = pytest.mark.lab
LOCKED, PLAIN = "evidence-locked", "evidence-plain"


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of one S3 region, with one bucket that locks objects and one that does not."""
    directory = tmp_path_factory.mktemp("evidence") / "lab"
    try:
        lab = Lab.up(directory, services=("us",))
        s3 = client(lab.plan, "us")
        s3.create_bucket(Bucket=LOCKED, ObjectLockEnabledForBucket=True)
        s3.create_bucket(Bucket=PLAIN)
        yield lab
    finally:
        take_down_and_check(directory)


def prepared(lab: Lab, folder: Path, bucket: str) -> Context:
    """The eventful inventory with its evidence copied to `bucket`, and three days in its ledger."""
    document = yaml.safe_load(support.INVENTORY)
    of_lab = load(lab.inventory_path).stores["us"]
    secrets = {
        part: f"file:{(lab.inventory_path.parent / str(getattr(of_lab.credentials, part)).partition(':')[2])}"
        for part in ("access_key", "secret_key")
    }
    document["stores"]["vault"] = {
        "bucket": bucket,
        "endpoint": of_lab.endpoint,
        "addressing": "path",
        "timeout": "5s",
        "attempts": 2,
        "credentials": secrets,
        "object_lock": {"mode": "COMPLIANCE", "retain": "1h"},
    }
    document["evidence"]["store"] = "vault"
    inventory = load(support.write_inventory(folder, yaml.safe_dump(document)))
    ledger = Ledger.open(f"sqlite:///{folder}/ledger.db")
    support.fill(ledger, days=2)
    return Context(inventory, ledger, clock=lambda: support.NOW)


def test_the_copy_is_locked_and_shows_that_the_ledger_was_cut(region: Lab, tmp_path: Path) -> None:
    ctx = prepared(region, tmp_path, LOCKED)
    made = make(ctx, {"html": tmp_path / "r.html"}, since=timedelta(days=90), everything=True)
    assert made.exercise.verdict is Verdict.PASSED, made.exercise.reason
    copied = made.exercise.claim("copied")
    assert copied is not None

    s3 = client(region.plan, "us")
    listed = {each["Key"] for each in s3.list_objects_v2(Bucket=LOCKED)["Contents"]}
    assert any(key.endswith("-report.html") for key in listed)
    assert any(key.endswith("-report.html.dsse.json") for key in listed)
    assert sum(key.endswith(".json.dsse.json") for key in listed) > 5, "validations and drills are copied too"
    key = next(each for each in sorted(listed) if each.endswith("-report.html"))
    version = s3.list_object_versions(Bucket=LOCKED, Prefix=key)["Versions"][0]["VersionId"]
    with pytest.raises(ClientError):
        s3.delete_object(Bucket=LOCKED, Key=key, VersionId=version)

    # whoever has this host cuts the ledger's end and removes the envelopes here: the copy still knows
    first = verify.verify(ctx)
    assert first.verdict is Verdict.PASSED, first.reason
    ctx.ledger.close()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute(
            "delete from ccobs_exercises where id in (select row from ccobs_chain where seq > 3)"
        )
        connection.execute("delete from ccobs_transitions")
        connection.execute("delete from ccobs_chain where seq > 3")
    for envelope in files.folder(ctx.inventory).iterdir():
        envelope.unlink()
    found = verify.verify(ctx)
    assert found.verdict is Verdict.FAILED
    assert {each.code for each in found.findings} == {"chain_truncated"}
    ctx.ledger.close()


def test_a_bucket_that_does_not_lock_is_not_taken_for_one(region: Lab, tmp_path: Path) -> None:
    ctx = prepared(region, tmp_path, PLAIN)
    made = make(ctx, {"html": tmp_path / "r.html"}, since=timedelta(days=90))
    ctx.ledger.close()
    assert made.exercise.verdict is not Verdict.PASSED
    assert (tmp_path / "r.html").exists(), "the report itself is there all the same"
    assert keys.private(ctx.inventory) is not None


def test_a_store_that_is_down_leaves_the_copy_unknown(region: Lab, tmp_path: Path) -> None:
    ctx = prepared(region, tmp_path, "no-such-bucket")
    found = verify.verify(ctx)
    ctx.ledger.close()
    assert found.verdict is Verdict.UNKNOWN
    copy = found.claim("copy")
    assert copy is not None
    assert copy.verdict is Verdict.UNKNOWN
