"""What a message carries: JSON in a string, within the limits, and without the power to call people."""

from __future__ import annotations

import html
import json
import random
from typing import Any

import pytest

from loong_channels.feishu.content import (
    CARD_BYTES,
    card_content,
    defused,
    has_markup,
    post_content,
    render,
    text_content,
)
from loong_channels.feishu.spec import SPEC
from loong_channels.text import first_piece, measure, split
from tests.fakes.feishu_content import read_content


def seen(content: Any) -> str:
    """What a reader sees, by the double's strict reading."""
    return read_content(content.msg_type, content.content)[1]


HARD = (
    'quotes " and \\ backslashes,\nnewlines\ttabs \u0001, emoji 👨‍👩‍👧 🐍, 漢字, {"json": [1]}, % & ; é\u2028'
)


@pytest.mark.parametrize("make", [text_content, post_content, card_content])
def test_every_character_arrives(make: Any) -> None:
    assert seen(make(HARD)) == HARD


def test_a_text_is_json_in_a_string() -> None:
    content = text_content('say "hi"\n')
    assert content.msg_type == "text"
    assert content.content == '{"text":"say \\"hi\\"\\n"}'
    assert content.size_bytes == len(content.content)


def test_a_post_has_a_language_and_no_wrapper() -> None:
    content = post_content("**hi**")
    assert json.loads(content.content) == {"zh_cn": {"content": [[{"tag": "md", "text": "**hi**"}]]}}


def test_a_card_is_of_schema_2_and_may_be_patched() -> None:
    card = json.loads(card_content("**hi**").content)
    assert card["schema"] == "2.0"
    assert card["config"]["update_multi"] is True
    assert card["body"]["elements"] == [{"tag": "markdown", "content": "**hi**"}]


@pytest.mark.parametrize(
    ("text", "markup", "form", "msg_type"),
    [
        ("plain words, snake_case and 3 * 4", "markdown", "card", "text"),
        ("**bold**", "markdown", "card", "interactive"),
        ("**bold**", "markdown", "post", "post"),
        ("**bold**", "markdown", "text", "text"),
        ("**bold**", "plain", "card", "text"),
    ],
)
def test_what_a_text_becomes(text: str, markup: str, form: str, msg_type: str) -> None:
    assert render(text, markup, form).msg_type == msg_type


@pytest.mark.parametrize(
    "text",
    [
        "# T",
        "a\n## b",
        "- a",
        "  * a",
        "> q",
        "```\nx\n```",
        "~~~\nx\n~~~",
        "a `b` c",
        "*a*",
        "**a**",
        "_a_",
        "__a__",
        "~~a~~",
        "[a](https://b)",
        "| a | b |\n|---|---|",
    ],
)
def test_markdown_is_recognised(text: str) -> None:
    assert has_markup(text)


@pytest.mark.parametrize(
    "text",
    ["", "hello", "a_b_c", "2 * 3 * 4", "a - b", "1 > 0", "C# and F#", "#tag", "a ~ b", "it's `", "x|y"],
)
def test_ordinary_text_is_not_markdown(text: str) -> None:
    assert not has_markup(text)


MENTIONS = [
    '<at user_id="all"></at>',
    '<at user_id="ou_1">Ann</at>',
    "<AT user_id=all>",
    "< at user_id='all'>",
    "<at id=all></at>",
    "<at email=a@b.c></at>",
    "</at>",
    "<\tat\nid=all>",
    '&lt;at user_id="all"&gt;',
    "&#60;at id=all>",
    "&#x3C;at id=all>",
    "&LT;at id=all>",
    "<<at id=all>>",
]


@pytest.mark.parametrize("mention", MENTIONS)
@pytest.mark.parametrize("make", [text_content, post_content, card_content])
def test_a_model_cannot_call_people(make: Any, mention: str) -> None:
    content = make(f"hello {mention} and ```\n{mention}\n```")
    _, shown, pings = read_content(content.msg_type, content.content)
    assert pings == []
    # The reader sees what was written, not a call; entities of the writer's own are decoded in any text.
    assert html.unescape(shown) == html.unescape(f"hello {mention} and ```\n{mention}\n```")
    if "&" not in mention:
        assert shown.count(mention) == 2


@pytest.mark.parametrize("text", ["a < b and c > d", "x <attic>", "R&D", "&lt;b&gt;", "at <b>", "<a href=x>"])
def test_what_calls_nobody_stays_as_it_is(text: str) -> None:
    assert defused(text) == text


def test_defusing_is_quick_for_hostile_text() -> None:
    for text in ("<" * 4000, ("<" + " " * 60) * 60, "<" + " " * 4000, "&lt;" * 1000, "</" * 2000):
        assert len(defused(text)) >= len(text)


def test_foreign_images_become_links_outside_of_code() -> None:
    text = "![a](https://x/y.png)\n```\n![b](https://x)\n```\nand ![c](https://z)"
    assert seen(card_content(text)) == "[a](https://x/y.png)\n```\n![b](https://x)\n```\nand [c](https://z)"


@pytest.mark.parametrize(
    "filling", ["a", "漢", "🐍", '"', "\\", "\n", "<", "\u0001", '<at id="a">', "&lt;at "]
)
@pytest.mark.parametrize("form", ["card", "post", "text"])
def test_a_whole_part_fits_whatever_it_holds(filling: str, form: str) -> None:
    text = ("**b** " + filling * SPEC.text_limit)[: SPEC.text_limit]
    content = render(text, "markdown", form)
    assert content.size_bytes <= (150_000 if content.msg_type == "text" else CARD_BYTES)
    read_content(content.msg_type, content.content)


def test_a_card_that_would_be_too_large_is_a_text() -> None:
    assert render("**b** " + "x" * 30_000, "markdown", "card").msg_type == "text"


def test_200_kb_with_code_across_parts_arrive_complete() -> None:
    rng = random.Random(7)
    words = ["alpha", "**beta**", "漢字。", "🐍", '"q"', "\\", "a_b"]
    pieces = []
    while len("".join(pieces).encode()) < 200_000:
        pieces.append(" ".join(rng.choice(words) for _ in range(400)) + "\n\n")
        pieces.append("```python\n" + "print('x')  # <at\n" * rng.randrange(10, 400) + "```\n\n")
    answer = "".join(pieces)
    parts = split(answer, SPEC.text_limit, SPEC.limit_unit)
    shown = [seen(render(part, "markdown", "card")) for part in parts]
    assert shown == parts
    assert all(measure(part, "codepoint") <= SPEC.text_limit for part in parts)
    assert all(part.count("```") % 2 == 0 for part in shown)


@pytest.mark.parametrize(
    ("text", "piece"),
    [("", ""), ("  a ", "a"), ("a\ud83d", "a\ufffd"), ("word " * 300, ("word " * 300).strip())],
)
def test_what_a_growing_answer_shows(text: str, piece: str) -> None:
    assert first_piece(text, SPEC.text_limit, "codepoint") == piece


def test_a_growing_answer_shows_no_more_than_its_first_part() -> None:
    text = "word " * 3000
    assert (
        first_piece(text, SPEC.text_limit, "codepoint")
        == split(text, SPEC.text_limit, "codepoint")[0].strip()
    )
