"""Walk a JSON file of any size, value by value, in memory that follows the largest value and not the file.

`ijson` needs 8 s a pass over 176 MB and one pass for each part that is wanted; the decoder of the standard library,
handed one array element at a time, reads all parts in a single pass of about the same length.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ccobs_ops.core.errors import UnknownError

CHUNK = 1 << 20
MAX_DEPTH = 200
_SPACE = " \t\n\r"
_NEAR = 16
"""An error this close to the end of what was read, in characters, may only mean that the rest is still to come."""

Path_ = tuple[str, ...]


class NotReadable(UnknownError):
    """A file that is no JSON, or only the beginning of it."""


def walk(path: Path, descend: Callable[[Path_], bool]) -> Iterator[tuple[Path_, Any]]:
    """Every value of the JSON document in `path` with where it stands; array elements are called `*`.

    An object or array is opened and walked where `descend` says so of its path, everything else is given whole.
    Raises NotReadable for a file that is missing, cut off, no UTF-8 or no JSON.
    """
    try:
        with path.open(encoding="utf-8", errors="strict", newline="") as file:
            yield from _Walker(file, descend).run()
    except OSError as error:
        raise NotReadable(
            f"the plan cannot be read: {path.name}: {error.strerror}", hint="make the plan again"
        ) from None
    except UnicodeDecodeError as error:
        raise NotReadable(
            f"the plan is no UTF-8 text: {path.name}, near byte {error.start}", hint="make the plan again"
        ) from None


class _Walker:
    def __init__(self, file: io.TextIOWrapper, descend: Callable[[Path_], bool]) -> None:
        self._file = file
        self._descend = descend
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._at = 0
        self._gone = 0
        self._ended = False

    def run(self) -> Iterator[tuple[Path_, Any]]:
        yield from self._value(())
        if self._peek():
            raise self._broken("something follows the end of the document")

    def _value(self, where: Path_) -> Iterator[tuple[Path_, Any]]:
        opened = self._peek()
        if opened in ("{", "[") and self._descend(where):
            if len(where) > MAX_DEPTH:
                raise self._broken("nested too deeply")
            self._at += 1
            yield from self._object(where) if opened == "{" else self._array(where)
        else:
            yield where, self._decode()

    def _object(self, where: Path_) -> Iterator[tuple[Path_, Any]]:
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            if self._peek() != '"':
                raise self._broken("a key was expected")
            key = self._decode()
            self._expect(":")
            yield from self._value((*where, key))
            if self._expect(",}") == "}":
                return

    def _array(self, where: Path_) -> Iterator[tuple[Path_, Any]]:
        if self._peek() == "]":
            self._at += 1
            return
        inner = (*where, "*")
        while True:
            yield from self._value(inner)
            if self._expect(",]") == "]":
                return

    def _expect(self, allowed: str) -> str:
        found = self._peek()
        if not found or found not in allowed:
            raise self._broken(f"{' or '.join(allowed)} was expected")
        self._at += 1
        return found

    def _peek(self) -> str:
        """The next character that is no white space, without taking it; empty at the end of the file."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more(CHUNK):
                return ""

    def _decode(self) -> Any:
        self._peek()
        wanted = CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._buffer) - _NEAR
                if not cut or not self._more(wanted):
                    raise self._broken(error.msg.lower(), error.pos) from None
            except RecursionError:
                raise self._broken("nested too deeply") from None
            except ValueError:
                raise self._broken("a number has too many digits") from None
            else:
                # a number may go on in what was not read yet: 1 . 5, 2 e -3
                whole = end < len(self._buffer) - (3 if isinstance(value, int | float) else 0)
                if whole or not self._more(wanted):
                    self._at = end
                    return value
            wanted *= 2

    def _more(self, count: int) -> bool:
        if self._ended:
            return False
        read = self._file.read(count)
        if not read:
            self._ended = True
            return False
        self._gone += self._at
        self._buffer = self._buffer[self._at :] + read
        self._at = 0
        return True

    def _broken(self, what: str, position: int | None = None) -> NotReadable:
        at = self._gone + (self._at if position is None else position)
        cut = self._ended and (position is None or position >= len(self._buffer) - _NEAR)
        return NotReadable(
            f"the plan is no complete JSON document: {what}, character {at}"
            + (", where it ends" if cut else ""),
            hint="make the plan again; was the disk full, or the program that wrote it killed?",
        )
