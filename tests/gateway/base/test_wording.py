"""The one word that was meant, and text that fits on a line."""

from __future__ import annotations

import pytest

from loong_gateway.base.wording import nearest, one_line

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
