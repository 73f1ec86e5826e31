"""What is no inventory at all: other text, files that cannot be read; and where the inventory is looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ccobs_ops.core.errors import UsageError
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import load, loads, locate
from ccobs_ops.inventory_problems import InventoryError
from tests.unit.inventories import GOOD, only, problems


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "empty"),
        ("# nothing\n", 0, "empty"),
        ("- a\n- b\n", 1, "must be a mapping"),
        ("version: 1\nstores: {us: [\n", 3, "this is not YAML"),
        ("version: 1\n\tstores: x\n", 2, "this is not YAML"),
        ("version: 1\nx: \x00\n", 2, "this is not YAML"),
        ("version: !!python/object/apply:os.system [true]\n", 1, "this is not YAML"),
        ("version: 1\n---\nversion: 1\n", 2, "this is not YAML"),
        ("version: 1\nversion: 1\n", 2, "written twice, first on line 1"),
        ("version: 1\nsince: 2026-13-45\n", 2, "is no timestamp"),
        ("a: &a [*a]\n", 1, "aliases multiply"),
        ("[" * 5000, 0, "nested too deeply"),
    ],
)
def test_what_is_no_inventory(text: str, line: int, message: str) -> None:
    problem = only(text)
    assert problem.line == line
    assert message in problem.message
    assert problem.hint


def test_aliases_that_explode_are_refused_quickly() -> None:
    layers = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    layers += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "aliases multiply" in only("\n".join(layers)).message


def test_merge_keys_keep_their_lines() -> None:
    text = GOOD.replace("us: {bucket: backups-us}", "us: &base {bucket: backups-us, attempts: 99}").replace(
        "eu: {", "eu: {<<: *base, "
    )
    assert [(problem.line, problem.key) for problem in problems(text)] == [
        (4, "stores.eu.attempts"),
        (4, "stores.us.attempts"),
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for name, prepare, message in (
        ("missing.yaml", lambda file: None, "no such file"),
        ("folder.yaml", lambda file: file.mkdir(), "folder"),
        ("large.yaml", lambda file: file.write_text("#" * 1_100_000), "larger than 1 MiB"),
        ("binary.yaml", lambda file: file.write_bytes(b"a: 1\nb: \xff\xfe\n"), "not UTF-8"),
    ):
        file = tmp_path / name
        prepare(file)
        with pytest.raises(InventoryError, match=message) as caught:
            load(file)
        assert caught.value.exit_status == 2
    assert caught.value.problems[0].line == 2


def test_a_file_that_others_own(tmp_path: Path) -> None:
    file = tmp_path / "inv.yaml"
    file.write_text(GOOD)
    file.chmod(0)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)  # root reads everything
    try:
        with pytest.raises(InventoryError, match="permission denied"):
            load(file)
    finally:
        os.seteuid(me)


def test_where_the_inventory_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        locate(None, {})
    assert "--inventory" in caught.value.hint
    (tmp_path / "inventory.yaml").write_text(GOOD)
    assert locate(None, {}) == Path("inventory.yaml")
    assert locate(None, {"CCOBS_INVENTORY": "/etc/ccobs.yaml"}) == Path("/etc/ccobs.yaml")
    assert locate(Path("mine.yaml"), {"CCOBS_INVENTORY": "/etc/ccobs.yaml"}) == Path("mine.yaml")


def test_the_inventory_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        loads(GOOD).environment = "production"  # type: ignore[misc]
    assert isinstance(loads(GOOD), Inventory)
