"""Kubernetes objects in a store: counted, named, and never shown."""

from __future__ import annotations

import bisect
import json
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccobs_ops.core.etcd.objects import (
    Encoding,
    Survey,
    after,
    count_resources,
    read_head,
    resource_of,
)
from ccobs_ops.lab.kubernetes_keys import CLEAR_MARK, churn, keys
from ccobs_ops.lab.kubernetes_wire import block, envelope, metadata, text


class Sorted:
    """Keys in memory, asked as a store is; counts the questions."""

    def __init__(self, held: Iterable[bytes]) -> None:
        self.held = sorted(held)
        self.asked = 0

    def count(self, start: bytes, end: bytes, revision: int = 0) -> int:
        self.asked += 1
        return bisect.bisect_left(self.held, end) - bisect.bisect_left(self.held, start)

    def first_key(self, start: bytes, end: bytes, revision: int = 0) -> bytes | None:
        self.asked += 1
        at = bisect.bisect_left(self.held, start)
        return self.held[at] if at < len(self.held) and self.held[at] < end else None


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        (b"/registry/pods/default/api-1", "pods"),
        (b"/registry/minions/node-1", "nodes"),
        (b"/registry/services/specs/default/api", "services"),
        (b"/registry/services/endpoints/default/api", "endpoints"),
        (b"/registry/ranges/serviceips", "ranges/serviceips"),
        (b"/registry/observatory.example.com/collectors/default/a", "collectors.observatory.example.com"),
        (
            b"/registry/apiextensions.k8s.io/customresourcedefinitions/a.b.c",
            "customresourcedefinitions.apiextensions.k8s.io",
        ),
        (b"/registry/health", "health"),
        (b"/registry/pods/\xff\xfe/x", "pods"),
    ],
)
def test_a_key_belongs_to_the_resource_that_kubectl_calls_it(key: bytes, resource: str) -> None:
    assert resource_of(key) == resource


def test_counting_asks_twice_a_resource_and_finds_every_key() -> None:
    held = [key for key, _ in keys(3000, seed=3)] + [
        b"/registry/health",
        b"/registry/pods",
        b"compact_rev_key",
    ]
    store = Sorted(held)
    counts = count_resources(store)
    listed = Counter(resource_of(key) for key in held if key.startswith(b"/registry/"))
    assert counts == dict(sorted(listed.items()))
    assert counts["secrets"] == 3000 * 90 // 1000
    assert store.asked <= 2 * len(counts) + 4


def test_a_key_that_stands_alone_takes_nobody_else_along() -> None:
    held = [b"/registry/health", b"/registry/healthchecks/a", b"/registry/healthchecks/b"]
    assert count_resources(Sorted(held)) == {"health": 1, "healthchecks": 2}


def test_counting_ends_on_keys_of_every_byte() -> None:
    held = [
        b"/registry/" + bytes(tail) for tail in ([0], [255], [255, 255], [47], [47, 47, 1], [46, 47, 255])
    ]
    assert sum(count_resources(Sorted(held)).values()) == len(held)


@given(st.lists(st.binary(max_size=6), unique=True, max_size=40))
def test_counting_never_counts_twice_nor_forgets(tails: list[bytes]) -> None:
    held = [b"/registry/" + tail for tail in tails]
    assert sum(count_resources(Sorted(held)).values()) == len(held)


@given(st.binary(min_size=1, max_size=5), st.binary(max_size=4))
def test_the_end_of_a_prefix_is_beyond_everything_that_has_it(prefix: bytes, more: bytes) -> None:
    end = after(prefix)
    assert end == b"\x00" or prefix + more < end
    if prefix[-1] != 255:
        assert len(end) == len(prefix)


