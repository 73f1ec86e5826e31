"""Find and read the inventory: from a YAML file to checked models, or every problem at once with file, line and key."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from pydantic import BaseModel, ValidationError

from ccobs_ops.core.errors import UsageError
from ccobs_ops.inventory import Inventory
from ccobs_ops.inventory_problems import InventoryError, Key, Problem, did_you_mean, dotted
from ccobs_ops.inventory_rules import violations
from ccobs_ops.inventory_yaml import Document, parse, read

VARIABLE = "CCOBS_INVENTORY"
DEFAULT = "inventory.yaml"


def locate(option: str | Path | None, environ: Mapping[str, str]) -> Path:
    """The inventory's path: `option` (--inventory), else CCOBS_INVENTORY, else ./inventory.yaml if that is there.

    Raises UsageError when none of the three names one.
    """
    named = option or environ.get(VARIABLE)
    if named:
        return Path(named)
    if Path(DEFAULT).exists():
        return Path(DEFAULT)
    raise UsageError(
        f"no inventory was named, and there is no {DEFAULT} here",
        hint=f"name it with --inventory FILE or {VARIABLE}, or start from inventory.example.yaml",
    )


def load(path: str | Path) -> Inventory:
    """The inventory in the file `path`. Raises InventoryError with every problem that it has."""
    return _build(read(Path(path)))


def loads(text: str, path: str | Path = DEFAULT) -> Inventory:
    """The inventory in `text`, as if it were the file `path`. Raises InventoryError with every problem that it has."""
    return _build(parse(text, Path(path)))


def _build(document: Document) -> Inventory:
    problems: list[Problem] = []
    wrong: list[Key] = []
    try:
        inventory: Inventory | None = Inventory.model_validate(document.data)
    except ValidationError as error:
        problems += _explain(error, document)
        inventory, wrong = _salvage(document.data)
    if inventory is not None:
        stores = document.data.get("stores")
        names = [str(name) for name in stores] if isinstance(stores, dict) else []
        for found in violations(inventory, store_names=names):
            if not any(key[: len(bad)] == bad for key in found.about for bad in wrong):
                line = document.line(found.key)
                problems.append(Problem(document.file, line, dotted(found.key), found.message, found.hint))
    if problems or inventory is None:
        raise InventoryError(problems)
    inventory._path = document.file.absolute()  # pyright: ignore[reportPrivateUsage]
    return inventory


def _explain(error: ValidationError, document: Document) -> list[Problem]:
    problems: dict[Key, Problem] = {}
    for row in error.errors(include_url=False):
        location = row["loc"]
        key = _key(location)
        message, hint = _message(row, key, of_key="[key]" in location)
        line = document.line(key)
        problems.setdefault(key, Problem(document.file, line, dotted(key), message, hint or _HINT))
    return list(problems.values())


_HINT = "inventory.example.yaml shows every key, docs/inventory.md explains it"


def _message(row: Any, key: Key, *, of_key: bool) -> tuple[str, str]:
    """What is wrong, and what to do. Values are shown only where they cannot be a secret."""
    kind, value, context = row["type"], row["input"], row.get("ctx", {})
    if kind == "extra_forbidden":
        known = _known_keys(key[:-1])
        return "there is no such key", did_you_mean(str(key[-1]), known) or f"known keys: {', '.join(known)}"
    if kind == "missing":
        return "this key is required", f"add `{key[-1]}:`; inventory.example.yaml shows every key"
    if kind == "literal_error":
        expected = context.get("expected", "")
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            return f"this must be {expected}, not {_kind_of(value)}", ""
        words = [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]
        return f"this must be {expected}, not {value!r}", did_you_mean(str(value), words)
    if kind == "string_pattern_mismatch":
        if of_key or key[-1] in ("name", "slot", "table_schema"):
            return (
                f"{value!r} cannot be a name",
                "a name begins with a lowercase letter, and has lowercase letters, digits and _ (63 at most)",
            )
        if key[-1] == "bucket":
            return f"{value!r} cannot be a bucket", "a bucket has lowercase letters, digits, dots and hyphens"
        if key[-1] == "endpoint":
            return "an endpoint begins with http:// or https://", "for example https://s3.example.com"
        return f"this does not match {context.get('pattern')}", ""
    if kind == "value_error":
        told, _, hint = str(context.get("error", row["msg"])).partition("; ")
        return told, hint
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return row["msg"].replace("Input should", f"{value!r} should").lower(), ""
    return _wrong_type(kind, value, row["msg"])


_WANTED = {
    "string_type": ("text", "put it in quotes"),
    "int_type": ("a whole number", ""),
    "int_parsing": ("a whole number", ""),
    "int_from_float": ("a whole number", ""),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "bool_parsing": ("true or false", "write true or false, without quotes"),
    "model_type": ("a mapping of keys", "indent its keys below it, or remove it for the defaults"),
    "dict_type": ("a mapping of keys", "indent its keys below it, or remove it"),
    "tuple_type": ("a list", "write [a, b], or one `- item` a line"),
    "time_delta_type": ("a duration", "write for example 30s, 15m, 1h30m or 30d"),
    "date_type": ("a date", "write for example 2026-01-31"),
    "date_from_datetime_inexact": ("a date", "write for example 2026-01-31"),
    "date_from_datetime_parsing": ("a date", "write for example 2026-01-31"),
    "invalid_key": ("text as a key", "put the key in quotes"),
}


def _wrong_type(kind: str, value: Any, told: str) -> tuple[str, str]:
    if kind in _WANTED:
        wanted, hint = _WANTED[kind]
        return f"this must be {wanted}, not {_kind_of(value)}", hint
    return told[:1].lower() + told[1:], ""


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return str(value)
    names = {NoneType: "nothing", str: "text", dict: "a mapping"}
    return names.get(type(value), "a list" if isinstance(value, list | tuple) else "a date")


def _members(annotation: Any) -> tuple[Any, ...]:
    """`annotation` without Annotated and None: the types that a value of it may have."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if isinstance(annotation, type) or typing.get_origin(annotation) in (dict, tuple):
        return (annotation,)
    return tuple(found for each in typing.get_args(annotation) for found in _members(each))


