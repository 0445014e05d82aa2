"""Making bad input of good input. Deterministic: the same chance makes the same bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any, Callable

__all__ = ["Chance", "mutated_bytes", "mutated_json", "random_bytes"]

Chance = random.Random
_MAX_BYTES = 1 << 16
_MAX_TEXT = 1 << 18
_BYTES = (0x00, 0x01, 0x0A, 0x22, 0x5B, 0x7B, 0x7D, 0x7E, 0x7F, 0x80, 0xC0, 0xED, 0xFE, 0xFF)
# What length fields are made of: nothing, a little too much, and more than any memory.
_LENGTHS = (
    *(b"\x00", b"\x7f", b"\xff", b"\xff\x7f", b"\xff" * 4, b"\x7f" + b"\xff" * 7, b"\x80" * 12),
    b"\xff" * 9 + b"\x01",
)
_SCRAPS = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 30,
    b"9" * 5000,
    b'"\\ud800"',
    b'"\\udfff\\ud83d"',
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98",
    b"[" * 500,
    b"[" * 60_000,
    b'{"a":' * 700,
    b'{"a":' * 10_000,
    b"\x00",
    b"\r\n",
    b"\r\n\r\n",
    b": ",
    b"\xe2\x80\xa8",
)


def random_bytes(chance: Chance) -> bytes:
    """Bytes of no meaning, mostly few."""
    return chance.randbytes(chance.randrange(chance.choice((8, 60, 60, 600))))


def _place(chance: Chance, data: bytearray) -> int:
    return chance.randrange(len(data) + 1)


def _flip(chance: Chance, data: bytearray, _other: bytes) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(chance: Chance, data: bytearray, _other: bytes) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice(_BYTES)


def _cut(chance: Chance, data: bytearray, _other: bytes) -> None:
    del data[_place(chance, data) :]


def _delete(chance: Chance, data: bytearray, _other: bytes) -> None:
    at = _place(chance, data)
    del data[at : at + chance.randrange(1, 12)]


def _insert(chance: Chance, data: bytearray, _other: bytes) -> None:
    at = _place(chance, data)
    data[at:at] = chance.randbytes(chance.randrange(1, 8))


def _scrap(chance: Chance, data: bytearray, _other: bytes) -> None:
    at = _place(chance, data)
    data[at : at + chance.randrange(3)] = chance.choice(_SCRAPS)


def _lie(chance: Chance, data: bytearray, _other: bytes) -> None:
    at = _place(chance, data)
    lie = chance.choice(_LENGTHS)
    data[at : at + chance.choice((1, len(lie)))] = lie


def _repeat(chance: Chance, data: bytearray, _other: bytes) -> None:
    at = _place(chance, data)
    data[at:at] = data[at : at + chance.randrange(1, 40)] * chance.choice((1, 2, 50))


def _splice(chance: Chance, data: bytearray, other: bytes) -> None:
    data[_place(chance, data) :] = other[chance.randrange(len(other) + 1) :]


_OPERATORS: tuple[Callable[[Chance, bytearray, bytes], None], ...] = (
    *(_flip, _flip, _set, _set, _cut, _delete, _delete, _insert, _insert, _lie, _repeat, _splice),
    _scrap,
)


def mutated_bytes(chance: Chance, corpus: Sequence[bytes]) -> bytes:
    """A sample with one to four things done to it."""
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.choice((1, 1, 2, 4))):
        chance.choice(_OPERATORS)(chance, data, chance.choice(corpus))
    return bytes(data[:_MAX_BYTES])


def _deep(chance: Chance) -> object:
    value: object = "x"
    for _ in range(chance.choice((3, 40, 300, 900))):
        value = [value] if chance.random() < 0.5 else {"content": value}
    return value


_STRANGE: tuple[Callable[[Chance], object], ...] = (
    lambda _: None,
    lambda _: True,
    lambda _: False,
    lambda _: -1,
    lambda _: 0,
    lambda _: 0.5,
    lambda _: 1 << 63,
    lambda _: -(1 << 70),
    lambda _: 10**25,
    lambda _: 10**4000,
    lambda _: float("nan"),
    lambda _: float("-inf"),
    lambda _: "",
    lambda _: "\0",
    lambda _: "\ud800",
    lambda _: "x\udfff\ud83d y",
    lambda _: "@_user_1 @_all @ \u2028\u202e",
    lambda _: "1" * 40,
    lambda _: "\u0663\u0664",
    lambda _: "{}",
    lambda _: '{"text":',
    lambda _: "[" * 5000,
    lambda chance: "y" * chance.choice((100, 5000)),
    lambda _: [],
    lambda _: {},
    lambda _: [[], {}, None, 1],
    lambda _: {"id": {"id": {"id": None}}},
    _deep,
)


def mutated_json(chance: Chance, sample: object) -> bytes:
    """A JSON text like the sample, a few of its parts dropped, doubled, swapped, or replaced by strange ones.

    A string that holds JSON is changed within, too.
    """
    value = _changed(chance, sample, chance.choice((0.02, 0.06, 0.2)))
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5)
    # Lists within lists may have become a hundred times longer each.
    return text.encode("utf-8", "surrogatepass") if len(text) <= _MAX_TEXT else mutated_json(chance, sample)


def _changed(chance: Chance, value: Any, rate: float) -> Any:
    if chance.random() < rate:
        return chance.choice(_STRANGE)(chance)
    if isinstance(value, dict):
        table = {}
        for key, part in value.items():
            way = chance.random()
            if way < rate / 2:
                continue
            name = chance.choice(["", "content", "\ud800", "x" * 300, *value]) if way < rate else key
            table[name] = _changed(chance, part, rate)
        return table
    if isinstance(value, list):
        parts = [_changed(chance, part, rate) for part in value]
        return parts * chance.choice((0, 2, 100)) if chance.random() < rate else parts
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            within = json.loads(value)
        except ValueError:
            return value
        return json.dumps(_changed(chance, within, rate), ensure_ascii=chance.random() < 0.5)
    return value
