"""When two values mean the same, and where they differ."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccobs_ops.core.terraform.equal import blank, differences, equal, equal_unordered

POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}],
}
SWAPPED = {
    "Statement": {"Resource": ["*"], "Action": ["s3:List*", "s3:Get*"], "Effect": "Allow"},
    "Version": "2012-10-17",
}
EMPTY: tuple[Any, ...] = (None, "", [], {}, {"a": None}, {"a": {"b": []}})


@pytest.mark.parametrize("one", EMPTY)
@pytest.mark.parametrize("other", EMPTY)
def test_everything_empty_is_equal_on_its_own_and_within(one: Any, other: Any) -> None:
    assert equal(one, other)
    assert differences({"x": one}, {"x": other}) == ()
    assert equal({"x": [{"y": one, "z": 1}]}, {"x": [{"y": other, "z": 1}]})
    assert blank(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [(0, None), (False, None), (False, 0), (True, 1), ("1", 1), ("true", True), ([{}], []), ([None], []), ([""], []),
     ({"none": [{}]}, {"count": [{}]}), ("a", "A"), (" ", ""), ("0", 0), ([[]], [])],
)  # fmt: skip
def test_what_says_something_is_not_empty(one: Any, other: Any) -> None:
    assert not equal(one, other)
    assert not equal_unordered(one, other)
    assert len(differences({"x": one}, {"x": other})) >= 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (7, 7.0),
        (json.dumps(POLICY), json.dumps(SWAPPED, indent=2)),
        ('{"a": 1, "b": [1, 2]}', '{"b":[1,2],"a":1}'),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}),
        (float("nan"), float("nan")),
    ],
)
def test_other_spellings_of_the_same(one: Any, other: Any) -> None:
    assert equal(one, other)
    assert differences({"x": one}, {"x": other}) == ()


def test_the_order_of_a_list_in_a_document_that_is_no_policy_matters() -> None:
    (leaf,) = differences({"c": '{"command":["a","b"]}'}, {"c": '{"command":["b","a"]}'})
    assert leaf.path == "c"


def test_a_policy_that_says_something_else_differs() -> None:
    other = json.loads(json.dumps(POLICY).replace("s3:Get*", "s3:Put*"))
    assert not equal(json.dumps(POLICY), json.dumps(other))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"x": ["a", "b", "a"]}, {"x": ["a", "a", "b"]}),
        ({"x": [{"k": 1}, {"k": 2}]}, {"x": [{"k": 2}, {"k": 1}]}),
        ({"x": [{"k": [1, 2], "e": None}, {"k": [3]}]}, {"x": [{"k": [3]}, {"k": [2, 1]}]}),
    ],
)
def test_a_mere_change_of_order_is_told_as_such(before: Any, after: Any) -> None:
    (leaf,) = differences(before, after)
    assert (leaf.path, leaf.reordered) == ("x", True)


def test_how_often_an_element_stands_matters() -> None:
    (leaf,) = differences({"x": ["a", "a", "b"]}, {"x": ["a", "b", "b"]})
    assert not leaf.reordered


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, ["a.b.c"]),
        ({"tags": {"a b": "1", "k8s.io/x": "1"}}, {"tags": {}}, ['tags["a b"]', 'tags["k8s.io/x"]']),
        (
            {"r": [{"id": "x", "n": 1}, {"id": "y", "n": 2}]},
            {"r": [{"id": "y", "n": 2}, {"id": "x", "n": 9}]},
            ["r[1].n"],
        ),
        (
            {"r": [{"id": "x", "n": 1}]},
            {"r": [{"id": "x", "n": 1}, {"id": "y", "n": 2}]},
            ["r[1].id", "r[1].n"],
        ),
        ({"r": [{"n": 1}, {"n": 2}, {"n": 3}]}, {"r": [{"n": 1}, {"n": 3}]}, ["r[1].n"]),
        ({"r": [{}]}, {"r": []}, ["r[0]"]),
        ({"r": None}, {"r": [{"n": 1}]}, ["r[0].n"]),
        ({"r": ["a", "b"]}, {"r": ["a"]}, ["r"]),
        ({"r": [{"n": 1}]}, {"r": ["a"]}, ["r"]),
        ({}, {"n": 0}, ["n"]),
    ],
)
def test_paths_name_the_place(before: Any, after: Any, paths: list[str]) -> None:
    assert [leaf.path for leaf in differences(before, after)] == paths


def test_what_is_not_known_yet_is_told_where_it_stands() -> None:
    leaves = differences(
        {"a": 1, "r": [{"k": "x"}]}, {"a": 1, "r": [{}]}, {"arn": True, "r": [{"k": True}], "a": False}
    )
    assert [(leaf.path, leaf.after_unknown) for leaf in leaves] == [("r[0].k", True), ("arn", True)]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "a", "b", "{}", '{"a":1}', "[1]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(VALUES, VALUES)
def test_no_difference_exactly_where_they_are_equal(one: Any, other: Any) -> None:
    found = differences({"x": one}, {"x": other})
    assert (found == ()) is equal(one, other)
    assert equal(one, one)
    assert equal(one, other) is equal(other, one)
    if equal(one, other):
        assert equal_unordered(one, other)
