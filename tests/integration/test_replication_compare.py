"""Every difference between two listings is found, named by its kind, and nothing else is."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.replication.rows import Row
from bench.replication.server import Trouble
from ccobs_ops.core.exercise import Verdict
from ccobs_ops.core.replication.difference import Kind
from tests.replication_support import ago, paired

MULTIPART = "9b2cf535f27731c974343645a3985328-3"


def rows(count: int) -> list[Row]:
    return [Row.of(f"data/{number // 700:03d}/{number:06d}", str(number).encode()) for number in range(count)]


def test_equal_sides_pass_and_say_how_much_was_compared(tmp_path: Path) -> None:
    with paired(tmp_path, rows(4321), rows(4321)) as pair:
        exercise = pair.compare()
    assert exercise.verdict is Verdict.PASSED
    assert exercise.measurements["source_objects"] == exercise.measurements["replica_objects"] == 4321
    assert [claim.name for claim in exercise.claims] == ["complete", "content", "no_extra"]
    assert pair.differences() == []
    assert list((tmp_path / ".ccobs/replication/pair").glob("running*")) == []


def test_each_kind_is_found_and_named_and_nothing_else(tmp_path: Path) -> None:
    source, replica = rows(5000), rows(5000)
    del replica[0], replica[998], replica[2001 - 2], replica[-1]
    replica[1500] = Row.of(replica[1500].key, b"another size")
    replica[1501] = Row.of(replica[1501].key, replica[1501].body[::-1] + b"")  # type: ignore[index]
    expected = {
        ("missing", source[0].key),
        ("missing", source[999].key),
        ("missing", source[2001].key),
        ("missing", source[-1].key),
        ("size_mismatch", replica[1500].key),
        ("content_mismatch", replica[1501].key),
        ("only_in_replica", "data/000/000000+"),
        ("only_in_replica", "zz"),
        ("pending", "data/new"),
        ("unverifiable", "multi"),
    }
    replica += [Row.of("data/000/000000+", b"1"), Row.of("zz", b"1"), Row("multi", 9, MULTIPART)]
    source += [Row.of("data/new", b"1", ago(5)), Row("multi", 9, "0" * 32)]
    with paired(tmp_path, source, replica) as pair:
        exercise = pair.compare()
        found = pair.differences()
    assert {(each.kind.value, each.key) for each in found} == expected
    assert [each.key.encode() for each in found] == sorted(each.key.encode() for each in found)
    assert exercise.verdict is Verdict.FAILED
    assert {claim.name: claim.verdict for claim in exercise.claims} == dict.fromkeys(
        ("complete", "content", "no_extra"), Verdict.FAILED
    )
    named = {(each.code, each.subject) for each in exercise.findings}
    assert named == expected - {("pending", "data/new")}, "what is on its way is counted, not a finding"
    assert exercise.measurements["missing"] == 4
    assert exercise.measurements["missing_bytes"] == sum(source[n].bytes for n in (0, 999, 2001)) + 4


def test_unverifiable_content_leaves_the_claim_unknown_and_reading_settles_it(tmp_path: Path) -> None:
    same, other = b"one content", b"two content"
    source = [Row("a", 11, "1" * 32, body=same), Row("b", 11, "2" * 32, body=same)]
    replica = [Row("a", 11, MULTIPART, body=same), Row("b", 11, MULTIPART, body=other)]
    with paired(tmp_path, source, replica) as pair:
        unread = pair.compare()
        assert unread.claim("content").verdict is Verdict.UNKNOWN  # type: ignore[union-attr]
        assert unread.verdict is Verdict.UNKNOWN
        assert pair.found(hash_sample=1.0) == [("content_mismatch", "b")]


def test_equal_etags_over_other_bytes_are_found_by_reading(tmp_path: Path) -> None:
    source, replica = rows(60), rows(60)
    replica[37] = Row(source[37].key, source[37].bytes, source[37].etag, body=b"XX")
    with paired(tmp_path, source, replica) as pair:
        assert pair.compare().verdict is Verdict.PASSED, "listings cannot tell"
        exercise = pair.compare(hash_sample=1.0)
        assert [(each.kind, each.key) for each in pair.differences()] == [
            (Kind.CONTENT_MISMATCH, source[37].key)
        ]
    assert exercise.verdict is Verdict.FAILED
    assert exercise.measurements["read_in_full"] == 60


def test_the_sample_says_what_it_proves(tmp_path: Path) -> None:
    with paired(tmp_path, rows(1500), rows(1500)) as pair:
        exercise = pair.compare(hash_sample=0.1)
        read = exercise.measurements["read_in_full"]
        assert 90 < read < 220
        bound = exercise.measurements["undetected_bound_ratio"]
        assert bound == pytest.approx(3 / read, rel=0.02)
        assert f"{bound:.2%}" in exercise.claim("content").reason  # type: ignore[union-attr]
        another = pair.compare(hash_sample=0.001)
        assert another.details["seed"] != exercise.details["seed"], "another night draws other objects"


def test_the_sample_reads_no_more_than_its_limit(tmp_path: Path) -> None:
    big = [Row.of(f"k{number:03d}", bytes([number]) * 1000) for number in range(100)]
    with paired(tmp_path, big, big, hash_limit="10KB") as pair:
        exercise = pair.compare(hash_sample=1.0)
    assert exercise.measurements["read_in_full"] == 10


ODD = [
    "",
    "/",
    "//",
    "a//b",
    "a/",
    "a",
    "a b",
    "a+b",
    "a%2Fb",
    "a%2fb",
    "a&amp;b",
    "a&b<c>\"'",
    "a\x01b",
    "a\nb\r\tc",
    "a\x7f",
    "ä/ö",
    "e\u0301",
    "é",
    "\ufffd",
    "😀",
    "\uff5e",
    "../x",
    "./x",
    "q" * 1024,
    "w/" * 500,
    "z\u2028z",
    "~",
]


@pytest.mark.parametrize("prefix", ["", "base+ä&"])
def test_keys_of_every_kind_compare_right(tmp_path: Path, prefix: str) -> None:
    root = f"{prefix}/" if prefix else ""
    odd = [key for key in ODD if key or prefix]
    everything = [Row.of(root + key, key.encode()) for key in odd]
    stores = {name: {"prefix": prefix} for name in ("us", "eu")}
    with paired(tmp_path, everything, everything, stores=stores) as pair:
        assert pair.compare().measurements["source_objects"] == len(odd)
        assert pair.differences() == []
        for lost in odd:
            pair.replica.drop(root + lost)
        assert pair.found() == [("missing", key) for key in sorted(odd, key=str.encode)]
        for key in odd:
            pair.replica.put(Row.of(root + key, key.encode()))
            pair.source.drop(root + key)
        assert pair.found() == [("only_in_replica", key) for key in sorted(odd, key=str.encode)]


def test_prefixes_of_stores_may_differ(tmp_path: Path) -> None:
    source = [Row.of(f"here/{n}", b"1") for n in range(1500)] + [Row.of("hereafter", b"1")]
    replica = [Row.of(f"over/there/{n}", b"1") for n in range(1500)]
    stores = {"us": {"prefix": "here"}, "eu": {"prefix": "over/there"}}
    with paired(tmp_path, source, replica, stores=stores) as pair:
        assert pair.compare().verdict is Verdict.PASSED
        pair.replica.drop("over/there/77")
        assert pair.found() == [("missing", "77")]


def test_only_the_prefix_is_compared(tmp_path: Path) -> None:
    source = rows(2000)
    with paired(tmp_path, source, source[:1400]) as pair:
        assert pair.compare(prefix="data/000/").verdict is Verdict.PASSED
        assert pair.compare(prefix="data/001/").measurements["source_objects"] == 700
        assert {key for _, key in pair.found(prefix="data/002/")} == {row.key for row in source[1400:]}


def test_nothing_to_compare_is_unknown(tmp_path: Path) -> None:
    with paired(tmp_path, rows(10), rows(10)) as pair:
        exercise = pair.compare(prefix="daat/")
    assert exercise.verdict is Verdict.UNKNOWN
    assert "nothing was compared" in exercise.reason


def test_rules_explain_what_is_not_replicated(tmp_path: Path) -> None:
    source = [
        Row.of("tmp/a", b"1"),
        Row.of("keep/b", b"1"),
        Row("keep/cold", 1, "3" * 32, storage_class="GLACIER"),
        Row.of("ccobs-canary/1", b"1"),
        Row.of("other/d", b"1"),
    ]
    rules = {
        "prefixes": ["keep/", "tmp/"],
        "exclude_prefixes": ["tmp/"],
        "storage_classes": ["STANDARD"],
    }
    with paired(tmp_path, source, [], rules=rules) as pair:
        exercise = pair.compare()
        found = {each.key: each for each in pair.differences()}
    assert {key: each.kind.value for key, each in found.items()} == {
        "tmp/a": "excluded_by_rule",
        "keep/b": "missing",
        "keep/cold": "excluded_by_rule",
        "ccobs-canary/1": "excluded_by_rule",
        "other/d": "excluded_by_rule",
    }
    assert found["tmp/a"].why == "the prefix tmp/ is not replicated"
    assert exercise.measurements["excluded_by_rule"] == 4


def test_keys_that_change_while_listing_are_not_reported(tmp_path: Path) -> None:
    source, replica = rows(6000), rows(6000)
    chosen = random.Random(3).sample(range(6000), 40)

    def meanwhile(bucket: str, number: int) -> None:
        """Between the page of the source and that of the replica, forty objects change on both sides, and one is new."""
        if bucket == "replica":
            fresh = [Row.of(source[index].key, b"new %d" % number, ago(3600)) for index in chosen]
            pair.source.put(*fresh, Row.of(f"data/{number % 9:03d}/new{number}", b"1", ago(0)))
            pair.replica.put(*fresh)

    with paired(tmp_path, source, replica, Trouble(hook=meanwhile)) as pair:
        exercise = pair.compare()
        assert {each.kind.value for each in pair.differences()} <= {"pending"}
        assert exercise.measurements["resolved"] >= 20
        assert exercise.verdict is Verdict.PASSED


def test_only_suspects_are_looked_at_again(tmp_path: Path) -> None:
    source = rows(3000)
    with paired(tmp_path, source, source[:1000] + source[1003:], concurrency=1) as pair:
        pair.compare()
    assert set(pair.trouble.heads) == {row.key for row in source[1000:1003]}


def test_many_suspects_are_listed_again_instead_of_asked_for_one_by_one(tmp_path: Path) -> None:
    source = rows(9000)
    with paired(tmp_path, source, source[:2000] + source[7000:]) as pair:
        assert len(pair.found()) == 5000
        assert len(pair.trouble.heads) < 400
        assert pair.compare().measurements["missing"] == 5000


@pytest.mark.parametrize("status", [500, 503])
def test_a_tenth_of_the_pages_failing_gives_the_same_report(tmp_path: Path, status: int) -> None:
    source, replica = rows(20_000), rows(20_000)
    del replica[17], replica[9000], replica[15_000]
    with paired(tmp_path, source, replica) as pair:
        calm = pair.compare()
        expected = pair.differences()
        pair.trouble.fail, pair.trouble.status = 0.1, status
        rough = pair.compare()
        assert pair.differences() == expected
    assert (rough.verdict, rough.reason) == (calm.verdict, calm.reason)
    assert rough.measurements["source_objects"] == 20_000
    assert rough.measurements["retries"] > 0
    assert ("throttled" in {each.code for each in rough.findings}) == (status == 503)


def test_a_store_that_throttles_is_asked_less(tmp_path: Path) -> None:
    with paired(tmp_path, rows(30_000), rows(30_000), concurrency=16) as pair:
        pair.trouble.fail, pair.trouble.status, pair.trouble.delay = 0.2, 503, 0.01
        exercise = pair.compare()
    assert exercise.verdict is Verdict.PASSED
    [told, *_] = [each for each in exercise.findings if each.code == "throttled"]
    assert "side by side" in told.message
    assert int(told.message.rpartition("at least ")[2].split()[0]) < 16


def test_what_is_unknown_because_a_store_throttles_says_so(tmp_path: Path) -> None:
    with paired(tmp_path, rows(100), rows(100)) as pair:
        pair.trouble.fail, pair.trouble.status = 1.0, 503
        exercise = pair.compare()
    assert exercise.verdict is Verdict.UNKNOWN
    assert {"throttled", "not_checked"} <= {each.code for each in exercise.findings}


@pytest.mark.parametrize("which", ["source", "replica"])
def test_a_side_that_is_down_is_unknown_never_all_missing(tmp_path: Path, which: str) -> None:
    store = {"source": "us", "replica": "eu"}[which]
    down = {store: {"endpoint": "http://127.0.0.1:9"}}
    with paired(tmp_path, rows(2000), rows(2000), stores=down) as pair:
        exercise = pair.compare()
    assert exercise.verdict is Verdict.UNKNOWN
    assert "could not be listed" in exercise.reason
    assert which in exercise.reason
    assert not any(each.code in set(Kind) for each in exercise.findings)


def test_a_replica_that_goes_down_on_the_way_is_unknown_and_can_be_resumed(tmp_path: Path) -> None:
    source = rows(40_000)

    def die(bucket: str, number: int) -> None:
        if bucket == "replica" and number > 25:
            raise ConnectionAbortedError

    stores = {name: {"timeout": "5s"} for name in ("us", "eu")}
    with paired(tmp_path, source, source[:-1], Trouble(hook=die), concurrency=1, stores=stores) as pair:
        broken = pair.compare()
        assert broken.verdict is Verdict.UNKNOWN
        assert "--resume" in broken.findings[0].hint
        pair.trouble.hook = None
        served = dict(pair.trouble.served)
        pair.trouble.delay = 0.0001
        finished = pair.compare(resume=True)
        assert pair.trouble.served["source"] - served["source"] < 40, "what was on record is not listed again"
        assert [(each.kind.value, each.key) for each in pair.differences()] == [("missing", source[-1].key)]
    assert finished.details["resumed"] is True
    assert finished.measurements["source_objects"] == 40_000


def test_a_bucket_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    with paired(tmp_path, rows(10), rows(10), stores={"eu": {"bucket": "nowhere"}}) as pair:
        exercise = pair.compare()
    assert exercise.verdict is Verdict.UNKNOWN
    assert "NoSuchBucket" in exercise.reason


def test_a_wrong_clock_is_told_and_does_not_make_pending_of_missing(tmp_path: Path) -> None:
    source = [Row.of("old", b"1", ago(3600)), Row.of("young", b"1", ago(3000))]
    with paired(tmp_path, source, [], Trouble(clock_offset=-3000)) as pair:
        exercise = pair.compare()
        found = {each.key: each.kind.value for each in pair.differences()}
    assert found == {"old": "pending", "young": "pending"}, "by the source's own clock both are young"
    assert {each.code for each in exercise.findings} == {"clock_skew"}
    assert exercise.measurements["source_clock_offset_seconds"] == pytest.approx(-3000, abs=3)


def test_a_listing_in_another_order_is_listed_again_or_refused(tmp_path: Path) -> None:
    keys = ["a-b", "a/b", "a.c", "a/c", "b"]
    tree = sorted(keys, key=lambda key: key.replace("/", "\0"))
    source = [Row.of(key, b"1") for key in keys]
    with paired(tmp_path, source, source[1:]) as pair:
        for few in (pair.source, pair.replica):
            few.order_by(lambda key: key.replace(b"/", b"\0"))
        exercise = pair.compare()
        assert [each.key for each in pair.differences()] == ["a-b"]
        assert exercise.details["order"] == "tree"
        for few in (pair.source, pair.replica):
            few.order_by(lambda key: key[::-1])
        assert pair.compare().verdict is Verdict.UNKNOWN
    assert tree != sorted(keys)
