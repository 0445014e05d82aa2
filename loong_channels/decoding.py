"""JSON from outside: decoded in time that grows with its length only. Pure."""

from __future__ import annotations

import json

__all__ = ["load_json"]

_MAX_DIGITS = 20


def load_json(data: bytes | str) -> object:
    """Decode JSON, bytes as UTF-8. Raises ValueError, also for what is nested too deeply."""
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    try:
        value: object = _decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _short_int(digits: str) -> int:
    # Reading a number takes time that grows with the square of its length.
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number that is too long")
    return int(digits)


_decode = json.JSONDecoder(parse_int=_short_int).decode
