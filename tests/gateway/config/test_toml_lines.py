"""Places of keys and values in TOML text."""

from __future__ import annotations

import random

import pytest
import tomli

from loong_gateway.config.toml_lines import place_of, places

TEXT = '''# comment with [header] = "x"
plain = 1
  indented = "two"   # trailing
a.b . "c d" = 3

[table] # note
many = """
[not_a_table]
key = 1 \\"""
"""
raw = \'\'\'
x = 1 \'\'
\'\'\'
list = [1, # one
  "two # not a comment",
  [3, 4],
  { five = 5, six = [ 6 ] },
]
after = { inner = { "quoted.key" = "}" }, last = true }

[ spaced . "name" ]
k = 2024-01-01T00:00:00Z
[[items]]
n = 1
[items.sub]
s = "x"
[[items]]
n = 2
'''


def at(*path: str | int) -> tuple[int, int, int, int]:
    return places(TEXT)[path]


def test_keys_and_values_are_found_to_the_column() -> None:
    assert at("plain") == (2, 1, 2, 9)
    assert at("indented") == (3, 3, 3, 14)
    assert at("a", "b", "c d") == (4, 1, 4, 15)
    assert at("a", "b") == (4, 1, 4, 1)


def test_headers_are_found_at_their_bracket() -> None:
    assert at("table") == (6, 1, 6, 1)
    assert at("spaced", "name") == (21, 1, 21, 1)
    assert at("spaced", "name", "k") == (22, 1, 22, 5)


def test_strings_over_several_lines_hide_what_looks_like_keys() -> None:
    assert at("table", "many") == (7, 1, 7, 8)
    assert at("table", "raw") == (11, 1, 11, 7)
    assert ("not_a_table",) not in places(TEXT)
    assert ("table", "x") not in places(TEXT)


def test_items_of_arrays_have_places() -> None:
    assert at("table", "list") == (14, 1, 14, 8)
    assert at("table", "list", 0) == (14, 9, 14, 9)
    assert at("table", "list", 1) == (15, 3, 15, 3)
    assert at("table", "list", 2, 1) == (16, 7, 16, 7)
    assert at("table", "list", 3, "six", 0) == (17, 23, 17, 23)


def test_inline_tables_are_looked_into() -> None:
    assert at("table", "after", "inner", "quoted.key") == (19, 21, 19, 36)
    assert at("table", "after", "last") == (19, 43, 19, 50)


def test_arrays_of_tables_are_numbered() -> None:
    assert at("items", 0, "n") == (24, 1, 24, 5)
    assert at("items", 0, "sub", "s") == (26, 1, 26, 5)
    assert at("items", 1, "n") == (28, 1, 28, 5)


def test_characters_are_counted_not_bytes() -> None:
    assert places('"ключ" = "ä"\nk = 1\n')[("ключ",)] == (1, 1, 1, 10)


def test_a_missing_key_is_placed_at_its_table() -> None:
    found = places(TEXT)
    assert place_of(found, ("table", "list", 3, "seven")) == (17, 3, 17, 3)
    assert place_of(found, ("table", "nothing")) == (6, 1, 6, 1)
    assert place_of(found, ("nowhere",)) is None


@pytest.mark.parametrize(
    "text", ["", "[", "[a", "a", "a =", "a = [", "a = {", 'a = "', "= 1", '"\\u0041" = 1', "[[a]"]
)
def test_broken_text_gives_what_was_understood(text: str) -> None:
    assert places("first = 1\n" + text)[("first",)] == (1, 1, 1, 9)


def test_deep_nesting_ends_early() -> None:
    assert ("a",) in places("a = " + "[" * 100_000)


def test_every_key_of_random_documents_is_found_where_it_is() -> None:
    rng = random.Random(20261120)
    for _ in range(200):
        text = random_document(rng)
        found = places(text)
        lines = text.split("\n")
        for path in key_paths(tomli.loads(text)):
            line, column, value_line, value_column = found[path]
            name = str(path[-1])
            rest = lines[line - 1][column - 1 :]
            assert rest.startswith((name, f'"{name}"', "[")), (text, path)
            if not rest.startswith("["):
                assert lines[value_line - 1][value_column - 1 :], (text, path)


def random_document(rng: random.Random) -> str:
    lines = []
    for number in range(rng.randrange(1, 5)):
        if number:
            lines.append(f"[t{number}]" if rng.random() < 0.7 else f'[t{number}."x y"]')
        for key in range(rng.randrange(0, 5)):
            name = rng.choice([f"k{key}", f'"k {key}"'])
            lines.append(
                f"{' ' * rng.randrange(3)}{name} = {random_value(rng, 2)}{rng.choice(['', ' # c = 1'])}"
            )
    return "\n".join(lines)


def random_value(rng: random.Random, depth: int) -> str:
    kinds = ["1", "-2.5", '"a # b"', "'c = ]'", '"""m\nn"""', "true"]
    if depth:
        inner = [random_value(rng, depth - 1) for _ in range(rng.randrange(3))]
        kinds += [
            "[" + ", ".join(inner) + "]",
            "[\n" + ",\n".join(inner) + "\n]",
            "{ " + ", ".join(f"i{n} = {v}" for n, v in enumerate(inner)) + " }",
        ]
    return rng.choice(kinds)


def key_paths(table: dict[str, object], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in table.items():
        found.append((*path, key))
        if isinstance(value, dict):
            found += key_paths(value, (*path, key))
    return found
