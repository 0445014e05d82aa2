"""Markdown to Telegram HTML: what it renders, and that nothing makes it ill-formed."""

from __future__ import annotations

import random
import re

import pytest

from loong_channels.telegram.markup import to_html
from tests.fakes.telegram_html import parse_html, utf16_length


@pytest.mark.parametrize(
    "text", ["", "hello", "5 < 6 & 7 > 2", "a - b", "1. one\n2. two", "https://a.b/c", "ünï 漢字 \U0001f600"]
)
def test_a_text_without_markup_goes_as_it_is(text: str) -> None:
    assert to_html(text) is None


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("**bold**", "<b>bold</b>"),
        ("__bold__", "<b>bold</b>"),
        ("*it* and _it_", "<i>it</i> and <i>it</i>"),
        ("***both***", "<b><i>both</i></b>"),
        ("~~gone~~", "<s>gone</s>"),
        ("**a *b* c**", "<b>a <i>b</i> c</b>"),
        ("`a<b`", "<code>a&lt;b</code>"),
        ("``a`b``", "<code>a`b</code>"),
        ("`**no**`", "<code>**no**</code>"),
        ("**粗体：**后面", "<b>粗体：</b>后面"),
        ("**use `x`**", "<b>use <code>x</code></b>"),
        ("[a **b**](https://x.y/z_(1)?p=1&q=2)", '<a href="https://x.y/z_(1)?p=1&amp;q=2">a <b>b</b></a>'),
        ('[a](https://x.y "title")', '<a href="https://x.y">a</a>'),
        ("![alt](https://x.y/i.png)", '<a href="https://x.y/i.png">alt</a>'),
        ("# Title", "<b>Title</b>"),
        ("### A **b** *c* ###\ntext", "<b>A b <i>c</i></b>\ntext"),
        ("- one\n- *two*\n  * three", "• one\n• <i>two</i>\n  • three"),
        ("> a\n> **b**\nc", "<blockquote>a\n<b>b</b></blockquote>\nc"),
        ("```\na < b\n```", "<pre>a &lt; b</pre>"),
        ("```py\nx = 1\n```\nend", '<pre><code class="language-py">x = 1</code></pre>\nend'),
        ('```c++ title="x"\n1\n```', '<pre><code class="language-c++">1</code></pre>'),
        ("```\nnever closed", "<pre>never closed</pre>"),
        (
            "1. x\n   ```sh\n   ls\n     a\n   ```",
            '1. x\n<pre><code class="language-sh">ls\n  a</code></pre>',
        ),
        ("| a | b |\n|---|---|\n| 1 | < |", "<pre>| a | b |\n|---|---|\n| 1 | &lt; |</pre>"),
        (r"\*no\* **yes**", "*no* <b>yes</b>"),
    ],
)
def test_what_models_write_is_rendered(markdown: str, html: str) -> None:
    assert to_html(markdown) == html


@pytest.mark.parametrize(
    "markdown",
    [
        "snake_case_name and other_name_",
        "2 * 3 * 4",
        "a ** b",
        "**open",
        "`open",
        "[label](javascript:alert)",
        "[label](/relative)",
        "[label] (https://x.y)",
        "***\n___",
        "~single~",
        "#hashtag",
        "a*",
        "__init__.py"[2:],
    ],
)
def test_what_only_looks_like_markup_stays_as_written(markdown: str) -> None:
    html = to_html(markdown)
    assert html is None or (parse_html(html) == (markdown, []))


def test_tags_of_the_text_itself_are_shown_not_obeyed() -> None:
    html = to_html("**x** <b>y</b> &amp; <br>")
    assert html == "<b>x</b> &lt;b&gt;y&lt;/b&gt; &amp;amp; &lt;br&gt;"


def test_crossed_emphasis_is_never_crossed_tags() -> None:
    html = to_html("**a *b** c*")
    assert html is not None
    assert parse_html(html)[0] == "a *b c*"


def test_a_text_that_would_be_empty_without_its_markup_is_not_rendered() -> None:
    assert to_html("```\n```") is None
    assert to_html("```py\n\n```") is None


PIECES = [
    "*", "**", "***", "_", "__", "~~", "`", "``", "```", "```py\n", "\n```\n", "[", "](", ")", "](https://x.y)",
    "> ", "\n> ", "\n- ", "\n# ", "\n", "\n\n", "|", "\n|--|\n", "\\", "<", "&", ">", '"', "a", "b c", "漢",
    "\U0001f600", " ", "\t", "~~~\n", "!", "snake_case", "\r\n",
]  # fmt: skip


def test_whatever_comes_in_what_goes_out_is_well_formed_and_not_longer() -> None:
    rng = random.Random(11)
    for _ in range(4000):
        text = "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 30)))
        html = to_html(text)
        if html is None:
            continue
        visible, _ = parse_html(html)
        assert visible.strip()
        assert utf16_length(visible) <= utf16_length(text)
        if not re.search(r"```|~~~|\]\(", text):
            # No info string and no address: letters are never lost, only signs are.
            letters = r"[^a-z漢\U0001f600]"
            assert re.sub(letters, "", visible) == re.sub(letters, "", text)


@pytest.mark.parametrize("sign", ["*", "*a", "_a ", "[x](", "> ", "- ", "~~a", "a\n|--|\n", "# "])
def test_a_large_text_of_signs_is_rendered_completely(sign: str) -> None:
    text = sign * 20_000
    html = to_html(text)
    assert html is not None
    visible, _ = parse_html(html)
    assert visible.count("a") == text.count("a")
    assert visible.count("x") == text.count("x")
    assert visible.strip()


@pytest.mark.parametrize("sign", ["`", "["])
def test_a_large_text_of_signs_that_mean_nothing_goes_as_it_is(sign: str) -> None:
    assert to_html(sign * 20_000) is None
