"""Every fault breaks exactly what it says, and heals to the byte."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.errors import OpsError, UsageError
from ccobs_ops.core.ledger import Ledger
from ccobs_ops.core.postgres import layout
from ccobs_ops.inventory_load import load
from ccobs_ops.lab import Lab
from ccobs_ops.lab.faults import REGISTRY, active
from ccobs_ops.lab.faults.actions import CreateFile, DeleteObject, FlipBit
from ccobs_ops.lab.plan import BUCKET, TARGET
from ccobs_ops.lab.s3 import client
from tests.lab_support import MakeLab, take_down_and_check

pytestmark = pytest.mark.lab

SEGMENTS = [f"0000000100000000000000{number:02X}" for number in range(1, 6)]
OLD, NEW = "20261122T021407Z-full", "20261123T021407Z-full"
OBJECT_FAULTS = ("wal-gap", "wal-corrupt", "backup-corrupt", "backup-missing", "manifest-missing")


@dataclass(frozen=True)
class Stored:
    body: bytes
    etag: str
    metadata: dict[str, str]
    content_type: str


def fill(lab: Lab) -> None:
    """An archive of the layout's shape: two backups, then five segments and a running one."""
    bodies = {}
    for backup in (OLD, NEW):
        bodies |= {layout.part_key(backup, number): f"{backup} {number} ".encode() * 400 for number in (0, 1)}
        bodies[layout.manifest_key(backup)] = f"{backup} manifest".encode()
        bodies[layout.catalogue_key(backup)] = b"{}"
    for name in SEGMENTS:
        body = name.encode() * 100
        key = layout.segment_key(name, hashlib.md5(body, usedforsecurity=False).hexdigest())
        bodies[key] = body
    bodies[layout.partial_key("000000010000000000000006")] = b"running"
    bodies[layout.history_key(2)] = b"1\t0/3000000\tno recovery target specified\n"
    for key, body in bodies.items():
        client(lab.plan, "us").put_object(
            Bucket=BUCKET,
            Key=f"{TARGET}/{key}",
            Body=body,
            Metadata={"sha256": hashlib.sha256(body).hexdigest(), "note": key},
            ContentType="application/zstd",
            ChecksumAlgorithm="SHA256",
        )


def snapshot(lab: Lab) -> dict[str, Stored]:
    """Everything in the bucket, as bytes and metadata."""
    s3: Any = client(lab.plan, "us")
    found = {}
    for row in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        answer = s3.get_object(Bucket=BUCKET, Key=row["Key"])
        key = row["Key"].removeprefix(f"{TARGET}/")
        body = answer["Body"].read()
        found[key] = Stored(body, answer["ETag"], answer["Metadata"], answer["ContentType"])
    return found


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory):
    """A lab with an archive of fake objects and nothing else running, so that nobody but the faults touches it."""
    directory = tmp_path_factory.mktemp("faults") / "lab"
    try:
        made = Lab.up(directory, services=("us",))
        fill(made)
        yield made
    finally:
        take_down_and_check(directory)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("fault", OBJECT_FAULTS)
def test_an_object_fault_breaks_what_it_says_and_heals_to_the_byte(
    archive: Lab, fault: str, seed: int
) -> None:
    before = snapshot(archive)
    damage = archive.break_(fault, seed=seed)
    broken = snapshot(archive)
    assert damage.actions
    for action in damage.actions:
        assert isinstance(action, DeleteObject | FlipBit)
        key = action.kept.key.removeprefix(f"{TARGET}/")
        assert any(f"s3://{BUCKET}/{TARGET}/{key}" in line for line in damage.lines)
        whole = before.pop(key)
        if isinstance(action, DeleteObject):
            assert key not in broken
        else:
            found = broken.pop(key)
            assert (found.metadata, found.content_type) == (whole.metadata, whole.content_type)
            differing = [index for index in range(len(whole.body)) if whole.body[index] != found.body[index]]
            assert differing == [action.byte]
            assert whole.body[action.byte] ^ found.body[action.byte] == 1 << action.bit
            assert len(found.body) == len(whole.body)
        before_kept = whole
        if fault.startswith("wal"):
            assert key.split("/")[2][:24] in SEGMENTS[1:-1]
        elif fault == "manifest-missing":
            assert key == layout.manifest_key(NEW)
        else:
            assert key.startswith(f"backups/{NEW}/part-")
        before[f"healed:{key}"] = before_kept
    assert broken == {key: stored for key, stored in before.items() if not key.startswith("healed:")}

    assert [healed.fault for healed in archive.heal(fault)] == [fault]
    assert snapshot(archive) == {key.removeprefix("healed:"): stored for key, stored in before.items()}
    assert active(archive) == ()


def test_the_seed_decides_and_repeats(archive: Lab) -> None:
    def choice(seed: int) -> tuple[str, ...]:
        lines = archive.break_("backup-corrupt", seed=seed).lines
        archive.heal("backup-corrupt")
        return lines

    assert choice(5) == choice(5)
    assert len({choice(seed) for seed in range(4)}) > 1


def test_faults_add_up_do_not_share_objects_and_heal_all_at_once(archive: Lab) -> None:
    before = snapshot(archive)
    damages = [archive.break_(fault) for fault in OBJECT_FAULTS]
    keys = [key for damage in damages for key in damage.keys]
    assert len(keys) == len(set(keys)) == len(OBJECT_FAULTS)
    with pytest.raises(UsageError, match="wal-gap is in already"):
        archive.break_("wal-gap")
    assert [damage.fault for damage in archive.heal()] == list(reversed(OBJECT_FAULTS))
    assert snapshot(archive) == before
    assert archive.heal() == ()


