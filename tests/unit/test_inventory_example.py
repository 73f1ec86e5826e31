"""inventory.example.yaml shows every key of every model, is valid, and docs/inventory.md explains every key."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_load import load

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "inventory.example.yaml"


def models(annotation: Any) -> Iterator[tuple[type[BaseModel], str]]:
    """The models in an annotation, and how to step into a value to find them: "", "dict" or "list"."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, ""
        return
    how = {dict: "dict", tuple: "list"}.get(typing.get_origin(annotation), "")  # type: ignore[arg-type]
    for inner in typing.get_args(annotation):
        for model, _ in models(inner):
            yield model, how


def missing(model: type[BaseModel], values: list[dict[str, Any]], where: str) -> Iterator[str]:
    """Keys of `model` that none of `values` shows."""
    for name, field in model.model_fields.items():
        shown = [value[name] for value in values if name in value]
        if not shown:
            yield f"{where}.{name}"
        for inner, how in models(field.annotation):
            if how == "dict":
                below = [item for value in shown for item in value.values()]
            elif how == "list":
                below = [item for value in shown for item in value]
            else:
                below = shown
            yield from missing(inner, below, f"{where}.{name}")


def test_the_example_is_valid() -> None:
    assert load(EXAMPLE).postgres["observatory"].checks


def test_the_example_shows_every_key() -> None:
    document = yaml.safe_load(EXAMPLE.read_text())
    assert list(missing(Inventory, [document], "inventory")) == []


def test_the_walk_notices_a_key_that_is_not_shown() -> None:
    document = yaml.safe_load(EXAMPLE.read_text())
    del document["postgres"]["observatory"]["sandbox"]["ttl"]
    for check in document["postgres"]["observatory"]["checks"]:
        check.pop("compare", None)
    assert list(missing(Inventory, [document], "inventory")) == [
        "inventory.postgres.sandbox.ttl",
        "inventory.postgres.checks.compare",
    ]


def test_a_value_that_is_said_to_be_the_default_is_the_default() -> None:
    """Comments of the form `key: value # default` are held to the models."""
    inventory = load(EXAMPLE)
    found = 0
    for part in ("objectives", "archive", "canary", "backup", "retention", "sandbox", "validation"):
        value = getattr(inventory.postgres["observatory"], part)
        section = EXAMPLE.read_text().split(f"    {part}:", 1)[1].split("\n\n", 1)[0]
        for name in re.findall(r"^ +(\w+): [^#\n]+# default(?!:)", section, re.MULTILINE):
            assert getattr(value, name) == type(value).model_fields[name].default, f"{part}.{name}"
            found += 1
    assert found > 15


def every_model() -> Iterator[type[BaseModel]]:
    pending, seen = [Inventory], set[type[BaseModel]]()
    while pending:
        model: type[BaseModel] = pending.pop()
        if model not in seen:
            seen.add(model)
            yield model
            pending += [
                inner for field in model.model_fields.values() for inner, _ in models(field.annotation)
            ]  # type: ignore[misc]


@pytest.mark.parametrize("model", list(every_model()), ids=lambda model: model.__name__)
def test_the_documentation_explains_every_key(model: type[BaseModel]) -> None:
    text = (ROOT / "docs" / "inventory.md").read_text()
    assert [name for name in model.model_fields if f"`{name}`" not in text] == []
