from __future__ import annotations

import pytest

from loong_gateway.base.strict_json import read_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ('{"a":[1.5,null,true]}', {"a": [1.5, None, True]}),
        ('"\\ud800"', "\ud800"),
        ("1e300", 1e300),
    ],
)
def test_reads_json(text: str, value: object) -> None:
    assert read_json(text) == value
    assert read_json(text.encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{'a':1}",
        '{"a":1,"a":2}',
        '{"a":{"b":1,"b":1}}',
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "9" * 21,
        "0." + "1" * 80,
        "[" * 100_000,
        '{"a":' * 50_000,
        "1 2",
    ],
    ids=range(14),
)
def test_refuses_what_is_ambiguous_or_costly(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not valid JSON$"):
        read_json(text)


def test_refuses_what_is_not_utf_8() -> None:
    with pytest.raises(ValueError, match="not valid JSON"):
        read_json(b'"\xff"')