def test_a_break_that_was_cut_short_heals(archive: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(archive)
    delete = DeleteObject.apply

    def delete_and_die(action: DeleteObject, lab: Lab, folder: Path) -> None:
        delete(action, lab, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(DeleteObject, "apply", delete_and_die)
    with pytest.raises(KeyboardInterrupt):
        archive.break_("backup-missing")
    assert len(snapshot(archive)) == len(before) - 1
    assert [damage.fault for damage in archive.heal()] == ["backup-missing"]
    assert snapshot(archive) == before


def test_what_another_fault_has_taken_away_is_put_back_once_that_is_there_again(archive: Lab) -> None:
    before = snapshot(archive)
    archive.break_("backup-missing")
    down = archive.break_("store-down")
    file = archive.plan.faults / "store-down" / "damage.json"
    file.write_text(down.model_copy(update={"at": down.at - timedelta(hours=1)}).model_dump_json())
    assert [damage.fault for damage in active(archive)] == ["store-down", "backup-missing"]
    assert [damage.fault for damage in archive.heal()] == ["store-down", "backup-missing"]
    assert snapshot(archive) == before


def test_what_cannot_be_put_back_is_told_and_stays_on_record(archive: Lab) -> None:
    before = snapshot(archive)
    archive.break_("backup-missing")
    archive.kill_service("us")
    try:
        with pytest.raises(OpsError, match="cannot be stored"):
            archive.heal()
        assert [damage.fault for damage in active(archive)] == ["backup-missing"]
    finally:
        archive.start_service("us")
    assert [damage.fault for damage in archive.heal()] == ["backup-missing"]
    assert snapshot(archive) == before


def test_the_ledger_knows_when_it_was_broken_and_healed(archive: Lab) -> None:
    damage = archive.break_("wal-gap")
    archive.heal("wal-gap")
    with Ledger.of(load(archive.inventory_path)) as ledger:
        healed, injected = ledger.events(TARGET, limit=2)
    assert (injected.kind, injected.subject) == ("fault_injected", "wal-gap")
    assert injected.details["lines"] == list(damage.lines)
    assert injected.at >= damage.at
    assert (healed.kind, healed.subject) == ("fault_healed", "wal-gap")


def test_wrong_usage_breaks_nothing(archive: Lab) -> None:
    before = snapshot(archive)
    with pytest.raises(UsageError, match="no fault 'fire'"):
        archive.break_("fire")
    with pytest.raises(UsageError, match="does not apply at 'eu'"):
        archive.break_("wal-gap", at="eu")
    assert snapshot(archive) == before
    assert active(archive) == ()


def test_nothing_to_break_is_an_error_not_a_silent_success(make_lab: MakeLab) -> None:
    lab = make_lab(services=("us",))
    for fault in (*OBJECT_FAULTS, "timeline-history-missing", "archiver-stopped"):
        with pytest.raises(OpsError):
            lab.break_(fault)
    assert active(lab) == ()


def test_store_down_comes_back_on_the_same_port_with_the_same_bytes(make_lab: MakeLab) -> None:
    lab = make_lab(services=("us", "eu"))
    fill(lab)
    before = snapshot(lab)
    lab.break_("store-down", at="us")
    assert {look.name: look.state for look in lab.status()} == {"us": "dead", "eu": "running"}
    lab.heal()
    assert snapshot(lab) == before


def test_timeline_history_missing_promotes_first(make_lab: MakeLab) -> None:
    lab = make_lab(services=("us", "postgres"))
    fill(lab)
    before = snapshot(lab)
    damage = lab.break_("timeline-history-missing")
    assert damage.keys == {f"{TARGET}/{layout.history_key(2)}"}
    assert layout.history_key(2) not in snapshot(lab)
    lab.heal()
    assert snapshot(lab) == before


def test_the_agent_faults_stop_and_start_it(make_lab: MakeLab) -> None:
    lab = make_lab(services=("agent",))
    lab.break_("archiver-stopped")
    assert [look.name for look in lab.status() if look.state == "dead"] == ["agent"]
    lab.heal()
    assert all(look.ok for look in lab.status())

    (action,) = lab.break_("canary-stopped").actions
    assert isinstance(action, CreateFile)
    assert action.path.exists()
    lab.heal("canary-stopped")
    assert not action.path.exists()


def test_every_fault_is_listed_with_where_it_applies() -> None:
    assert {fault.name for fault in REGISTRY} == {
        *OBJECT_FAULTS,
        "archiver-stopped",
        "timeline-history-missing",
        "store-down",
        "canary-stopped",
        "snapshot-truncated",
        "snapshot-bitflip",
        "snapshot-missing",
        "etcd-member-down",
        "etcd-quorum-lost",
        "etcd-nospace",
        "etcd-lagging",
        "certificate-expired",
        "drift-change",
        "drift-delete",
        "drift-retention",
        "drift-untag",
        "drift-unmanaged",
        "state-locked",
        "state-corrupt",
        "provider-crash",
        "credentials-expired",
        "replication-stopped",
        "replication-wedged",
        "replica-delete",
        "replica-corrupt",
        "replica-extra",
        "replica-stale-version",
        "replica-throttled",
        "replica-down",
        "clock-skewed",
    }
    assert all(fault.targets and fault.help for fault in REGISTRY)
