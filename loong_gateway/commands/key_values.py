"""Values as one line of NAME=VALUE, for people and for scripts that cut it at its spaces."""

from __future__ import annotations

import json
from collections.abc import Mapping

from loong_gateway.base.wording import visible

__all__ = ["key_values"]


def key_values(values: Mapping[str, object]) -> str:
    """The line: a text that is one word as it is, `-` for none, everything else in JSON."""
    return " ".join(f"{visible(name)}={_word(value)}" for name, value in values.items())


def _word(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, str) and value and value.isprintable() and not any(mark in value for mark in ' "'):
        return value
    return visible(json.dumps(value, ensure_ascii=False))
