"""YAML with line numbers: the inventory's text as plain data, and the line on which each key stands.

Stricter than YAML itself: a key that is written twice is an error, and so are aliases that grow without measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from ccobs_ops.inventory_problems import InventoryError, Key, Problem, dotted

MAX_BYTES = 1024 * 1024
MAX_NODES = 100_000
MAX_DEPTH = 40
_PLAIN = "an inventory has a handful of levels; write it without & and *"


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: `data` as plain Python values, `root` the node tree that knows the lines."""

    file: Path
    data: dict[str, Any]
    root: yaml.MappingNode

    def line(self, key: Key) -> int:
        """The line of `key`; of the nearest key above it where it is not written in the file."""
        node: yaml.Node = self.root
        line = 1
        for part in key:
            found = _child(node, part)
            if found is None:
                break
            line, node = found
        return line


def read(file: Path) -> Document:
    """Parse `file`. Raises InventoryError when it cannot be read, is no YAML, or is no mapping."""
    return parse(_text(file), file)


def parse(text: str, file: Path) -> Document:
    """Parse `text`, which came from `file`. Raises InventoryError with every duplicate key, or what YAML refused."""
    try:
        loader = yaml.SafeLoader(text)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _only(file, line, f"this is not YAML: {error.reason}", "remove control characters") from None
    try:
        root = loader.get_single_node()
        if root is None:
            raise _only(file, 0, "the file is empty", "start from inventory.example.yaml")
        if not isinstance(root, yaml.MappingNode):
            raise _only(
                file,
                root.start_mark.line + 1,
                "the inventory must be a mapping of keys such as `version:` and `stores:`",
                "start from inventory.example.yaml",
            )
        problems = _Inspection(file).inspect(root)
        if problems:
            raise InventoryError(problems)
        problems = _impossible(loader, root, file)
        if problems:
            raise InventoryError(problems)
        data = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = " ".join((error.problem or error.context or "it cannot be parsed").split())
        raise _only(
            file,
            mark.line + 1 if mark else 0,
            f"this is not YAML: {told}",
            "see the indentation and quotes on this line and the one above",
        ) from None
    except RecursionError:
        raise _only(file, 0, "this is nested too deeply", _PLAIN) from None
    finally:
        loader.dispose()
    return Document(file, data, root)


def _text(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _only(file, 0, "there is no such file", "name the inventory with --inventory FILE") from None
    except IsADirectoryError:
        raise _only(file, 0, "this is a folder", "name the file itself with --inventory FILE") from None
    except OSError as error:
        told = (error.strerror or str(error)).lower()
        raise _only(file, 0, f"it cannot be read: {told}", "see who may read it") from None
    if len(content) > MAX_BYTES:
        raise _only(file, 0, "it is larger than 1 MiB", "see whether this is the inventory at all")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _only(file, line, "this is not UTF-8 text", "save the file as UTF-8") from None


def _only(file: Path, line: int, message: str, hint: str) -> InventoryError:
    return InventoryError([Problem(file, line, "", message, hint)])


class _Inspection:
    """Walks the tree as it was written (before `<<` is merged in), through aliases, with a bound on its size."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.nodes = 0
        self.problems: list[Problem] = []

    def inspect(self, root: yaml.Node) -> list[Problem]:
        self._walk(root, ())
        return list(dict.fromkeys(self.problems))

    def _walk(self, node: yaml.Node, key: Key) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES or len(key) > MAX_DEPTH:
            line = node.start_mark.line + 1
            raise _only(self.file, line, "this is nested too deeply, or its aliases multiply", _PLAIN)
        if isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value):
                self._walk(item, (*key, position))
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for name, value in node.value:
                line = name.start_mark.line + 1
                word = str(name.value) if isinstance(name, yaml.ScalarNode) else "?"
                below = (*key, word)
                if word in seen and word != "?":
                    message = f"this key is written twice, first on line {seen[word]}"
                    hint = "keep one of the two: YAML would silently take the last"
                    self.problems.append(Problem(self.file, line, dotted(below), message, hint))
                seen.setdefault(word, line)
                self._walk(value, below)


def _impossible(loader: yaml.SafeLoader, root: yaml.Node, file: Path) -> list[Problem]:
    """Scalars that look like a date or a number and are none (2026-13-45), which YAML reports without a line."""
    problems: list[Problem] = []
    pending: list[tuple[Key, yaml.Node]] = [((), root)]
    while pending:
        key, node = pending.pop()
        if isinstance(node, yaml.ScalarNode):
            try:
                loader.construct_object(node)
            except (ValueError, OverflowError) as error:
                line = node.start_mark.line + 1
                message = f"{node.value!r} is no {node.tag.rpartition(':')[2]}: {error}"
                problems.append(Problem(file, line, dotted(key), message, "quote it if it is meant as text"))
        elif isinstance(node, yaml.MappingNode):
            pending += [((*key, str(name.value)), value) for name, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            pending += [((*key, position), item) for position, item in enumerate(node.value)]
    return problems


def _child(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item.start_mark.line + 1, item
    if isinstance(node, yaml.MappingNode):
        for name, value in reversed(node.value):  # what was merged in by `<<` stands first
            if isinstance(name, yaml.ScalarNode) and name.value == str(part):
                return name.start_mark.line + 1, value
    return None
