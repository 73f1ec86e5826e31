"""Repair and canaries on two real regions without a replicator: what is copied, what is left, how lag is measured."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from ccobs_ops.core.context import Context
from ccobs_ops.core.errors import RefusedError, UsageError
from ccobs_ops.core.exercise import Exercise, Verdict, utc_now
from ccobs_ops.core.replication import objects
from ccobs_ops.core.replication.agent import run_agents
from ccobs_ops.core.replication.arrivals import Arrivals
from ccobs_ops.core.replication.canary import Canaries
from ccobs_ops.core.replication.compare import compare
from ccobs_ops.core.replication.copy import Copier
from ccobs_ops.core.replication.lag import measure
from ccobs_ops.core.replication.lister import Lister
from ccobs_ops.core.replication.repair import repair
from ccobs_ops.lab import Lab
from ccobs_ops.lab.plan import BUCKET, PROBE_BUCKET
from tests.lab_support import take_down_and_check
from tests.postgres_support import codes, wait_for, why
from tests.replication_lab import Regions, hurry, multipart, state

pytestmark = pytest.mark.lab
TARGET = "replication/backups"
_HOUR = timedelta(hours=1)
GROWN = 3.2
"""Seconds after which an object is older than the RPO, in whole seconds of S3."""


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regions]:
    directory = tmp_path_factory.mktemp("repair") / "lab"
    try:
        made = Regions(Lab.up(directory, services=["us", "eu"]))
        hurry(made.lab, rpo="2s", interval="1s")
        yield made
    finally:
        take_down_and_check(directory)


@pytest.fixture(autouse=True)
def empty(regions: Regions) -> Iterator[None]:
    """Every test begins with two empty buckets; an object has to grow older than the RPO first."""
    yield
    for s3 in (regions.us, regions.eu):
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for row in page.get("Contents", ()):
                s3.delete_object(Bucket=BUCKET, Key=row["Key"])


def put_right(regions: Regions, **options: Any) -> Exercise:
    with regions.context() as ctx:
        return repair(ctx, "backups", **options)


def test_exactly_the_differences_are_copied_as_they_are(regions: Regions) -> None:
    us, eu, rng = regions.us, regions.eu, Random(5)
    eu.put_object(Bucket=BUCKET, Key="r/older", Body=b"old")
    eu.put_object(Bucket=BUCKET, Key="r/extra", Body=b"only here")
    same = rng.randbytes(500)
    for s3 in (us, eu):
        s3.put_object(Bucket=BUCKET, Key="r/same", Body=same)
    time.sleep(2.1)
    us.put_object(Bucket=BUCKET, Key="r/older", Body=b"newer and longer")
    us.put_object(
        Bucket=BUCKET,
        Key="r/plain",
        Body=rng.randbytes(3000),
        ContentType="text/x-log",
        CacheControl="no-store",
        Metadata={"made-by": "test"},
        Tagging="team=storage&note=a%20b%26c",
        ChecksumAlgorithm="SHA256",
    )
    us.put_object(Bucket=BUCKET, Key="r/empty", Body=b"")
    us.put_object(Bucket=BUCKET, Key="r/§ été+%25 ?#.bin", Body=b"odd")
    us.put_object(Bucket=BUCKET, Key="r/large", Body=rng.randbytes(9 * 1024 * 1024))
    multipart(us, "r/multi", [5 * 1024 * 1024, 5 * 1024 * 1024, 333], rng)
    multipart(us, "r/single-part", [1000], rng)
    time.sleep(GROWN)
    copied = {"r/older", "r/plain", "r/empty", "r/§ été+%25 ?#.bin", "r/large", "r/multi", "r/single-part"}

    exercise, found = regions.compare("backups", prefix="r/")
    assert {key for kind, keys in found.items() if kind != "only_in_replica" for key in keys} == copied
    before = {key: state(eu, key) for key in ("r/extra", "r/same")}

    planned = put_right(regions)
    assert planned.verdict is Verdict.PASSED, why(planned)
    assert "dry run: 7 objects" in planned.reason
    assert set(planned.details["would_copy"]) == copied
    assert "r/plain" not in regions.keys("eu", "backups"), "a dry run copies nothing"

    done = put_right(regions, dry_run=False, confirmation="backups", comparison=exercise.id)
    assert done.verdict is Verdict.PASSED, why(done)
    assert done.measurements["copied"] == len(copied)
    assert done.measurements["left"] == 0
    for key in copied:
        assert state(eu, key) == state(us, key), key
    assert {key: state(eu, key) for key in before} == before, "nothing else is touched, nothing is deleted"
    again, found = regions.compare("backups", prefix="r/")
    assert found == {"only_in_replica": {"r/extra"}}, why(again)

    repeated = put_right(regions, dry_run=False, confirmation="backups", comparison=exercise.id)
    assert repeated.verdict is Verdict.PASSED, why(repeated)
    assert (repeated.measurements["copied"], repeated.measurements["already_repaired"]) == (0, len(copied))


def test_what_is_newer_or_changed_meanwhile_is_left_and_named(
    regions: Regions, monkeypatch: pytest.MonkeyPatch
) -> None:
    us, eu = regions.us, regions.eu
    us.put_object(Bucket=BUCKET, Key="n/newer", Body=b"source")
    eu.put_object(Bucket=BUCKET, Key="n/moved-on", Body=b"replica")
    time.sleep(3.1)
    eu.put_object(Bucket=BUCKET, Key="n/newer", Body=b"written after the source's")
    for key in ("n/moved-on", "n/gone", "n/raced", "n/fine"):
        us.put_object(Bucket=BUCKET, Key=key, Body=b"the source's " + key.encode())
    time.sleep(GROWN)
    exercise, found = regions.compare("backups", prefix="n/")
    assert exercise.verdict is Verdict.FAILED
    assert found["missing"] == {"n/gone", "n/raced", "n/fine"}

    us.delete_object(Bucket=BUCKET, Key="n/gone")
    eu.put_object(Bucket=BUCKET, Key="n/moved-on", Body=b"changed since the comparison")
    copy = Copier.copy

    def raced(self: Copier, key: str, seen: Any, *, replaces: str | None) -> None:
        if key == "n/raced":  # between our look and our write somebody else writes
            eu.put_object(Bucket=BUCKET, Key=key, Body=b"somebody was faster")
        copy(self, key, seen, replaces=replaces)

    head = objects.head

    def slow(side: Lister, key: str, version_id: str = "") -> objects.Head:
        if key == "n/newer" and side.store == "eu":
            time.sleep(4)  # what the second answer took must not count as the replica's age
        return head(side, key, version_id)

    monkeypatch.setattr(Copier, "copy", raced)
    monkeypatch.setattr(objects, "head", slow)
    done = put_right(regions, dry_run=False, confirmation="replication/backups")
    assert done.verdict is Verdict.FAILED, why(done)
    assert done.measurements["copied"] == 1
    named = {finding.subject: finding.code for finding in done.findings}
    assert named["n/newer"] == "repair_newer"
    assert named["n/moved-on"] in ("repair_newer", "repair_changed")
    assert named["n/gone"] == "repair_gone"
    assert named["n/raced"] == "repair_changed"
    assert "n/fine" not in named
    assert state(eu, "n/newer")["body"] == b"written after the source's"
    assert state(eu, "n/moved-on")["body"] == b"changed since the comparison"
    assert state(eu, "n/raced")["body"] == b"somebody was faster"
    assert state(eu, "n/fine")["body"] == b"the source's n/fine"


def test_the_guard_refuses(regions: Regions) -> None:
    regions.us.put_object(Bucket=BUCKET, Key="g/one", Body=b"1")
    regions.compare("backups", prefix="g/")
    with pytest.raises(RefusedError, match="not confirmed"):
        put_right(regions, dry_run=False, confirmation="artifacts")
    with pytest.raises(RefusedError, match="not confirmed"):
        put_right(regions, dry_run=False)
    with regions.context() as ctx:
        pair = ctx.inventory.replication["backups"].model_copy(update={"allow": ()})
        bare = ctx.inventory.model_copy(update={"replication": {"backups": pair}})
        with pytest.raises(RefusedError, match="does not allow repair"):
            repair(Context(bare, ctx.ledger), "backups", dry_run=False, confirmation="backups")
    with pytest.raises(UsageError, match="no comparisons"):
        put_right(regions, comparison="20000101")
    assert regions.keys("eu", "backups") == {}


def test_a_repair_is_bounded_in_objects_and_bytes(regions: Regions) -> None:
    rng = Random(2)
    for number in range(6):
        regions.us.put_object(Bucket=BUCKET, Key=f"b/{number}", Body=rng.randbytes(200_000))
    time.sleep(GROWN)
    regions.compare("backups", prefix="b/")
    with regions.context() as ctx:
        pair = ctx.inventory.replication["backups"]
        limits = pair.repair.model_copy(update={"max_objects": 4, "max_rate": 300_000})
        slow = ctx.inventory.model_copy(
            update={"replication": {"backups": pair.model_copy(update={"repair": limits})}}
        )
        done = repair(Context(slow, ctx.ledger), "backups", dry_run=False, confirmation="backups")
    assert done.measurements["copied"] == 4
    assert "repair_bounded" in codes(done)
    copy = next(phase for phase in done.phases if phase.name == "copy")
    assert copy.seconds >= (800_000 - 300_000) / 300_000, (
        "four objects at 300 kB a second, after a burst of one second"
    )


def test_stores_of_one_endpoint_copy_by_themselves(regions: Regions) -> None:
    rng = Random(3)
    multipart(regions.us, "s/multi", [5 * 1024 * 1024, 77], rng)
    regions.us.put_object(
        Bucket=BUCKET, Key="s/plain", Body=b"plain", Metadata={"a": "b"}, Tagging="x=y", ContentType="text/y"
    )
    time.sleep(GROWN)
    with regions.context() as ctx:
        near = ctx.inventory.stores["us"].model_copy(update={"bucket": PROBE_BUCKET})
        pair = ctx.inventory.replication["backups"].model_copy(update={"replica": "near", "prefix": "s/"})
        inventory = ctx.inventory.model_copy(
            update={"stores": {**ctx.inventory.stores, "near": near}, "replication": {"backups": pair}}
        )
        local = Context(inventory, ctx.ledger)
        compare(local, "backups")
        done = repair(local, "backups", dry_run=False, confirmation="backups")
        after = compare(local, "backups", hash_sample=1.0)
    assert done.verdict is Verdict.PASSED, why(done)
    assert done.details["server_side"] is True
    # SeaweedFS gives copied parts an ETag of its own kind; reading both sides settles it
    assert after.verdict is Verdict.PASSED, why(after)
    head = regions.us.head_object(Bucket=PROBE_BUCKET, Key="s/multi")
    assert head["ContentLength"] == 5 * 1024 * 1024 + 77
    assert head["ContentType"] == "application/x-tar"
    assert regions.us.head_object(Bucket=PROBE_BUCKET, Key="s/plain")["Metadata"] == {"a": "b"}


def carry(regions: Regions, stop: threading.Event, delay: float) -> None:
    """A replicator of the test: carries canaries over after `delay` seconds, also when a region was down."""
    first: dict[str, float] = {}
    while not stop.wait(0.05):
        try:
            rows = regions.us.list_objects_v2(Bucket=BUCKET, Prefix="ccobs-canary/").get("Contents", ())
            for key in [row["Key"] for row in rows]:
                seen = first.setdefault(key, time.monotonic())
                if seen >= 0 and time.monotonic() - seen >= delay:
                    body = regions.us.get_object(Bucket=BUCKET, Key=key)["Body"].read()
                    regions.eu.put_object(Bucket=BUCKET, Key=key, Body=body)
                    first[key] = -1.0
        except Exception:  # noqa: BLE001 - a region that is down is tried again
            continue


def test_the_agent_measures_a_known_lag_and_survives_kill_and_both_sides(regions: Regions) -> None:
    stop = threading.Event()
    carrier = threading.Thread(target=carry, args=(regions, stop, 1.0))
    carrier.start()
    command = [sys.executable, "-m", "ccobs_ops.cli.main", "--inventory", str(regions.lab.inventory_path)]
    command += ["replication", "agent", "backups"]
    log = regions.lab.plan.log("agent-of-the-test").open("ab")

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdout=log, stderr=log)

    agent = start()
    try:
        with regions.context() as ctx:
            book = Arrivals(ctx.ledger, TARGET)
            wait_for(
                lambda: sum(one.seen_at is not None for one in book.since(ctx.clock() - _HOUR)) >= 2,
                60,
                "two",
            )
            sharp = [
                one.lag_seconds for one in book.since(ctx.clock() - _HOUR) if one.lag_seconds is not None
            ]
            assert sharp and min(sharp) >= 0.9, "the lag of the test's replicator is a second"

            agent.send_signal(signal.SIGKILL)
            agent.wait(10)
            known = book.last_seq()
            orphan = f"ccobs-canary/{known + 1:012d}-0badcafe"
            regions.us.put_object(
                Bucket=BUCKET, Key=orphan, Body=b"written, and killed before it was recorded"
            )
            agent = start()
            wait_for(
                lambda: any(
                    one.key == orphan and one.reconciled and one.seen_at
                    for one in book.since(ctx.clock() - _HOUR)
                ),
                60,
                "the orphan to be taken up",
            )

            for region in ("eu", "us"):
                before = book.last_seq()
                regions.lab.kill_service(region)
                time.sleep(3)
                assert agent.poll() is None, f"the agent ended when {region} went down"
                regions.lab.start_service(region)
                wait_for(
                    lambda before=before: any(
                        one.seq > before and one.seen_at for one in book.since(ctx.clock() - _HOUR)
                    ),
                    90,
                    f"a canary to arrive after {region} came back",
                )
            exercise = measure(ctx, "backups")
            assert exercise.measurements["canaries_arrived"] >= 4
            assert "canary_corrupt" not in codes(exercise)
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(30) == 0
    finally:
        stop.set()
        carrier.join(30)
        if agent.poll() is None:
            agent.kill()
            agent.wait(10)
        log.close()


def test_a_canary_that_arrives_with_other_bytes_is_a_finding_at_once(regions: Regions) -> None:
    stop, told = threading.Event(), []
    with regions.context() as ctx:
        thread = threading.Thread(target=run_agents, args=(ctx, ["artifacts"]), kwargs={"stop": stop})
        thread.start()
        try:
            book = Arrivals(ctx.ledger, "replication/artifacts")
            wait_for(book.waiting, 30, "a canary")
            regions.eu.put_object(Bucket="ccobs-artifacts", Key=book.waiting()[0].key, Body=b"other bytes")
            wait_for(
                lambda: (
                    (latest := ctx.ledger.latest("replication/artifacts", "canary")) is not None
                    and "canary_corrupt" in codes(latest)
                ),
                30,
                "the finding",
            )
            told = ctx.ledger.events("replication/artifacts", "canary_corrupt")
        finally:
            stop.set()
            thread.join(30)
    assert told and not thread.is_alive()


def test_without_an_agent_one_canary_is_sent_and_a_breach_needs_proof(regions: Regions) -> None:
    stop = threading.Event()
    with regions.context() as ctx:
        early = measure(ctx, "artifacts", wait=timedelta(seconds=1))
        arriving = early.claim("arriving")
        assert arriving is not None and arriving.verdict is not Verdict.PASSED
        carrier = threading.Thread(target=carry_artifacts, args=(regions, stop))
        carrier.start()
        try:
            late = measure(ctx, "artifacts", wait=timedelta(seconds=30))
        finally:
            stop.set()
            carrier.join(30)
        assert late.measurements["canaries_arrived"] >= 1, why(late)


def carry_artifacts(regions: Regions, stop: threading.Event) -> None:
    while not stop.wait(0.1):
        rows = regions.us.list_objects_v2(Bucket="ccobs-artifacts", Prefix="ccobs-canary/").get(
            "Contents", ()
        )
        for row in rows:
            body = regions.us.get_object(Bucket="ccobs-artifacts", Key=row["Key"])["Body"].read()
            regions.eu.put_object(Bucket="ccobs-artifacts", Key=row["Key"], Body=body)


def test_old_canaries_are_removed_on_both_sides_and_nothing_else_is(regions: Regions) -> None:
    foreign = "ccobs-canary/000000000001-not-one-of-ours"
    regions.us.put_object(Bucket=BUCKET, Key=foreign, Body=b"somebody else's")
    ahead = timedelta(0)
    with regions.context() as ctx:
        later = Context(ctx.inventory, ctx.ledger, clock=lambda: utc_now() + ahead)
        canaries = Canaries(later, "backups")
        canaries.reconcile()
        arrived, lost, waiting = (canaries.send() for _ in range(3))
        regions.eu.put_object(
            Bucket=BUCKET,
            Key=arrived.key,
            Body=regions.us.get_object(Bucket=BUCKET, Key=arrived.key)["Body"].read(),
        )
        for each in (arrived, lost):
            canaries.watch(each)
        wait_for(
            lambda: arrived in [replace(one, seen_at=None) for one in canaries.look()], 20, "the arrival"
        )
        assert canaries.remove_old() == 0, "none is older than canary.keep"
        ahead = canaries.config.timeout + timedelta(seconds=1)
        wait_for(lambda: any(one.given_up_at for one in canaries.look()), 20, "the lost one to be given up")
        ahead = canaries.config.keep + timedelta(minutes=1)
        assert canaries.remove_old() >= 2
        left = {
            row["Key"]
            for row in regions.us.list_objects_v2(Bucket=BUCKET, Prefix="ccobs-canary/")["Contents"]
        }
        assert left >= {foreign, waiting.key}
        assert not left & {arrived.key, lost.key}
        assert not regions.eu.list_objects_v2(Bucket=BUCKET, Prefix=arrived.key).get("Contents")
