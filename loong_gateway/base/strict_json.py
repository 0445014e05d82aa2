"""Reads JSON that a stranger sent: what two programs could read differently, or what takes long to read, is refused."""

from __future__ import annotations

import json

__all__ = ["read_json"]

MAX_DIGITS = 20
MAX_NUMBER = 64


def read_json(data: bytes | str) -> object:
    """The value in a JSON text in UTF-8. Raises ValueError, whose text holds nothing of `data`.

    Refused besides what is no JSON: an object that has a member twice, NaN and Infinity, integers of more than 20
    digits, other numbers of more than 64 characters, and nesting that the reader would have to recurse too deep for.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except (ValueError, RecursionError):
        raise ValueError("not valid JSON") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a member is there twice")
    return document


def _integer(digits: str) -> int:
    # Turning a megabyte of digits into a number takes seconds.
    if len(digits) > MAX_DIGITS:
        raise ValueError("too many digits")
    return int(digits)


def _number(text: str) -> float:
    if len(text) > MAX_NUMBER:
        raise ValueError("too many digits")
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("too large")
    return number


def _constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
