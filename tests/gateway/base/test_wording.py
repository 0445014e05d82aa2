"""Ages and numbers in words, the one word that was meant, and text that fits on a line."""

from __future__ import annotations

import pytest

from loong_gateway.base.wording import ago, duration, harmless, nearest, one_line, plural, printable, visible

VERBS = ["gateway", "channels", "status", "stop", "doctor", "ask", "chat", "logs"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("gatway", "gateway"),
        ("gatewya", "gateway"),
        ("stauts", "status"),
        ("doc", "doctor"),
        ("chan", "channels"),
        ("cha", "chat"),
        ("sp", None),
        ("xyzzy", None),
        ("", None),
        ("akk", "ask"),
        ("stpo", "stop"),
    ],
)
def test_a_typo_leads_to_the_one_word_that_was_meant_or_to_none(given: str, meant: str | None) -> None:
    assert nearest(given, VERBS) == meant


def test_a_line_has_no_control_characters_and_a_limit() -> None:
    assert one_line("a\nb\x1b[31m\tc") == "a b [31m c"
    assert one_line("x" * 400) == "x" * 297 + "..."


def test_what_is_printable_is_neither_cut_nor_squeezed() -> None:
    assert printable("a  b" * 200) == "a  b" * 200
    assert printable("a\x1b[2J\n b") == "a [2J  b"


def test_visible_text_keeps_what_can_be_read() -> None:
    assert visible("gr\u00fc\u00df dich \U0001f409") == "gr\u00fc\u00df dich \U0001f409"
    assert visible("a\tb\x7f\u2028") == "a\\tb\\x7f\\u2028"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.3, "0.3 s"),
        (-5, "0 s"),
        (40, "40 s"),
        (59.9, "59 s"),
        (18 * 60 + 59, "18 min"),
        (6 * 3600 + 1, "6 h"),
        (2 * 86400 + 3700, "2 d 1 h"),
        (3 * 86400, "3 d"),
    ],
)
def test_a_duration_uses_at_most_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_age_says_never_for_what_has_not_happened() -> None:
    assert ago(None, 10_000) == "never"
    assert ago(0, 10_000) == "never"
    assert ago(1, 40_001) == "40 s ago"
    assert ago(50_000, 40_000) == "0 s ago"


def test_a_number_takes_its_noun_along() -> None:
    assert [plural(n, "chat") for n in (0, 1, 2)] == ["0 chats", "1 chat", "2 chats"]
    assert plural(2, "reply", "replies") == "2 replies"


def test_a_text_of_several_lines_steers_no_terminal_and_stays_readable() -> None:
    steering = "\x1b]0;title\x07 a\rb\x9b31m \x7f\x00"
    assert harmless(steering) == "\\x1b]0;title\\x07 a\\x0db\\x9b31m \\x7f\\x00"
    for text in (
        "one\n\ttwo\n",
        "\u4f60\u597d\u3000\u201c\u201d",
        "\U0001f469\u200d\U0001f4bb",
        "\u05e9\u200f",
    ):
        assert harmless(text) == text
    assert harmless("one\r\ntwo") == "one\ntwo"
