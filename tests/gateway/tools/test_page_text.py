"""The text of pages."""

from __future__ import annotations

import pytest

from loong_gateway.tools.page_text import decoded, is_text, text_of_html


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("a<br>b", "a\nb"),
        ("<p>a &lt;b&gt; &amp; c", "a <b> & c"),
        ("a<!-- > <b> -->b", "ab"),
        ("a<script>if (1 < 2) x('</p>')</script>b", "ab"),
        ("a<SCRIPT src='x>y'>z</Script >b", "ab"),
        ("a<style>p > b {}</style>b", "ab"),
        ("<a title='x > y' href=\"a>b\">link</a>", "link"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("a<!doctype x>b<?php x ?>c</>d", "abcd"),
        ("a<script>never closed", "a"),
        ("a<p title='never closed", "a"),
        ("a<!-- never closed", "a"),
        ("  a  \n\n\n  b\t c ", "a\nb c"),
        ("a<", "a<"),
        ("&#228;&#xe4;&auml;&unknown;&#xD800;&#0;&#9999999;&#;&amp", "äää&unknown; &#;&amp"),
        ("a&nbsp;b&lt;i&gt;", "a b<i>"),
        ("", ""),
    ],
)
def test_what_a_reader_would_see(page: str, text: str) -> None:
    assert text_of_html(page)[1] == text


def test_the_title_stands_apart() -> None:
    assert text_of_html("<title>\n a &amp;\n b</title>c") == ("a & b", "c")


@pytest.mark.parametrize(
    "piece", ["<", "<!--", "<a ", "<a '", "<a \"'>", "<script", "<title>", "< ", "&", "=", "<a = "]
)
def test_no_page_takes_long(piece: str) -> None:
    """A reader that went over anything twice would not come back from this in the life of the test."""
    assert len(text_of_html(piece * (500_000 // len(piece)))[1]) <= 500_000


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("ü".encode(), "text/plain", "ü"),
        ("ü".encode("latin-1"), "text/plain; charset=ISO-8859-1", "ü"),
        ("中文".encode("gb18030"), "text/html; charset=GB2312", "中文"),
        (b'<meta charset="gbk">' + "中".encode("gbk"), "text/html", '<meta charset="gbk">中'),
        (b"\xff\xfea\x00", "text/plain", "a"),
        (b"\xef\xbb\xbfa", "text/plain; charset=latin-1", "a"),
        (b"a\xff", "text/plain; charset=nonsense", "a�"),
        (b"\\x41", "text/plain; charset=unicode_escape", "\\x41"),
        (b"YQ==", "text/plain; charset=base64", "YQ=="),
    ],
)
def test_bytes_become_text(body: bytes, kind: str, text: str) -> None:
    assert decoded(body, kind) == text


def test_what_is_text() -> None:
    assert all(map(is_text, ("text/plain", "Text/HTML; x", "application/json", "application/ld+json")))
    assert not any(map(is_text, ("image/png", "application/octet-stream", "", "application/zip")))