def _steps(location: tuple[int | str, ...]) -> Iterator[tuple[int | str, Any]]:
    """Each part of a pydantic location that is a key in the file, and the type of the value there.

    Pydantic adds parts of its own, such as the member of a union that did not match; those end it.
    """
    annotation: Any = Inventory
    for part in location:
        following: Any = None
        if part == "[key]":  # pydantic's way to point at the name of an entry
            return
        for member in _members(annotation):
            origin = typing.get_origin(member)
            if origin is dict:
                following = typing.get_args(member)[1]
            elif origin is tuple and isinstance(part, int):
                following = typing.get_args(member)[0]
            elif isinstance(member, type) and origin is None and issubclass(member, BaseModel):
                field = member.model_fields.get(str(part))
                following = field.annotation if field else NoneType
        if following is None:
            return
        annotation = following
        yield part, annotation


def _key(location: tuple[int | str, ...]) -> Key:
    return tuple(part for part, _ in _steps(location))


def _known_keys(key: Key) -> list[str]:
    annotation = [Inventory, *(found for _, found in _steps(key))][-1]
    return [
        name
        for member in _members(annotation)
        if isinstance(member, type) and issubclass(member, BaseModel)
        for name in member.model_fields
    ]


def _salvage(data: dict[str, Any]) -> tuple[Inventory | None, list[Key]]:
    """What is left of `data` without the keys that are wrong, and those keys: enough to go on looking for problems."""
    rest = _copy(data)
    wrong: list[Key] = []
    for _ in range(5):
        try:
            return Inventory.model_validate(rest), wrong
        except ValidationError as error:
            for row in error.errors(include_url=False, include_input=False):
                key = _key(row["loc"])
                if row["type"] == "missing" and len(key) > 1:
                    key = key[:-1]
                if "checks" in key[:-1]:
                    key = key[: key.index("checks") + 2]
                wrong.append(key)
                _drop(rest, key)
    return None, wrong


_STAND_IN: dict[Key, Any] = {("version",): 1, ("environment",): "lab"}


def _drop(data: dict[str, Any], key: Key) -> None:
    if key in _STAND_IN:
        data[str(key[0])] = _STAND_IN[key]
        return
    holder: Any = data
    for part in key[:-1]:
        try:
            holder = holder[part]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(holder, list):
        position = key[-1]
        if "checks" in key and isinstance(position, int):  # the others keep their positions
            holder[position] = {"name": f"left_out_{position}", "sql": "select 1", "expect": 1}
        else:
            holder.clear()
    elif isinstance(holder, dict):
        for name in [name for name in holder if str(name) == str(key[-1])]:
            del holder[name]


def _copy(value: Any) -> Any:
    """A copy in which nothing is shared, as YAML aliases share."""
    if isinstance(value, dict):
        return {name: _copy(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
