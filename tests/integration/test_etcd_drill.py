"""Snapshots of a real cluster of three, started for real: what is proven, what is found, and what an operator runs."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from ccobs_ops.cli.main import run as command_line
from ccobs_ops.core.errors import OpsError, RefusedError, UsageError
from ccobs_ops.core.etcd.boltdb import BoltFile
from ccobs_ops.core.etcd.canary import slot_key
from ccobs_ops.core.etcd.client import EtcdClient
from ccobs_ops.core.etcd.defragment import defragment
from ccobs_ops.core.etcd.etcdutl import Bump, check_flags
from ccobs_ops.core.etcd.restore import restore
from ccobs_ops.core.etcd.retention import prune
from ccobs_ops.core.exercise import Exercise, Verdict
from ccobs_ops.core.process import run
from ccobs_ops.lab.plan import ETCD_MEMBERS
from ccobs_ops.lab.ports import free_base
from ccobs_ops.lab.services import etcd as service
from tests.etcd_support import NAME, EtcdEstate, etcd_estate_in, named, ready
from tests.postgres_support import wait_for, why

pytestmark = pytest.mark.lab
CLAIMS = {"restorable", "rto", "isolated", "counts", "exact", "rpo", "readable", "identical", "writable"}


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdEstate]:
    """A small cluster under churn, with canaries, and a second region that the archive is replicated to."""
    directory = tmp_path_factory.mktemp("drill") / "lab"
    with etcd_estate_in(directory, "filer-sync", "etcd-writer", "etcd-agent") as estate:
        wait_for(lambda: len(estate.ctx.ledger.canaries("etcd/observatory")) >= 3, 30, "canaries")
        assert estate.snapshot().verdict is Verdict.PASSED
        yield estate


def test_a_snapshot_says_what_etcdutl_says(estate: EtcdEstate, tmp_path: Path) -> None:
    entry = estate.entries[-1]
    path = tmp_path / "snapshot.db"
    path.write_bytes(b"".join(estate.archive.blocks(entry)))
    told = json.loads(
        run([estate.cluster.program("etcdutl"), "snapshot", "status", "-w", "json", path], deadline=30).stdout
    )
    assert told["revision"] == entry.revision
    assert told["totalSize"] == entry.db_bytes
    file = BoltFile(lambda o, n: path.read_bytes()[o : o + n], path.stat().st_size - 32, "here")
    assert sum(1 for name in ("key", "meta", "members") for _ in file.items(name)) <= told["totalKey"]
    assert entry.counts[""] == entry.counts["/registry/"] + estate_extras(estate, entry.revision)
    assert entry.member in ETCD_MEMBERS
    with estate.client() as client:
        assert client.hash_kv(entry.revision).hash == entry.hash
        leader = next(m.name for m in client.members() if m.id == client.status().leader)
    assert entry.member != leader, "a follower gives the snapshot"


def estate_extras(estate: EtcdEstate, revision: int) -> int:
    """Keys outside /registry/: canaries and the writer's sign of life."""
    with estate.client() as client:
        return (
            client.range(b"\x00", b"/registry/", revision=revision, count_only=True).count
            + client.range(b"/registry0", b"\x00", revision=revision, count_only=True).count
        )


def test_a_drill_proves_every_claim(estate: EtcdEstate) -> None:
    exercise = estate.drill()
    assert exercise.verdict is Verdict.PASSED, why(exercise)
    assert {claim.name for claim in exercise.claims} == CLAIMS
    assert exercise.measurements["canaries_present"] == exercise.measurements["canaries_expected"] >= 3
    assert exercise.measurements["keys_sampled"] > 100
    assert exercise.details["objects"]["pods"] > 0
    assert "is production's" in exercise.claim("identical").reason  # type: ignore[union-attr]
    assert estate.sandboxes() == []


