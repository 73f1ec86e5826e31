"""On real stores, beside `rclone check` and `weed filer.sync.verify`: where they disagree with ours, ours is explained."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.context import Context
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.replication import report
from ccobs_ops.core.replication.compare import compare
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import load
from ccobs_ops.inventory_replication import ReplicationPair, Rules
from ccobs_ops.lab import Lab, wheels
from ccobs_ops.lab.plan import BUCKET
from ccobs_ops.lab.s3 import client
from tests.lab_support import take_down_and_check

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two regions, and nobody who replicates."""
    directory = tmp_path_factory.mktemp("peers") / "lab"
    try:
        yield Lab.up(directory, services=("us", "eu"))
    finally:
        take_down_and_check(directory)


def compared(lab: Lab, bucket: str, **settings: Any) -> dict[str, str]:
    """What ours finds in `bucket` of both regions: kind by key (and version)."""
    loaded = load(lab.inventory_path)
    stores = {name: loaded.stores[name].model_copy(update={"bucket": bucket}) for name in ("us", "eu")}
    pair = ReplicationPair.model_validate(
        {"source": "us", "replica": "eu", "rpo": "1s", "canary": {"interval": "1s"}, **settings}
    )
    inventory: Inventory = loaded.model_copy(update={"stores": stores, "replication": {"probe": pair}})
    inventory._path = loaded.path
    with Ledger.of(inventory) as ledger:
        exercise = compare(Context(inventory, ledger), "probe")
    assert "differences" in exercise.details, exercise.reason
    found = report.read(Path(exercise.details["differences"])).differences()
    return {each.key + (f"@{each.version_id}" if each.version_id else ""): each.kind.value for each in found}


def settle() -> None:
    """LastModified has whole seconds here; the pair's RPO is one."""
    import time

    time.sleep(3)


def test_all_three_on_the_same_buckets(lab: Lab, tmp_path: Path) -> None:
    us, eu = client(lab.plan, "us"), client(lab.plan, "eu")
    keys = [f"d{n % 7}/k-{n:04d}" for n in range(150)] + ["d1-x", "d1.y", "d1/z/deep", "ä b+c", "w&<"]
    for key in keys:
        us.put_object(Bucket=BUCKET, Key=key, Body=key.encode() * 3)
        eu.put_object(Bucket=BUCKET, Key=key, Body=key.encode() * 3)
    eu.delete_object(Bucket=BUCKET, Key="d3/k-0003")
    eu.delete_object(Bucket=BUCKET, Key="ä b+c")
    eu.put_object(Bucket=BUCKET, Key="d4/k-0004", Body=b"longer than before, by far")
    eu.put_object(Bucket=BUCKET, Key="d5/k-0005", Body=b"d5/k-0006" * 3)
    eu.put_object(Bucket=BUCKET, Key="extra", Body=b"1")
    settle()
    ours = compared(lab, BUCKET)
    assert ours == {
        "d3/k-0003": "missing",
        "ä b+c": "missing",
        "d4/k-0004": "size_mismatch",
        "d5/k-0005": "content_mismatch",
        "extra": "only_in_replica",
    }
    theirs = rclone(lab, tmp_path / "combined")
    if theirs is not None:
        assert theirs == {"d3/k-0003": "+", "ä b+c": "+", "d4/k-0004": "*", "d5/k-0005": "*", "extra": "-"}
    verified = filer_verify(lab)
    assert {"d3/k-0003", "ä b+c", "d4/k-0004", "d5/k-0005", "extra"} == verified


def rclone(lab: Lab, combined: Path) -> dict[str, str] | None:
    """`rclone check` by hash and size; None where it is not installed."""
    if not shutil.which("rclone"):
        return None
    environment = {"PATH": "/usr/bin:/bin", "RCLONE_CONFIG": "/dev/null"}
    for name in ("us", "eu"):
        prefix = f"RCLONE_CONFIG_{name.upper()}_"
        environment |= {
            f"{prefix}TYPE": "s3",
            f"{prefix}PROVIDER": "SeaweedFS",
            f"{prefix}ENDPOINT": f"http://127.0.0.1:{lab.plan.s3_port(name)}",
            f"{prefix}ACCESS_KEY_ID": lab.plan.secret(f"{name}_access_key"),
            f"{prefix}SECRET_ACCESS_KEY": lab.plan.secret(f"{name}_secret_key"),
        }
    subprocess.run(
        ["rclone", "check", "-q", "--combined", combined, f"us:{BUCKET}", f"eu:{BUCKET}"],
        env=environment,
        check=False,
        capture_output=True,
        timeout=120,
    )
    lines = combined.read_text().splitlines()
    return {line[2:]: line[0] for line in lines if line[0] != "="}


def filer_verify(lab: Lab) -> set[str]:
    """The keys that `weed filer.sync.verify` names."""
    path = f"/buckets/{BUCKET}"
    answer = subprocess.run(
        [
            wheels.weed(), "filer.sync.verify", f"-a=127.0.0.1:{lab.plan.filer_port('us')}",
            f"-b=127.0.0.1:{lab.plan.filer_port('eu')}", f"-a.path={path}", f"-b.path={path}", "-jsonOutput",
        ],
        capture_output=True, text=True, check=False, timeout=120, cwd=lab.directory,
    )  # fmt: skip
    found: set[str] = set()
    for line in answer.stdout.splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            name = row.get("path") or row.get("Path") or ""
            if name:
                found.add(name.removeprefix(f"{path}/"))
    return found


def test_versions_and_delete_markers(lab: Lab) -> None:
    us, eu = client(lab.plan, "us"), client(lab.plan, "eu")
    for region in (us, eu):
        region.create_bucket(Bucket="versioned")
        region.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    for key in ("gone", "kept", "stale"):
        us.put_object(Bucket="versioned", Key=key, Body=b"one")
        eu.put_object(Bucket="versioned", Key=key, Body=b"one")
    us.put_object(Bucket="versioned", Key="stale", Body=b"two")
    us.delete_object(Bucket="versioned", Key="gone")
    settle()
    assert compared(lab, "versioned") == {"gone": "delete_marker_unreplicated", "stale": "stale_version"}
    assert compared(lab, "versioned", rules={"delete_markers": False}) == {
        "gone": "excluded_by_rule",
        "stale": "stale_version",
    }
    every = compared(lab, "versioned", rules=Rules(versions="all").model_dump())
    kinds = {(key.partition("@")[0], kind) for key, kind in every.items()}
    assert ("gone", "delete_marker_unreplicated") in kinds
    assert ("stale", "stale_version") in kinds
    assert ("kept", "only_in_replica") in kinds, "written twice, it has two ids: no replicator made that copy"
