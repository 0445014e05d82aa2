"""A change of the values changes the text as little as it can: comments and other lines stay."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
import tomli

from loong_gateway.config.editing import edited, merged, spelt_as
from loong_gateway.config.toml_lines import layout
from loong_gateway.config.toml_text import document_text, same

CONFIG = """# The gateway of the house.
active_provider = "main"   # not the other one

# Where it listens.
[gateway]
port = 18789
bind = "loopback" # nobody else
auth.mode = "token"

[gateway.ws]
# seconds, not hours
tick_interval_ms = 30_000

[providers.main]
kind = "openai"
api_key = { env = "KEY", } # from the vault
headers = { "X-Team" = "a#b", plain = "c" }
preferred_models = [
    "first", # the good one
    "second",
]

# People who may write.
[telegram]
enabled = true
allowed_chat_ids = [1, 2]

[telegram.accounts.work]
bot_token = '''
12345:abc'''
"""
CONFIG = CONFIG.replace(", } # from", " } # from")


def change(text: str, changes: Mapping[str, object]) -> str:
    before = tomli.loads(text)
    after = merged(before, changes)
    made = edited(text, before, after, tomli.loads)
    assert same(tomli.loads(made), after)
    return made


@pytest.mark.parametrize(
    ("changes", "gone", "come"),
    [
        pytest.param({"gateway": {"port": 1}}, ["port = 18789"], ["port = 1"], id="replace"),
        pytest.param(
            {"gateway": {"bind": "lan"}},
            ['bind = "loopback" # nobody else'],
            ['bind = "lan" # nobody else'],
            id="keeps_the_comment_of_its_line",
        ),
        pytest.param({"gateway": {"workers": 3}}, [], ["workers = 3"], id="add_to_section"),
        pytest.param({"gateway": {"auth": {"token": "x y"}}}, [], ['auth.token = "x y"'], id="beside_dotted"),
        pytest.param(
            {"active_provider": None}, ['active_provider = "main"   # not the other one'], [], id="remove"
        ),
        pytest.param(
            {"logging": {"level": "debug"}}, [], ["", "[logging]", 'level = "debug"'], id="new_table"
        ),
        pytest.param({"x": 1}, [], ["x = 1"], id="add_to_root"),
        pytest.param(
            {"providers": {"main": {"headers": {"plain": None}}}},
            ['headers = { "X-Team" = "a#b", plain = "c" }'],
            ['headers = { "X-Team" = "a#b" }'],
            id="remove_from_inline",
        ),
        pytest.param(
            {"providers": {"main": {"headers": {"X-Team": None, "b.c": "d"}}}},
            ['headers = { "X-Team" = "a#b", plain = "c" }'],
            ['headers = { plain = "c", "b.c" = "d" }'],
            id="change_inline",
        ),
        pytest.param(
            {"telegram": {"accounts": None}},
            ["[telegram.accounts.work]", "bot_token = '''", "12345:abc'''"],
            [],
            id="remove_table",
        ),
        pytest.param(
            {"gateway": {"ws": {"tick_interval_ms": None}}}, ["tick_interval_ms = 30_000"], [], id="empty"
        ),
    ],
)
def test_only_what_is_meant_changes(changes: Mapping[str, object], gone: list[str], come: list[str]) -> None:
    before, after = CONFIG.split("\n"), change(CONFIG, changes).split("\n")
    assert [line for line in before if line not in after] == gone
    kept = [line for line in before if line not in gone]
    rest = iter(after)
    assert all(line in rest for line in kept)
    assert sorted(after) == sorted(kept + come)


def test_no_change_changes_nothing() -> None:
    assert change(CONFIG, {"gateway": {"port": 18789}}) == CONFIG


def test_line_ends_of_windows_stay() -> None:
    made = change("# a\r\n[gateway]\r\nport = 1\r\n", {"gateway": {"port": 2, "workers": 3}})
    assert made == "# a\r\n[gateway]\r\nport = 2\r\nworkers = 3\r\n"


def test_a_text_that_cannot_be_edited_is_written_anew() -> None:
    made = change('"a\\u0041" = 1 # lost\n', {"b": 2})
    assert made == "aA = 1\nb = 2\n"


def test_what_toml_cannot_hold_is_refused() -> None:
    for value in ([None], "\ud800", 2**63, {"\ud800": 1}):
        with pytest.raises(ValueError):
            edited("", {}, {"a": value}, tomli.loads)
    deep: object = 1
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValueError, match="deep"):
        edited("", {}, {"a": deep}, tomli.loads)


def test_keys_are_taken_for_the_ones_that_are_written() -> None:
    written = {"gateway": {"customBindHost": "x"}}
    assert spelt_as(written, {"Gateway": {"custom_bind_host": None, "new": 1}}) == {
        "gateway": {"customBindHost": None, "new": 1}
    }


def test_merge_as_published() -> None:
    # https://www.rfc-editor.org/rfc/rfc7396#appendix-A, as far as a config can hold the cases.
    for target, patch, wanted in [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": "foo"}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
    ]:
        assert merged(target, patch) == wanted


WORDS = ("a", "port", "x y", "ключ", "b.c", "work")


def some_value(chance: random.Random, depth: int = 0) -> object:
    kind = chance.randrange(9 if depth < 2 else 6)
    if kind == 0:
        return chance.choice([True, False])
    if kind == 1:
        return chance.randrange(-(10**6), 10**6)
    if kind == 2:
        return chance.choice([0.5, 1e300, -3.0, float("inf"), 1e-7])
    if kind < 6:
        return chance.choice(["", "a # b", 'say "x"', "two\nlines", "back\\slash", "é\x7f\x00", "'''"])
    if kind == 6:
        return [some_value(chance, 2) for _ in range(chance.randrange(3))]
    return {chance.choice(WORDS): some_value(chance, depth + 1) for _ in range(chance.randrange(3))}


def some_patch(chance: random.Random, target: object, depth: int = 0) -> dict[str, object]:
    table = target if isinstance(target, dict) else {}
    patch: dict[str, object] = {}
    for _ in range(chance.randrange(1, 4)):
        if table and chance.random() < 0.7:
            key = chance.choice(sorted(table))
            if isinstance(table[key], dict) and chance.random() < 0.7:
                patch[key] = some_patch(chance, table[key], depth + 1)
            else:
                patch[key] = chance.choice([None, some_value(chance)])
        else:
            patch[chance.choice(WORDS)] = some_value(chance)
    return patch


@pytest.mark.parametrize("seed", range(8))
def test_random_patches_give_the_merged_value_and_keep_comments(seed: int) -> None:
    chance = random.Random(seed)
    text = CONFIG
    for _ in range(12):
        before = tomli.loads(text)
        changes = some_patch(chance, before)
        after = merged(before, changes)
        made = edited(text, before, after, tomli.loads)
        assert same(tomli.loads(made), after), changes
        assert made != document_text(after) or text == document_text(before)
        # Comments on lines of their own outside of what was changed are all there.
        own = [line for line in CONFIG.split("\n") if line.startswith("# ") and "seconds" not in line]
        assert [line for line in own if line not in made.split("\n")] == [], changes
        layout(made)
        if chance.random() < 0.5:
            text = made
