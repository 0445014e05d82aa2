"""Changes a TOML text as little as a change of its values needs: comments and all other lines stay as they are.

What comes out is parsed and compared with what was wanted; where the text is too unusual to be edited, it is written
anew without its comments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from loong_gateway.config.diagnostics import dotted
from loong_gateway.config.tables import fold
from loong_gateway.config.toml_lines import Header, KeyPath, Layout, layout
from loong_gateway.config.toml_text import document_text, same, section_text, value_text

__all__ = ["edited", "merged", "spelt_as"]

Parse = Callable[[str], dict[str, Any]]


def merged(target: object, changes: object) -> Any:
    """`changes` merged into `target` (RFC 7396): null removes, tables are merged, all else replaces."""
    if not isinstance(changes, Mapping):
        return changes
    made = dict(target) if isinstance(target, Mapping) else {}
    for key, value in changes.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made


def spelt_as(target: object, changes: Mapping[str, object]) -> dict[str, object]:
    """The changes with their keys spelt as in `target`, where a key is one and the same in several spellings."""
    table = target if isinstance(target, Mapping) else {}
    known = {fold(key): key for key in table}
    made = {}
    for key, value in changes.items():
        own = key if key in table else known.get(fold(key), key)
        made[own] = spelt_as(table.get(own), value) if isinstance(value, Mapping) else value
    return made


def edited(text: str, before: Mapping[str, object], after: Mapping[str, object], parse: Parse) -> str:
    """A text that means `after`, made from `text`, which means `before`.

    `parse` reads TOML and raises ValueError. Raises ValueError when `after` cannot be written at all.
    """
    fresh = document_text(after)
    newline = "\r\n" if text.count("\r\n") == text.count("\n") > 0 else "\n"
    made = text.replace("\r\n", "\n") if newline != "\n" else text
    try:
        for path, value in _steps((), before, after):
            made = _removed(made, path) if value is _GONE else _placed(made, path, value)
        made = _with_empty_tables(made, after, parse)
        understood = same(parse(made), after)
    except (ValueError, LookupError):
        # Keys or nesting that the scanner does not follow.
        understood = False
    if not understood:
        made = fresh
    return made.replace("\n", newline) if newline != "\n" else made


_GONE = object()


def _steps(
    path: tuple[str, ...], before: Mapping[str, object], after: Mapping[str, object]
) -> list[tuple[tuple[str, ...], object]]:
    """What to remove and what to set, removals first: what was a value may become a table."""
    steps: list[tuple[tuple[str, ...], object]] = []
    steps += [((*path, key), _GONE) for key in before if key not in after]
    for key, value in after.items():
        old = before.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            steps += _steps((*path, key), old, value)
        elif key not in before or not same(old, value):
            if isinstance(old, Mapping):
                steps.append(((*path, key), _GONE))
            steps.append(((*path, key), value))
    return steps


def _removed(text: str, path: tuple[str, ...]) -> str:
    found = layout(text)
    cuts = [
        _cut_of(text, found, own)
        for own, pair in found.pairs.items()
        # What is written inside of something that goes, goes along with it.
        if own[: len(path)] == path and not (pair.is_inside and pair.holder[: len(path)] == path)
    ]
    cuts += [
        _lines(text, header.at, header.end) for header in found.headers if header.path[: len(path)] == path
    ]
    last = len(text)
    for start, end in sorted(cuts, reverse=True):
        # Two neighbours in an inline table share a comma.
        text = text[:start] + text[min(end, last) :]
        last = start
    return text


def _cut_of(text: str, found: Layout, own: KeyPath) -> tuple[int, int]:
    pair = found.pairs[own]
    if not pair.is_inside:
        return _lines(text, pair.key_at, pair.end)
    after = pair.end
    while text[after] in " \t\r\n":
        after += 1
    if text[after] == ",":
        after += 1
        while text[after] in " \t":
            after += 1
        return pair.key_at, after
    before = pair.key_at
    while text[before - 1] in " \t\r\n":
        before -= 1
    return (before - 1 if text[before - 1] == "," else before), pair.end


def _lines(text: str, start: int, end: int) -> tuple[int, int]:
    """The whole lines from `start` to `end`, their end included."""
    stop = text.find("\n", end)
    return text.rfind("\n", 0, start) + 1, len(text) if stop < 0 else stop + 1


def _placed(text: str, path: tuple[str, ...], value: object) -> str:
    found = layout(text)
    pair = found.pairs.get(path)
    if pair is not None:
        return text[: pair.value_at] + value_text(value) + text[pair.end :]
    parent = path[:-1]
    inline = found.pairs.get(parent)
    if inline is not None:
        return _into_inline(text, inline.value_at, inline.end, dotted(path[-1:]), value)
    if isinstance(value, Mapping):
        return _appended(text, section_text(path, value))
    place = _end_of_section(text, found, parent)
    if place is None:
        return _beside_dotted(text, found, path, value) or _appended(
            text, section_text(parent, {path[-1]: value})
        )
    return _inserted(text, place, f"{dotted(path[-1:])} = {value_text(value)}\n")


def _into_inline(text: str, start: int, end: int, key: str, value: object) -> str:
    inner = text[start + 1 : end - 1]
    kept = inner.rstrip()
    comma = "" if not kept.strip() or kept.endswith(",") else ","
    return f"{text[: start + 1]}{kept}{comma} {key} = {value_text(value)} {text[end - 1 :]}"


def _appended(text: str, section: str) -> str:
    if text and not text.endswith("\n"):
        text += "\n"
    return f"{text}\n{section}" if text.strip() else text + section


def _end_of_section(text: str, found: Layout, path: KeyPath) -> int | None:
    """Where a further value of the table `path` goes: behind its last one. None without a header of its own."""
    pairs = [pair for pair in found.pairs.values() if pair.holder == path and not pair.is_inside]
    if pairs:
        return _lines(text, pairs[-1].key_at, pairs[-1].end)[1]
    if not path:
        return _above(text, found.headers[0]) if found.headers else len(text)
    header = next((one for one in found.headers if one.path == path), None)
    return None if header is None else _lines(text, header.at, header.end)[1]


def _above(text: str, header: Header) -> int:
    """The start of the comment lines that stand right above a header."""
    place = text.rfind("\n", 0, header.at) + 1
    while place:
        line = text.rfind("\n", 0, place - 1) + 1
        if not text[line:place].lstrip().startswith("#"):
            break
        place = line
    return place


def _beside_dotted(text: str, found: Layout, path: tuple[str, ...], value: object) -> str | None:
    """The text with a value beside another one of a table that dotted keys made; None where there is none."""
    for own, pair in found.pairs.items():
        if own[: len(path) - 1] == path[:-1] and len(pair.holder) < len(path) - 1 and not pair.is_inside:
            key = dotted(path[len(pair.holder) :])
            place = _lines(text, pair.key_at, pair.end)[1]
            return _inserted(text, place, f"{key} = {value_text(value)}\n")
    return None


def _inserted(text: str, place: int, line: str) -> str:
    if place and text[place - 1] != "\n":
        line = "\n" + line
    return text[:place] + line + text[place:]


def _with_empty_tables(text: str, after: Mapping[str, object], parse: Parse) -> str:
    """The text with a header for each table that lost its last line."""
    for path in _missing((), parse(text), after):
        text = _appended(text, section_text(path, {}))
    return text


def _missing(
    path: tuple[str, ...], found: Mapping[str, object], wanted: Mapping[str, object]
) -> list[tuple[str, ...]]:
    missing = []
    for key, value in wanted.items():
        if isinstance(value, Mapping):
            own = found.get(key)
            if isinstance(own, Mapping):
                missing += _missing((*path, key), own, value)
            elif key not in found and not value:
                missing.append((*path, key))
    return missing
