"""Writes values as TOML, each on one line. Grammar: TOML 1.0 (https://toml.io/en/v1.0.0)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time

from loong_gateway.config.diagnostics import dotted, quoted

__all__ = ["document_text", "same", "section_text", "value_text"]

DEEPEST = 32


def value_text(value: object, depth: int = 0) -> str:
    """One value. Raises ValueError for what TOML cannot hold: null, half a surrogate pair, nesting without end."""
    if depth > DEEPEST:
        raise ValueError("is nested too deeply")
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (bool, int, float)):
        return _number(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(value_text(item, depth + 1) for item in value)}]"
    if not isinstance(value, Mapping):
        raise ValueError("holds null, which a config cannot")  # noqa: TRY004  who calls it catches one kind of error
    inner = ", ".join(f"{_key(key)} = {value_text(item, depth + 1)}" for key, item in value.items())
    return f"{{ {inner} }}" if inner else "{}"


def section_text(path: tuple[str, ...], table: Mapping[str, object]) -> str:
    """A table as its header, its values, and the tables below it, each line ended. The root has no header."""
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    if len(path) > DEEPEST:
        raise ValueError("is nested too deeply")
    lines = [f"{_key(key)} = {value_text(value)}\n" for key, value in plain.items()]
    if path and (lines or not tables):
        lines.insert(0, f"[{'.'.join(map(_key, path))}]\n")
    sections = ["".join(lines)] if lines else []
    sections += [section_text((*path, key), value) for key, value in tables.items()]
    return "\n".join(sections)


def document_text(document: Mapping[str, object]) -> str:
    """A whole file. Raises ValueError as `value_text`."""
    return section_text((), document)


def same(one: object, other: object) -> bool:
    """Whether two values are the same in TOML, where 1, 1.0 and true differ and nan is itself."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and one == other


def _key(key: str) -> str:
    key.encode("utf-8")
    return dotted((key,))


def _text(value: str) -> str:
    # Half a surrogate pair cannot be written in any encoding; UnicodeEncodeError is a ValueError.
    value.encode("utf-8")
    return quoted(value)


def _number(value: float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError("holds a number that is too large")
        return str(value)
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    text = repr(value)
    return text if any(mark in text for mark in ".e") else f"{text}.0"
