"""The stored key of a session and the spellings that lead to it."""

from __future__ import annotations

import random

import pytest

from loong_channels.contract import Address
from loong_gateway.messaging.sessions import address_of_key, display_name, session_key, session_keys


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("", "agent:main:default"),
        ("  ", "agent:main:default"),
        ("demo", "agent:main:demo"),
        ("main", "agent:main:main"),
        ("agent:main:telegram:work:group:-100", "agent:main:telegram:work:group:-100"),
        ("telegram:work:-100200", "agent:main:telegram:work:group:-100200"),
        ("telegram:work:4711", "agent:main:telegram:work:direct:4711"),
        ("telegram:work:-100200:7", "agent:main:telegram:work:group:-100200:7"),
        ("telegram:cfg=work:bot_123:-100200", "agent:main:telegram:work:group:-100200"),
        ("telegram:work:direct:-5", "agent:main:telegram:work:direct:-5"),
    ],
)
def test_every_spelling_leads_to_the_stored_key(given: str, key: str) -> None:
    assert session_key(given) == key


def test_a_short_spelling_names_both_kinds_of_conversation() -> None:
    assert set(session_keys("wecom:a:zhang")) == {
        "agent:main:wecom:a:direct:zhang",
        "agent:main:wecom:a:group:zhang",
    }


def test_an_address_gives_the_key_that_its_short_spelling_leads_to() -> None:
    address = Address("telegram", "work", "-100200", "7")
    assert session_key(address, kind="group") == session_key("telegram:work:-100200:7")
    assert session_key(Address("telegram", "work", "-9"), kind="broadcast").endswith(":group:-9")


@pytest.mark.parametrize("conversation", ["a:b", "~b64~x", "two words", "line\nbreak", "", "雪:雪"])
def test_a_part_that_could_be_mistaken_is_encoded_and_shown_as_it_was(conversation: str) -> None:
    key = session_key(Address("feishu", "work", conversation))
    assert len(key.split(":")) == 6
    assert display_name(key) == f"feishu:work:direct:{conversation}"


def test_two_different_addresses_never_share_a_key() -> None:
    assert session_key(Address("telegram", "a", "1", "2")) != session_key(Address("telegram", "a", "1:2"))


def test_no_address_is_lost_between_its_key_and_the_way_back() -> None:
    anything = random.Random(11)
    letters = "ab1-_.:~ \n\u597d\U0001f600%/"

    def word() -> str:
        return "".join(anything.choices(letters, k=anything.randint(1, 8)))

    for _ in range(2000):
        thread = word() if anything.random() < 0.3 else None
        address = Address("telegram", word(), word(), thread)
        key = session_key(address, kind=anything.choice(("direct", "group")))
        assert address_of_key(key) == address
        assert session_keys(key) == (key,)
        assert session_keys(key[len("agent:main:") :]) == (key,)


def test_a_name_with_a_colon_is_one_part() -> None:
    assert display_name(session_key("my:notes")) == "my:notes"
    assert session_key("my:notes").count(":") == 2
