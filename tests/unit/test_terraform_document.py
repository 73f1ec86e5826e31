"""Plan documents: read as a stream, whatever is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ccobs_ops.core.errors import UnknownError
from ccobs_ops.core.terraform import stream
from ccobs_ops.core.terraform.document import read_plan
from ccobs_ops.core.terraform.plan import pattern_of, without_indexes
from tests.unit.plans import SECRET, document, entry, read, shown

# ---------------------------------------------------------------- the stream


def walked(path: Path, depth: int) -> Any:
    """The document put together again from what `walk` gave."""
    return list(stream.walk(path, lambda where: len(where) < depth))


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
def test_values_are_whole_wherever_a_chunk_ends(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHUNK", chunk)
    plan = {
        "a": [1, -2.5e-3, 12345678901234567890, {"b": None, "c": [True, False]}],
        'ü\n"': "\\\u00e9\U0001f600 x",
        "d": {},
        "e": [],
    }
    for text in (json.dumps(plan), json.dumps(plan, ensure_ascii=False, indent=3)):
        path = tmp_path / "x.json"
        path.write_text(text, encoding="utf-8")
        assert walked(path, 0) == [((), plan)]
        assert walked(path, 2) == [
            (("a", "*"), 1),
            (("a", "*"), -2.5e-3),
            (("a", "*"), 12345678901234567890),
            (("a", "*"), plan["a"][3]),
            (('ü\n"',), plan['ü\n"']),
        ]


def test_a_file_that_was_cut_off_is_never_read_as_whole(tmp_path: Path) -> None:
    text = json.dumps(document([entry("aws_s3_bucket.b", {"id": "b"}, None)]))
    path = tmp_path / "cut.json"
    for end in range(len(text)):
        path.write_text(text[:end])
        with pytest.raises(UnknownError):
            read_plan(path)
    path.write_text(text)
    assert len(read_plan(path).drift) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "nonsense",
        "[]",
        "42",
        '"text"',
        "null",
        "{}",
        '{"format_version": }',
        '{"format_version": "1.2"',
        '{"a" "b"}',
        '{"format_version": "1.2"} {}',
        '{"format_version": "2.0"}',
        '{"format_version": 1.2}',
        '{"format_version": "1.2",}',
        '{"resource_drift": [1 2]}',
        '{"format_version": "1.2", "x": ' + "[" * 100_000,
        '{"x": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_plan_is_unknown(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UnknownError) as error:
        read_plan(path)
    assert error.value.hint


def test_a_missing_file_and_one_that_is_no_text_are_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownError, match=r"cannot be read: nothing\.json"):
        read_plan(tmp_path / "nothing.json")
    path = tmp_path / "x.json"
    path.write_bytes(b'{"format_version": "\xff\xfe"}')
    with pytest.raises(UnknownError, match="UTF-8"):
        read_plan(path)


def test_the_order_of_the_keys_does_not_matter(tmp_path: Path) -> None:
    plan = document(
        [
            entry(
                "aws_db_instance.a",
                {"password": SECRET, "x": 1},
                {"password": SECRET, "x": SECRET},
                sensitive={"password": True},
            )
        ]
    )
    backwards = dict(reversed(plan.items()))
    assert read(tmp_path, plan) == read(tmp_path, backwards)


# ---------------------------------------------------------------- what is kept


def test_what_does_not_differ_is_not_kept(tmp_path: Path) -> None:
    same = {"id": "b", "long": "x" * 1000}
    plan = document(
        [entry("aws_s3_bucket.b", same | {"acl": "private"}, same | {"acl": "public"})],
        [entry("aws_s3_bucket.c", same, same, ["no-op"])],
    )
    found = read(tmp_path, plan)
    (one,) = found.drift
    assert [(each.path, each.before, each.after) for each in one.differences] == [
        ("acl", "private", "public")
    ]
    assert dict(one.identity) == {"id": "b"}
    assert found.changes == ()
    assert "xxxx" not in shown(found)


def test_data_sources_are_no_drift(tmp_path: Path) -> None:
    plan = document(
        [entry("aws_ami.a", {"id": "1"}, {"id": "2"}, mode="data")],
        [entry("aws_ami.a", None, {"id": "2"}, ["read"], mode="data")],
    )
    found = read(tmp_path, plan)
    assert (found.drift, found.changes) == ((), ())


def test_objects_are_counted_through_all_modules_but_not_deposed_ones_or_data(tmp_path: Path) -> None:
    def held(name: str, **more: Any) -> dict[str, Any]:
        return {
            "address": f"aws_s3_bucket.{name}",
            "mode": "managed",
            "type": "aws_s3_bucket",
            "values": {"bucket": name},
        } | more

    modules = {
        "resources": [held("c")],
        "child_modules": [{"address": "module.a.module.b", "resources": [held("d"), held("e", mode="data")]}],
    }
    root = {"resources": [held("a"), held("b", deposed_key="12345678")], "child_modules": [modules]}
    found = read(tmp_path, {"format_version": "1.2", "prior_state": {"values": {"root_module": root}}})
    assert found.managed == 3
    assert [each.get("bucket") for each in found.held] == ["a", "c", "d"]


def test_what_the_configuration_sets_is_known_per_address_in_modules_too(tmp_path: Path) -> None:
    resource = {"address": "aws_s3_bucket.b", "expressions": {"bucket": {}, "tags": {}}}
    config = {
        "root_module": {
            "module_calls": {
                "m": {"module": {"module_calls": {"resources": {"module": {"resources": [resource]}}}}}
            }
        }
    }
    address = 'module.m["x.y"].module.resources[0].aws_s3_bucket.b["k]"]'
    found = read(tmp_path, document([entry(address, {"a": 1}, {"a": 2})], configuration=config))
    assert found.drift[0].configured == {"bucket", "tags"}


@pytest.mark.parametrize(
    "broken",
    [
        None,
        7,
        "text",
        [],
        {},
        {"address": "a.b"},
        {"address": "a.b", "change": None},
        {"address": "a.b", "change": []},
        {"address": 5, "change": {"actions": ["update"]}},
        {"address": "a.b", "change": {}},
        {"address": "a.b", "change": {"actions": "update"}},
        {"address": "a.b", "change": {"actions": []}},
        {"address": "a.b", "change": {"actions": [1]}},
        {"address": "a.b", "change": {"actions": ["implode"]}},
    ],
)
def test_an_entry_of_no_known_form_is_unread_and_the_others_are_read(broken: Any, tmp_path: Path) -> None:
    good = entry("aws_s3_bucket.b", {"acl": "a"}, {"acl": "b"})
    found = read(tmp_path, document([broken, good], [broken]))
    assert [each.address for each in found.drift] == ["aws_s3_bucket.b"]
    assert [each.code for each in found.unread] == ["plan_entry_unread"] * 2


def test_values_of_odd_forms_are_compared_all_the_same(tmp_path: Path) -> None:
    odd = [
        entry("a.scalar", None, None, ["update"])
        | {"change": {"actions": ["update"], "before": 5, "after": 6}},
        entry("a.list", None, None) | {"change": {"actions": ["update"], "before": [1], "after": {"x": 1}}},
        entry("a.marks", {"x": "aaaa"}, {"x": "bbbb"}, sensitive="yes"),
        entry("a.unknown", {"x": 1}, {"x": 2}, unknown=[True]),
    ]
    found = {each.address: each for each in read(tmp_path, document(odd)).drift}
    assert set(found) == {"a.scalar", "a.list", "a.marks", "a.unknown"}
    assert found["a.scalar"].differences[0].after == 6
    assert "bbbb" not in repr(found["a.marks"])


def test_paths_and_addresses_without_their_indexes() -> None:

    assert pattern_of("rule[0].expiration[0].days") == "rule.expiration.days"
    assert without_indexes('module.a["x\\"].b"].aws_s3_bucket.c[0]') == "module.a.aws_s3_bucket.c"