def test_protobuf_json_and_encrypted_heads_are_read() -> None:
    pod = envelope("v1", "Pod", (metadata(name="api-1", namespace="default", uid="u", created=1),))
    head = read_head(pod)
    assert (head.encoding, head.api_version, head.kind) == (Encoding.PROTOBUF, "v1", "Pod")
    assert (head.namespace, head.name) == ("default", "api-1")
    custom = read_head(b'{"apiVersion":"x/v1","kind":"C","metadata":{"name":"n"}}')
    assert (custom.encoding, custom.kind, custom.name, custom.namespace) == (Encoding.JSON, "C", "n", "")
    assert read_head(b"k8s:enc:aescbc:v1:key1:\x00\xff").encryption == "aescbc:v1:key1"
    assert read_head(b"k8s:enc:kms:v2:vault.prod:\x01").encryption == "kms:v2:vault.prod"
    assert read_head(b"k8s:enc:secretbox:v1:\x00\x01").encryption == "secretbox:v1"


def test_an_encryption_prefix_without_a_key_name_gives_no_bytes_of_the_value_away() -> None:
    assert read_head(b"k8s:enc:aesgcm:v1:" + b"A" * 400).encryption == "aesgcm:v1"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"k8s\x00",
        b"k8s\x00\xff\xff\xff",
        b"k8s\x00\x0a\x7fshort",
        b"k8s\x00" + block(2, block(1, text(1, "x"))),
        b"{",
        b"[]",
        b'{"metadata":[]}',
        b'{"metadata":{"name":7}}',
        b"plain",
    ],
)
def test_what_is_no_object_has_no_name_and_breaks_nothing(value: bytes) -> None:
    assert read_head(value).name in ("", "x")


@given(st.binary(max_size=200))
def test_any_bytes_after_the_magic_are_survived(data: bytes) -> None:
    assert read_head(b"k8s\x00" + data).encoding in (Encoding.PROTOBUF, Encoding.OTHER)


def test_a_survey_of_the_labs_objects_decodes_all_that_is_not_encrypted() -> None:
    survey = Survey()
    pairs = list(keys(2000))
    for key, value in pairs:
        survey.add(key, value)
    report = survey.report()
    assert report.looked_at == 2000
    assert report.decoded + report.encodings["encrypted"] == 2000
    assert report.undecodable == 0
    assert report.misplaced_count == 0
    assert report.encryption_keys == ("aescbc:v1:key1", "kms:v2:observatory-kms")
    assert report.encryption["secrets"] == {"aescbc:v1:key1": 90, "kms:v2:observatory-kms": 45, "clear": 45}
    assert report.secrets_in_clear == 45


def test_an_object_under_another_key_is_named() -> None:
    survey = Survey()
    pairs = list(keys(500))
    (first, _), (_, second) = pairs[-1], pairs[-2]
    survey.add(first, second)
    report = survey.report()
    assert report.misplaced == (first.decode(),)
    assert report.misplaced_count == 1


def test_a_report_never_holds_a_value() -> None:
    survey = Survey()
    clear = [(key, value) for key, value in keys(1000) if CLEAR_MARK.encode() in value]
    assert clear
    for key, value in clear:
        survey.add(key, value)
    assert CLEAR_MARK not in json.dumps(survey.report().to_json()) + repr(survey.report())


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    assert list(keys(400, seed=7)) == list(keys(400, seed=7))
    assert {value for _, value in keys(400, seed=7)}.isdisjoint(value for _, value in keys(400, seed=8))


@pytest.mark.parametrize("count", [1, 7, 99, 100, 1234])
def test_keys_gives_exactly_as_many_different_keys(count: int) -> None:
    assert len({key for key, _ in keys(count)}) == count


def test_churn_settles_and_deletes_only_what_it_wrote() -> None:
    rounds = churn(2)
    alive: set[bytes] = set()
    sizes: list[int] = []
    for _ in range(200):
        for key, value in next(rounds):
            if value is None:
                alive.remove(key)
            else:
                alive.add(key)
        sizes.append(len(alive))
    assert sizes[-1] == sizes[-50]
