"""The small JSON module agrees with the standard one."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from loong_gateway.base.tinyjson import dumps, loads

VALUES = [
    None,
    True,
    0,
    -17,
    10**40,
    1.5,
    -2e-9,
    "",
    'quote " slash \\ line\n',
    "émoji 🐉 \x00 \u2028",
    "\ud800",
    [],
    {},
    [[], {}, [1, [2]]],
    {"a": {"b": []}, "": None},
    {"list": [1, "x", {"y": True}]},
]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("indent", [None, 2])
def test_written_text_is_what_the_standard_module_writes(value: object, indent: int | None) -> None:
    separators = None if indent else (",", ":")
    assert dumps(value, indent) == json.dumps(value, indent=indent, separators=separators)
    plain = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False)
    written = dumps(value, indent, ascii_only=False)
    # What is not printable is an escape, which the standard module leaves as it is.
    assert loads(written) == value
    assert written == plain or not plain.replace("\n", "").isprintable()
    assert loads(dumps(value, indent)) == value


def test_random_values_survive_a_round_trip() -> None:
    rng = random.Random(7)

    def make(depth: int) -> object:
        kind = rng.randrange(7 if depth else 5)
        if kind == 5:
            return [make(depth - 1) for _ in range(rng.randrange(4))]
        if kind == 6:
            return {f"k{n}": make(depth - 1) for n in range(rng.randrange(4))}
        return [
            None,
            rng.random() < 0.5,
            rng.randrange(-(10**9), 10**9),
            rng.random(),
            "ü" * rng.randrange(5),
        ][kind]

    for _ in range(300):
        value = make(4)
        assert loads(dumps(value)) == value
        assert loads("  " + json.dumps(value, indent=1) + "\n") == value


@pytest.mark.parametrize(
    "text", ["", " ", "{", "[1,]", "{'a':1}", '{"a"}', "1 2", "nul", '"\n"', "[" * 200_000, "\ufeff{}"]
)
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(text)


def test_numbers_without_a_json_form_become_null_and_objects_are_refused() -> None:
    assert dumps([float("inf"), float("nan")]) == "[null,null]"
    with pytest.raises(TypeError, match="set"):
        dumps({"a": set()})


def test_it_works_on_an_interpreter_without_the_accelerator() -> None:
    code = (
        "import sys; sys.modules['_json'] = None\n"
        "from loong_gateway.base.tinyjson import dumps, loads\n"
        "assert loads(dumps({'a': [1, 'é', None]}, 2)) == {'a': [1, 'é', None]}\n"
        "try: loads('{')\n"
        "except ValueError: print('fine')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.stdout == "fine\n", done.stderr


def test_what_is_not_printable_is_always_an_escape() -> None:
    value = {"\x9b31m": "\x1b\u202e\x7f\u2028\U000e0041\udc80 \u4f60\u597d \U0001f44b"}
    text = dumps(value, ascii_only=False)
    assert text.isprintable() and "\u4f60\u597d \U0001f44b" in text
    assert json.loads(text) == value
