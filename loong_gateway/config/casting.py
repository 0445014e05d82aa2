"""Turns what TOML holds into what a setting means. Pure: problems are returned, never raised, all at once.

Secrets are the business of `secret_refs`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import Callable

from loong_channels.settings import Setting
from loong_gateway.base.wording import nearest, one_line
from loong_gateway.config.diagnostics import did_you_mean
from loong_gateway.config.urls import (
    PLAIN_HTTP,
    PLAIN_WS,
    check_base_url,
    check_proxy_url,
    check_web_socket_url,
)

__all__ = ["Cast", "Problem", "cast", "kind_of"]

_HEADER_FIX = 'write a table of texts: { "X-Name" = "words" }'
_INT64 = 2**63
_LONGEST_SHOWN = 40
_EXPECTED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "text": "text",
    "path": "a path in quotes",
    "url": "a URL in quotes",
    "ws_url": "a URL in quotes",
    "proxy": "a URL in quotes",
    "texts": "a list of texts",
    "ints": "a list of whole numbers",
    "int_ids": "a list of whole numbers",
    "ids": "a list of ids",
    "headers": "a table of texts",
}
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True)
class Problem:
    """Something about a value: the code of its text, what fills it in, and which part of the value it is about."""

    code: str
    values: Mapping[str, object] = field(default_factory=dict)
    item: tuple[str | int, ...] = ()


@dataclass(frozen=True)
class Cast:
    """The value of a setting, its default where the given one is unusable, and what was found."""

    value: object
    problems: tuple[Problem, ...] = ()


def cast(
    setting: Setting,
    raw: object,
    *,
    base_dir: str = "",
    plain_http: bool = False,
    plain_http_key: str = "allow_plain_http",
) -> Cast:
    """Read `raw`, a value as the parser gives it. Relative paths start at `base_dir`.

    `plain_http` accepts http:// to any host; `plain_http_key` names the key that sets it, for the hint.
    """
    if setting.kind == "path":
        return _cast_path(setting, raw, base_dir)
    if setting.kind in ("url", "ws_url"):
        return _cast_url(setting, raw, plain_http=plain_http, plain_http_key=plain_http_key)
    return _CASTS[setting.kind](setting, raw)


def kind_of(raw: object) -> str:
    """What a TOML value is, in words."""
    for known, word in (
        (bool, "true or false"),
        (int, "a whole number"),
        (float, "a number"),
        (str, "text"),
        (list, "a list"),
        (dict, "a table"),
    ):
        if isinstance(raw, known):
            return word
    return "a date or time"


def _wrong_type(setting: Setting, raw: object) -> Cast:
    expected = _EXPECTED.get(setting.kind) or _one_of(setting.choices)
    return Cast(setting.default, (Problem("config.value.type", {"expected": expected, "got": kind_of(raw)}),))


def _invalid(setting: Setting, detail: str, *, suggestion: str = "", fix: str = "") -> Cast:
    values = {"detail": detail, "suggestion": suggestion, "fix": fix}
    return Cast(setting.default, (Problem("config.value.invalid", values),))


def _one_of(choices: tuple[str, ...]) -> str:
    return f"one of {', '.join(choices)}"


def _cast_bool(setting: Setting, raw: object) -> Cast:
    return Cast(raw) if isinstance(raw, bool) else _wrong_type(setting, raw)


def _cast_number(setting: Setting, raw: object) -> Cast:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        return _wrong_type(setting, raw)
    if setting.kind == "int" and isinstance(raw, float):
        return _wrong_type(setting, raw)
    low = -_INT64 if setting.minimum is None else setting.minimum
    high = _INT64 - 1 if setting.maximum is None else setting.maximum
    if not low <= raw <= high:
        return _out_of_range(setting, raw, low, high)
    return Cast(raw if setting.kind == "int" else float(raw))


def _out_of_range(setting: Setting, raw: float, low: float, high: float) -> Cast:
    shown = {"given": _number(raw), "low": _number(low), "high": _number(high)}
    if not setting.clamp or isnan(raw):
        return Cast(setting.default, (Problem("config.numeric_range", shown),))
    used = low if raw < low else high
    value: object = int(used) if setting.kind == "int" else float(used)
    return Cast(value, (Problem("config.value.clamped", {**shown, "used": _number(used)}),))


def _number(value: float) -> str:
    if not isinstance(value, int):
        return f"{value:.15g}"
    return str(value) if -_INT64 <= value < _INT64 else "this number"


def _cast_text(setting: Setting, raw: object) -> Cast:
    if not isinstance(raw, str):
        return _wrong_type(setting, raw)
    if "\0" in raw:
        return _invalid(setting, "holds a zero character", fix="write it without that character")
    return Cast(raw if raw.strip() else setting.default)


def _cast_path(setting: Setting, raw: object, base_dir: str) -> Cast:
    text = _cast_text(setting, raw)
    if text.problems or not isinstance(raw, str) or not raw.strip():
        return text
    return Cast(os.path.join(base_dir, os.path.expanduser(raw.strip())))


def _cast_url(setting: Setting, raw: object, *, plain_http: bool, plain_http_key: str) -> Cast:
    if not isinstance(raw, str):
        return _wrong_type(setting, raw)
    url = raw.strip()
    if not url:
        return Cast(setting.default)
    web_socket = setting.kind == "ws_url"
    check = check_web_socket_url if web_socket else check_base_url
    problem = check(url, plain_http=plain_http)
    if not problem:
        return Cast(url.rstrip("/"))
    scheme = "wss" if web_socket else "https"
    fix = f'write an address such as: "{scheme}://host.example/path"'
    if problem in (PLAIN_HTTP, PLAIN_WS):
        fix = f"use {scheme}://, or write: {plain_http_key} = true"
    return _invalid(setting, problem, fix=fix)


def _cast_proxy(setting: Setting, raw: object) -> Cast:
    if not isinstance(raw, str):
        return _wrong_type(setting, raw)
    url = raw.strip()
    problem = check_proxy_url(url) if url else ""
    if problem:
        return _invalid(setting, problem, fix='write an address such as: "http://proxy.example:3128"')
    return Cast(url or setting.default)


def _cast_choice(setting: Setting, raw: object) -> Cast:
    if not isinstance(raw, str):
        return _wrong_type(setting, raw)
    word = raw.strip().lower()
    if word in setting.choices:
        return Cast(word)
    if not word:
        return Cast(setting.default)
    detail = f'expected {_one_of(setting.choices)}, got "{one_line(raw, _LONGEST_SHOWN)}"'
    meant = nearest(word, sorted(setting.choices))
    fix = f'write: "{meant}"' if meant else f"write one of: {', '.join(setting.choices)}"
    return _invalid(setting, detail, suggestion=did_you_mean(word, setting.choices), fix=fix)


def _cast_list(setting: Setting, raw: object) -> Cast:
    if not isinstance(raw, list):
        return _wrong_type(setting, raw)
    values: list[object] = []
    problems: list[Problem] = []
    for number, item in enumerate(raw):
        value, problem = _ITEMS[setting.kind](item)
        if problem is not None:
            problems.append(Problem(problem.code, problem.values, (number,)))
        if value is not None and value not in values:
            values.append(value)
    return Cast(tuple(values), tuple(problems))


def _text_item(item: object) -> tuple[object, Problem | None]:
    if isinstance(item, str) and item.strip():
        return item, None
    return None, _bad_item("text", item)


def _int_item(item: object) -> tuple[object, Problem | None]:
    if isinstance(item, int) and not isinstance(item, bool):
        return item, None
    return None, _bad_item("a whole number", item)


def _id_item(item: object) -> tuple[object, Problem | None]:
    if isinstance(item, int):
        return _int_id_item(item)
    if isinstance(item, str) and item.strip():
        return item.strip(), None
    return None, _bad_item("an id", item)


def _int_id_item(item: object) -> tuple[object, Problem | None]:
    converted = None
    if isinstance(item, str):
        digits = item.strip()
        if not digits.removeprefix("-").isdecimal() or not digits.isascii() or len(digits) > 20:
            return None, _bad_item("a whole number", item)
        item, converted = int(digits), Problem("config.value.converted")
    if not isinstance(item, int) or isinstance(item, bool):
        return None, _bad_item("a whole number", item)
    if not -_INT64 <= item < _INT64:
        return None, Problem(
            "config.numeric_range", {"given": "this id", "low": str(-_INT64), "high": str(_INT64 - 1)}
        )
    return str(item), converted


def _bad_item(expected: str, item: object) -> Problem:
    if item == "*":
        values = {"detail": '"*" is not allowed here; list each id', "suggestion": "", "fix": "write each id"}
        return Problem("config.value.invalid", values)
    got = "empty text" if isinstance(item, str) and not item.strip() else kind_of(item)
    return Problem("config.value.type", {"expected": f"{expected} as item", "got": got})


def _cast_headers(setting: Setting, raw: object) -> Cast:
    if not isinstance(raw, dict):
        return _wrong_type(setting, raw)
    problems = [
        Problem("config.value.invalid", {"detail": detail, "suggestion": "", "fix": _HEADER_FIX}, (name,))
        for name, value in raw.items()
        for detail in [_header_problem(name, value)]
        if detail
    ]
    return Cast({} if problems else dict(raw), tuple(problems))


def _header_problem(name: str, value: object) -> str:
    if not name or not _TOKEN.issuperset(name):
        return "is not the name of a header"
    if not isinstance(value, str):
        return f"expected text, got {kind_of(value)}"
    # A header field holds visible characters, spaces and tabs (RFC 9110, section 5.5).
    if any((c < " " and c != "\t") or c > "~" for c in value):
        return "holds characters that a header may not hold"
    return ""


_CASTS: dict[str, Callable[[Setting, object], Cast]] = {
    "bool": _cast_bool,
    "int": _cast_number,
    "float": _cast_number,
    "text": _cast_text,
    "proxy": _cast_proxy,
    "choice": _cast_choice,
    "texts": _cast_list,
    "ints": _cast_list,
    "ids": _cast_list,
    "int_ids": _cast_list,
    "headers": _cast_headers,
}
_ITEMS: dict[str, Callable[[object], tuple[object, Problem | None]]] = {
    "texts": _text_item,
    "ints": _int_item,
    "ids": _id_item,
    "int_ids": _int_id_item,
}