def test_a_drill_with_three_members_loses_its_leader_and_goes_on(estate: EtcdEstate) -> None:
    exercise = estate.drill(members=3)
    assert exercise.verdict is Verdict.PASSED, why(exercise)
    assert {claim.name for claim in exercise.claims} == CLAIMS | {"quorum"}
    assert 0 < exercise.measurements["failover_seconds"] < 60
    assert estate.sandboxes() == []


def test_a_drill_from_the_replica(estate: EtcdEstate) -> None:
    wait_for(
        lambda: estate.listing(store="eu").details["snapshots"] == estate.listing().details["snapshots"],
        30,
        "the snapshots in eu",
    )
    exercise = estate.drill(store="eu")
    assert exercise.verdict is Verdict.PASSED, why(exercise)
    assert exercise.details["store"] == "eu"


def test_past_compaction_the_recorded_hash_is_compared(estate: EtcdEstate) -> None:
    taken = estate.snapshot()
    assert taken.verdict is Verdict.PASSED, why(taken)
    with estate.client() as client:
        client.put(b"/after", b"x")
        client.compact(client.put(b"/after", b"y"))
    exercise = estate.drill()
    assert exercise.verdict is Verdict.PASSED, why(exercise)
    assert "recorded when it was taken" in exercise.claim("identical").reason  # type: ignore[union-attr]


def test_a_compaction_short_of_the_snapshot_is_done_in_the_copy_too(estate: EtcdEstate) -> None:
    with estate.client() as client:
        earlier = client.put(b"/before", b"x")
        client.put(b"/before", b"y")
    taken = estate.snapshot()
    assert taken.verdict is Verdict.PASSED, why(taken)
    with estate.client() as client:
        client.compact(earlier)
    exercise = estate.drill()
    assert exercise.verdict is Verdict.PASSED, why(exercise)
    assert "is production's" in exercise.claim("identical").reason  # type: ignore[union-attr]


@pytest.fixture
def entry(estate: EtcdEstate) -> Iterator[Any]:
    """A fresh snapshot whose catalogue entry a test may rewrite; it is put back."""
    taken = estate.snapshot()
    assert taken.verdict is Verdict.PASSED, why(taken)
    found = next(each for each in estate.entries if each.id == taken.details["snapshot_id"])
    yield found
    estate.rewrite(found)


def failing(exercise: Exercise) -> set[str]:
    return {claim.name for claim in exercise.claims if claim.verdict is Verdict.FAILED}


def test_another_revision_is_found(estate: EtcdEstate, entry: Any) -> None:
    estate.rewrite(entry, revision=entry.revision - 1)
    exercise = estate.drill()
    named(exercise, "content_differs", f"the catalogue says {entry.revision - 1}")
    assert "counts" in failing(exercise)


def test_another_number_of_keys_is_found(estate: EtcdEstate, entry: Any) -> None:
    estate.rewrite(entry, counts=entry.counts | {"/registry/": entry.counts["/registry/"] + 1})
    exercise = estate.drill()
    named(exercise, "content_differs", "/registry/")
    assert failing(exercise) == {"counts"}


def test_another_hash_is_found(estate: EtcdEstate, entry: Any) -> None:
    estate.rewrite(entry, hash=entry.hash ^ 1)
    exercise = estate.drill()
    named(exercise, "hash_mismatch", str(entry.hash ^ 1))
    assert failing(exercise) == {"identical"}


