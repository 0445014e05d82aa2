"""Where in a TOML text each key and value stands. A scanner for text that a parser has already accepted.

Parsers of TOML hand out values without places; operators need the line. Grammar: TOML 1.0 and 1.1 (https://toml.io).
"""

from __future__ import annotations

import contextlib
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Union

__all__ = ["Header", "KeyPath", "Layout", "Pair", "Place", "layout", "place_of", "places"]

# Keys as written; a whole number stands for an item of an array.
KeyPath = tuple[Union[str, int], ...]
# (line, column) of the key or header, and of the value; all count characters from 1.
Place = tuple[int, int, int, int]

_DEEPEST = 40
_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN_VALUE = re.compile(r"[^,\]}\r\n#]*")
_STRINGS = (
    ('"""', re.compile(r'"""(?:[^\\"]|\\.|"(?!""))*"{3,5}', re.DOTALL)),
    ("'''", re.compile(r"'''(?:[^']|'(?!''))*'{3,5}", re.DOTALL)),
    ('"', re.compile(r'"(?:[^\\"\n]|\\.)*"')),
    ("'", re.compile(r"'[^'\n]*'")),
)


@dataclass(frozen=True)
class Pair:
    """Offsets of one `key = value` or item of an array. `holder` is the path of the table or array it is written in.

    `is_inside` says that this is an inline table or an array.
    """

    holder: KeyPath
    key_at: int
    value_at: int
    end: int
    is_inside: bool


@dataclass(frozen=True)
class Header:
    """Offsets of one `[table]` or `[[table]]`; a table of an array of tables has its number in the path."""

    path: KeyPath
    at: int
    end: int


@dataclass(frozen=True)
class Layout:
    """What a text is made of, in its order. `comments` are offsets of the `#` and of the end of its line."""

    pairs: Mapping[KeyPath, Pair]
    headers: Sequence[Header]
    comments: Sequence[tuple[int, int]]


def layout(text: str) -> Layout:
    """Where everything in a text begins and ends. Raises ValueError for a text that is not understood."""
    scanner = _Scanner(text)
    scanner.document()
    return Layout(scanner.pairs, scanner.headers, scanner.comments)


def places(text: str) -> Mapping[KeyPath, Place]:
    """The place of every key, header and array item that can be known.

    Never raises: from text that is not valid TOML, or nests too deeply, comes what was understood before the trouble.
    A table of an array of tables is found under its number, like any item.
    """
    scanner = _Scanner(text)
    # A place is a courtesy; without one the finding still names the key.
    with contextlib.suppress(ValueError):
        scanner.document()
    return scanner.found


def place_of(found: Mapping[KeyPath, Place], path: KeyPath) -> Place | None:
    """The place of `path`, else of the nearest table that holds it, else None."""
    for length in range(len(path), 0, -1):
        place = found.get(path[:length])
        if place is not None:
            return place
    return None


class _Scanner:
    """One pass over one text. `found` grows; `at` is the offset of the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[KeyPath, Place] = {}
        self.pairs: dict[KeyPath, Pair] = {}
        self.headers: list[Header] = []
        self.comments: list[tuple[int, int]] = []
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._arrays: dict[KeyPath, int] = {}

    def document(self) -> None:
        """Read everything. Raises ValueError where the text is not understood."""
        table: KeyPath = ()
        while True:
            self._space()
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(self.at)
        self.at = match.end()
        return match.group()

    def _space(self) -> None:
        start = self.at
        if "#" in self._skip(_SPACE):
            found = re.finditer("#[^\n]*", self.text[start : self.at])
            self.comments += [(start + one.start(), start + one.end()) for one in found]

    def _expect(self, mark: str) -> None:
        if not self.text.startswith(mark, self.at):
            raise ValueError(self.at)
        self.at += len(mark)

    def _note(self, path: KeyPath, key_at: int, value_at: int) -> None:
        # The first place wins: a header that comes later only adds to the table.
        self.found.setdefault(path, (*self._position(key_at), *self._position(value_at)))

    def _position(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def _header(self) -> KeyPath:
        start = self.at
        double = self.text.startswith("[[", self.at)
        self._expect("[[" if double else "[")
        path: KeyPath = ()
        parts = self._key()
        for number, part in enumerate(parts, 1):
            path = (*path, part)
            if path in self._arrays and not (double and number == len(parts)):
                path = (*path, self._arrays[path])
        self._expect("]]" if double else "]")
        if double:
            self._arrays[path] = self._arrays.get(path, -1) + 1
            self._note(path, start, start)
            path = (*path, self._arrays[path])
        self._note_ancestors(path, start)
        self.headers.append(Header(path, start, self.at))
        return path

    def _note_ancestors(self, path: KeyPath, start: int) -> None:
        for length in range(1, len(path) + 1):
            self._note(path[:length], start, start)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_BLANK)
            mark = self.text[self.at : self.at + 1]
            if mark and mark in "\"'":
                quoted = self._skip(_STRINGS[2][1] if mark == '"' else _STRINGS[3][1])
                if mark == '"' and "\\" in quoted:
                    raise ValueError(self.at)
                parts.append(quoted[1:-1])
            else:
                parts.append(self._skip(_BARE_KEY))
            self._skip(_BLANK)
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def _pair(self, table: KeyPath, *, is_inside: bool = False) -> None:
        key_at = self.at
        path = (*table, *self._key())
        for length in range(len(table) + 1, len(path)):
            self._note(path[:length], key_at, key_at)
        self._expect("=")
        self._skip(_BLANK)
        value_at = self.at
        self._note(path, key_at, value_at)
        self._value(path)
        end = value_at + len(self.text[value_at : self.at].rstrip())
        self.pairs[path] = Pair(table, key_at, value_at, end, is_inside)

    def _value(self, path: KeyPath) -> None:
        if len(path) > _DEEPEST:
            raise ValueError(self.at)
        mark = self.text[self.at : self.at + 1]
        if mark == "[":
            self._array(path)
        elif mark == "{":
            self._inline_table(path)
        elif mark and mark in "\"'":
            for opening, pattern in _STRINGS:
                if self.text.startswith(opening, self.at):
                    self._skip(pattern)
                    return
        else:
            self._skip(_PLAIN_VALUE)

    def _array(self, path: KeyPath) -> None:
        self._expect("[")
        number = 0
        while True:
            self._space()
            if self.text.startswith("]", self.at):
                self.at += 1
                return
            start = self.at
            self._note((*path, number), start, start)
            self._value((*path, number))
            end = start + len(self.text[start : self.at].rstrip())
            self.pairs[(*path, number)] = Pair(path, start, start, end, is_inside=True)
            number += 1
            self._comma("]")

    def _inline_table(self, path: KeyPath) -> None:
        self._expect("{")
        while True:
            self._space()
            if self.text.startswith("}", self.at):
                self.at += 1
                return
            self._pair(path, is_inside=True)
            self._comma("}")

    def _comma(self, closing: str) -> None:
        self._space()
        if self.text.startswith(",", self.at):
            self.at += 1
        elif not self.text.startswith(closing, self.at):
            raise ValueError(self.at)