def test_a_canary_that_is_not_there_is_found_and_one_that_nobody_recorded(estate: EtcdEstate) -> None:
    config = estate.cluster.config.canary
    last = estate.ctx.ledger.last_canary(estate.cluster.target)
    assert last is not None
    key = slot_key(config.prefix, last.seq - 1, config.keep)
    with estate.client() as client:
        value = client.range(key).kvs[0].value
        client.delete(key)
        assert estate.snapshot().verdict is Verdict.PASSED
        named(estate.drill(), "canary_missing", str(last.seq - 1))
        client.put(key, value)  # at another revision than the one on record
        assert estate.snapshot().verdict is Verdict.PASSED
        named(estate.drill(), "canary_changed", str(last.seq - 1))
        forged = json.loads(value) | {"seq": last.seq + 100_000}
        client.put(slot_key(config.prefix, last.seq + 100_000, config.keep), json.dumps(forged).encode())
        assert estate.snapshot().verdict is Verdict.PASSED
        named(estate.drill(), "canary_unexpected", str(last.seq + 100_000))
        client.delete(slot_key(config.prefix, last.seq + 100_000, config.keep))
    # the agent goes round its ring only in ten minutes: forget the one whose revision was changed here
    estate.lab.stop_service("etcd-agent")
    with estate.client() as client:
        client.delete(config.prefix.encode(), config.prefix[:-1].encode() + b"0")
    estate.ctx.ledger.prune_canaries(estate.cluster.target, datetime.now(UTC) + timedelta(seconds=1))
    estate.lab.start_service("etcd-agent")
    wait_for(lambda: len(estate.ctx.ledger.canaries("etcd/observatory")) >= 3, 30, "canaries again")
    assert estate.snapshot().verdict is Verdict.PASSED
    again = estate.drill()
    assert again.verdict is Verdict.PASSED, why(again)


def test_production_that_cannot_be_asked_leaves_it_unknown(estate: EtcdEstate) -> None:
    deaf = estate.changed(endpoints=(f"https://127.0.0.1:{free_base((0,))}",))
    exercise = deaf.drill()
    assert exercise.verdict is Verdict.UNKNOWN, why(exercise)
    claim = exercise.claim("identical")
    assert claim is not None and claim.verdict is Verdict.UNKNOWN
    assert "connection refused" in claim.reason


def test_the_revision_is_bumped_only_by_an_etcdutl_that_can(estate: EtcdEstate, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="knows no --bump-revision"):
        estate.drill(bump_revision=1_000_000_000)
    fake = tmp_path / "etcdutl"
    fake.write_text("#!/bin/sh\necho '      --bump-revision uint   How much to increase'\n")
    fake.chmod(0o755)
    check_flags(estate.changed(bin_dir=str(tmp_path)).cluster, Bump(1))
    with pytest.raises(UsageError, match="--mark-compacted needs --bump-revision"):
        restore(estate.ctx, NAME, to=tmp_path / "x", mark_compacted=True)


def test_the_printed_commands_are_run_word_for_word(estate: EtcdEstate, tmp_path: Path) -> None:
    """A cluster of three at other addresses; one of them is killed, and writes go on."""
    ports = {name: free_base((0, 1)) for name in ETCD_MEMBERS}
    wanted = [f"{name}=https://127.0.0.1:{port + 1},https://127.0.0.1:{port}" for name, port in ports.items()]
    exercise = restore(estate.ctx, NAME, to=tmp_path / "new", members=wanted)
    assert exercise.verdict is Verdict.PASSED, why(exercise)
    assert "revision_not_bumped" in {finding.code for finding in exercise.findings}
    steps = exercise.details["next"]
    starts = [step for step in steps if "--data-dir" in step]
    assert len(starts) == 3
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(_shell(step)) for step in starts]
        clients = [
            ready(
                stack.enter_context(
                    EtcdClient(f"https://127.0.0.1:{port}", service.tls(estate.lab.plan), timeout=5)
                )
            )
            for port in ports.values()
        ]
        for step in steps:
            if step not in starts:
                subprocess.run(step, shell=True, capture_output=True, timeout=60, check=True)
        entry = next(each for each in estate.entries if each.id == exercise.details["snapshot_id"])
        assert (
            clients[0].range(b"\x00", b"\x00", revision=entry.revision, count_only=True).count
            == entry.counts[""]
        )
        assert clients[1].hash_kv(entry.revision).hash == entry.hash
        servers[2].kill()
        servers[2].wait(10)
        wait_for(lambda: _takes(clients[0]), 30, "a write by the two that are left")
        assert clients[1].range(b"/proof").kvs[0].value == b"written"
    with pytest.raises(UsageError, match="is not empty"):
        restore(estate.ctx, NAME, to=tmp_path / "new")


def _takes(client: EtcdClient) -> bool:
    try:
        return client.put(b"/proof", b"written", timeout=2) > 0
    except OpsError:
        return False


@contextlib.contextmanager
def _shell(command: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        ["sh", "-c", f"exec {command}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def test_members_that_fail_and_leaders_that_move_never_give_a_bad_snapshot(estate: EtcdEstate) -> None:
    over = threading.Event()

    def disturb() -> None:
        turn = 0
        while not over.is_set():
            with contextlib.suppress(OpsError, StopIteration), estate.client() as client:
                status = client.status()
                members = client.members()
                to = next(m.id for m in members[turn % 3 :] + members if m.id != status.leader)
                leader = next(m.name for m in members if m.id == status.leader)
                with estate.client(leader) as head:
                    head.move_leader(to)
            if turn % 2:
                estate.lab.kill_service(ETCD_MEMBERS[turn % 3])
                estate.lab.start_service(ETCD_MEMBERS[turn % 3])
            turn += 1
            over.wait(0.2)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        taken = [estate.snapshot() for _ in range(8)]
    finally:
        over.set()
        disturber.join()
    assert any(each.verdict is Verdict.PASSED for each in taken), [why(each) for each in taken]
    deep = estate.listing(deep=True)
    assert deep.claim("intact").verdict is Verdict.PASSED, why(deep)  # type: ignore[union-attr]
    ids = {each["id"] for each in deep.details["snapshots"]}
    assert {each.details["snapshot_id"] for each in taken if each.verdict is Verdict.PASSED} <= ids
    wait_for(lambda: estate.health().claim("quorum").verdict is Verdict.PASSED, 30, "a quorum")  # type: ignore[union-attr]
    time.sleep(2)  # a canary or two
    assert estate.snapshot().verdict is Verdict.PASSED
    exercise = estate.drill()
    assert exercise.verdict is Verdict.PASSED, why(exercise)


def _command(estate: EtcdEstate, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ccobs_ops.cli.main", "--inventory", str(estate.lab.inventory_path), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def test_killed_snapshots_are_never_listed_half_and_killed_drills_leave_nothing(estate: EtcdEstate) -> None:
    for step in range(4):
        known = {entry.id for entry in estate.entries}
        process = _command(estate, "etcd", "snapshot", NAME)
        time.sleep(0.6 + step * 0.2)
        process.kill()
        process.wait(10)
        for entry in estate.entries:
            assert entry.id in known or not estate.archive.check_parts(entry)
    for step in range(2):
        process = _command(estate, "etcd", "drill", NAME, "--members", "3")
        wait_for(lambda: bool(estate.sandboxes()), 20, "a sandbox")
        time.sleep(step * 1.0)
        process.kill()
        process.wait(10)
        wait_for(lambda: estate.sandboxes() == [], 20, "the reaper to remove the sandbox")
    root = str(estate.ctx.inventory.state / "sandbox")
    left = [p for p in psutil.process_iter() if p.name() == "etcd" and _cwd(p).startswith(root)]
    assert left == []
    assert estate.snapshot().verdict is Verdict.PASSED
    deep = estate.listing(deep=True)
    assert deep.verdict is Verdict.PASSED, why(deep)


def _cwd(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""


def test_a_killed_agent_loses_no_canary(estate: EtcdEstate) -> None:
    for _ in range(2):
        estate.lab.kill_service("etcd-agent")
        estate.lab.start_service("etcd-agent")
    before = estate.ctx.ledger.last_canary(estate.cluster.target)
    assert before is not None
    wait_for(
        lambda: estate.ctx.ledger.last_canary(estate.cluster.target).seq > before.seq + 1,  # type: ignore[union-attr]
        30,
        "canaries after the restart",
    )
    bounds = estate.ctx.ledger.canary_bounds(estate.cluster.target)
    assert bounds is not None
    assert len(estate.ctx.ledger.canaries(estate.cluster.target)) == bounds[1] - bounds[0] + 1
    assert estate.snapshot().verdict is Verdict.PASSED
    exercise = estate.drill()
    assert exercise.verdict is Verdict.PASSED, why(exercise)


def test_retention_deletes_only_what_is_allowed_and_asked_for(estate: EtcdEstate) -> None:
    with pytest.raises(RefusedError, match="is not confirmed"):
        prune(estate.ctx, NAME, dry_run=False, confirmation="etcd/other")
    forbidden = estate.changed(allow=())
    with pytest.raises(RefusedError, match="does not allow retention"):
        prune(forbidden.ctx, NAME, dry_run=False, confirmation="etcd/observatory")
    rules = estate.cluster.config.retention.model_copy(
        update={"snapshots": 2, "window": timedelta(microseconds=1)}
    )
    strict = estate.changed(retention=rules)
    count = len(estate.entries)
    dry = prune(strict.ctx, NAME)
    assert (dry.verdict, len(dry.details["dropped"])) == (Verdict.PASSED, count - 2)
    assert len(estate.entries) == count
    wet = prune(strict.ctx, NAME, dry_run=False, confirmation="etcd/observatory")
    assert wet.verdict is Verdict.PASSED, why(wet)
    assert [entry.id for entry in estate.entries] == wet.details["kept"]
    assert len(estate.entries) == 2
    assert estate.drill().verdict is Verdict.PASSED


def test_defragmentation_goes_one_by_one_and_the_leader_last(estate: EtcdEstate) -> None:
    dry = defragment(estate.ctx, NAME)
    assert dry.verdict is Verdict.PASSED
    with pytest.raises(RefusedError, match="is not confirmed"):
        defragment(estate.ctx, NAME, dry_run=False)
    with estate.client() as client:
        leader = next(m.name for m in client.members() if m.id == client.status().leader)
    done = defragment(estate.ctx, NAME, dry_run=False, confirmation="etcd/observatory")
    assert done.verdict is Verdict.PASSED, why(done)
    assert done.details["order"][-1] == leader
    assert sorted(done.details["order"]) == sorted(ETCD_MEMBERS)
    estate.lab.kill_service("etcd-1")
    refused = defragment(estate.ctx, NAME, dry_run=False, confirmation="etcd/observatory")
    assert refused.verdict is Verdict.FAILED
    assert "while a member is not well" in refused.reason
    estate.lab.start_service("etcd-1")


def test_the_command_line(estate: EtcdEstate, capsys: pytest.CaptureFixture[str]) -> None:
    def ask(*words: str, ok: int = 0) -> tuple[str, str]:
        assert command_line(["--inventory", str(estate.lab.inventory_path), *words]) == ok
        return capsys.readouterr()

    document = json.loads(ask("etcd", "snapshot", "--json")[0])
    assert (document["capability"], document["verdict"]) == ("snapshot", "PASSED")
    assert all(len(line) <= 80 for line in ask("etcd", "health")[0].splitlines())
    assert "snapshots whole" in ask("etcd", "snapshots")[0]
    assert "exactly one of --latest" in ask("etcd", "restore", "--to", "/nowhere/x", ok=2)[1]
    assert "exactly one of --latest" in ask("etcd", "drill", "--latest", "--snapshot", "x", ok=2)[1]
    assert "1 or 3 members, not 2" in ask("etcd", "drill", "--members", "2", ok=2)[1]
    assert "is not in the catalogue" in ask("etcd", "drill", "--snapshot", "nosuch", ok=1)[0]
    assert (
        "cannot be read"
        in ask("etcd", "restore", "--latest", "--to", "/nowhere/x", "--member", "m1", ok=2)[1]
    )
    assert "no store 'asia'" in ask("etcd", "drill", "--store", "asia", ok=2)[1]
    assert "etcd/observatory" in ask("check", "--json")[0]
