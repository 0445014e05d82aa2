"""Markdown, as language models write it, to Telegram's HTML. Pure; the result is always well-formed.

Telegram refuses a whole message for one unclosed tag, so tags are only written in matched pairs and everything else
is escaped. What is not understood stays as it was written. https://core.telegram.org/bots/api#html-style
"""

from __future__ import annotations

import re

from loong_channels.text import CodeBlock, code_blocks

__all__ = ["to_html"]

# One of these must occur, or there is no markup: looked for one by one, which is faster than a pattern.
_SIGNS = ("*", "_", "`", "~~", "](", "\n#", "\n>", "\n- ", "\n+ ", "\\")
_LINE_SIGNS = ("#", ">", "- ", "+ ", " ", "\t")

_HEADING = re.compile(r"[ ]{0,3}#{1,6}[ \t]+")
_BULLET = re.compile(r"([ \t]*)[-*+][ \t]+(?=\S)")
_QUOTE = re.compile(r"[ ]{0,3}>[ \t]?")
_RULE = re.compile(r"[ ]{0,3}(?:(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})\Z")
_TABLE_RULE = frozenset("|-: \t\r")
_LANGUAGE = re.compile(r"[A-Za-z0-9_+#.-]{1,40}")

_TICKS = re.compile("`+")
_INLINE = re.compile(
    r"\\(?P<escaped>[\\`*_{}\[\]()#+\-.!|~>])"
    r"|(?P<ticks>`+)"
    r"|!?\[(?P<label>[^\[\]]{1,1000})\]\((?P<url>[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)(?:[ ]+\"[^\"\n]*\")?\)"
    r"|(?P<run>\*+|_+|~+)"
)
_URL = re.compile(r"(?:https?|tg|mailto|tel):[^\s<>\"]+\Z", re.IGNORECASE)
_TAGS = {
    "*": ("<i>", "</i>"),
    "_": ("<i>", "</i>"),
    "**": ("<b>", "</b>"),
    "__": ("<b>", "</b>"),
    "***": ("<b><i>", "</i></b>"),
    "___": ("<b><i>", "</i></b>"),
    "~~": ("<s>", "</s>"),
}
# Within a heading, which is bold already.
_TAGS_IN_BOLD = {
    **_TAGS,
    "**": ("", ""),
    "__": ("", ""),
    "***": ("<i>", "</i>"),
    "___": ("<i>", "</i>"),
}


def to_html(text: str) -> str | None:
    """Render Markdown as Telegram HTML; None when there is nothing to render and the text can go as it is.

    Knows bold, italic, strike-through, code, fenced code with its language, links, headings (as bold), lists,
    tables (as preformatted text) and quotes. What a reader sees is never longer than `text`.
    """
    if not _has_markup(text):
        return None
    done = []
    position = 0
    for block in code_blocks(text):
        done.append(_prose(text[position : block.start]))
        done.append(_preformatted(text[block.body : block.body_end], block))
        # The line end of the closing line stays, or the next paragraph would stick to the code.
        if block.end > block.body_end and text[block.end - 1] == "\n":
            done.append("\n")
        position = block.end
    done.append(_prose(text[position:]))
    html = "".join(done)
    # Markup around nothing, such as an empty code block, would leave an empty message.
    return html if html.strip() else None


def _has_markup(text: str) -> bool:
    if any(sign in text for sign in _SIGNS) or text.startswith(_LINE_SIGNS):
        return True
    return "|" in text and "--" in text


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _preformatted(code: str, block: CodeBlock) -> str:
    code = code[:-1] if code.endswith("\n") else code
    if not code.strip():
        return ""
    if block.indent:
        code = re.sub(rf"^[ \t]{{1,{len(block.indent)}}}", "", code, flags=re.MULTILINE)
    language = _LANGUAGE.match(block.info.strip())
    if language is None:
        return f"<pre>{_escape(code)}</pre>"
    return f'<pre><code class="language-{language.group()}">{_escape(code)}</code></pre>'


def _prose(text: str) -> str:
    """Render text without fenced code, line by line; paragraphs are rendered whole."""
    lines = text.split("\n")
    done: list[str] = []
    paragraph: list[str] = []
    index = 0
    while index < len(lines):
        line = lines[index]
        taken, html = _special(lines, index) if line[:1] in "#>|-*+_ \t" or "|" in line else (0, "")
        if taken == 0 and line.strip():
            paragraph.append(line)
            index += 1
            continue
        if paragraph:
            done.append(_inline("\n".join(paragraph)))
            paragraph = []
        done.append(html if taken else line)
        index += taken or 1
    if paragraph:
        done.append(_inline("\n".join(paragraph)))
    return "\n".join(done)


def _special(lines: list[str], index: int) -> tuple[int, str]:
    """Render the heading, rule, list item, quote or table that begins at `index`; (0, "") when none does."""
    line = lines[index]
    heading = _HEADING.match(line)
    if heading:
        title = line[heading.end() :].rstrip().rstrip("#").rstrip()
        return 1, f"<b>{_inline(title, bold=True)}</b>" if title else _escape(line)
    if _RULE.match(line):
        return 1, line
    bullet = _BULLET.match(line)
    if bullet:
        return 1, f"{bullet.group(1)}• {_inline(line[bullet.end() :])}"
    if _QUOTE.match(line):
        return _quote(lines, index)
    return _table(lines, index) if _is_table(lines, index) else (0, "")


def _is_table(lines: list[str], index: int) -> bool:
    """Whether a table begins here: a row with a bar, then a line of bars and dashes."""
    if "|" not in lines[index] or index + 1 >= len(lines):
        return False
    rule = lines[index + 1]
    return "|" in rule and "--" in rule and _TABLE_RULE.issuperset(rule)


def _quote(lines: list[str], index: int) -> tuple[int, str]:
    inner = []
    for line in lines[index:]:
        mark = _QUOTE.match(line)
        if mark is None:
            break
        inner.append(line[mark.end() :])
    quoted = _inline("\n".join(inner))
    if not quoted.strip():
        return len(inner), "\n".join(inner)
    return len(inner), f"<blockquote>{quoted}</blockquote>"


def _table(lines: list[str], index: int) -> tuple[int, str]:
    rows = []
    for line in lines[index:]:
        if "|" not in line:
            break
        rows.append(line)
    return len(rows), "<pre>" + _escape("\n".join(rows)) + "</pre>"


class _Delimiter:
    """A run of `*`, `_` or `~` that may become a tag: its place in the output and whether it may open or close."""

    __slots__ = ("closes", "kind", "opens", "place")

    def __init__(self, kind: str, place: int, *, opens: bool, closes: bool) -> None:
        self.kind = kind
        self.place = place
        self.opens = opens
        self.closes = closes


def _inline(text: str, *, bold: bool = False) -> str:
    """Render emphasis, code spans, links and escapes. `bold`: already within bold, so bold adds no tag."""
    done: list[str] = []
    delimiters: list[_Delimiter] = []
    runs = _tick_runs(text) if "`" in text else {}
    position = 0
    match = _INLINE.search(text)
    while match is not None:
        done.append(_escape(text[position : match.start()]))
        position = match.end()
        kind, token = match.lastgroup, match.group()
        if kind == "run":
            delimiters.append(_delimiter(text, match, len(done)))
            done.append(token)
        elif kind == "ticks":
            end = _closing_ticks(runs, token, position)
            done.append(_code_span(text[position : end - len(token)], token) if end else token)
            position = end or position
        elif kind == "escaped":
            done.append(_escape(token[1:]))
        else:
            done.append(_link(match, bold=bold))
        match = _INLINE.search(text, position)
    done.append(_escape(text[position:]))
    _pair(delimiters, done, bold=bold)
    return "".join(done)


def _tick_runs(text: str) -> dict[str, list[int]]:
    """Where each length of back-tick run occurs, last first."""
    runs: dict[str, list[int]] = {}
    for match in _TICKS.finditer(text):
        runs.setdefault(match.group(), []).append(match.start())
    for places in runs.values():
        places.reverse()
    return runs


def _closing_ticks(runs: dict[str, list[int]], ticks: str, start: int) -> int:
    """The end of the run that closes a code span opened before `start`; 0 when there is none."""
    places = runs.get(ticks, [])
    while places and places[-1] < start:
        places.pop()
    return places.pop() + len(ticks) if places else 0


def _code_span(code: str, ticks: str) -> str:
    if len(code) > 2 and code[0] == code[-1] == " ":
        code = code[1:-1]
    return f"<code>{_escape(code)}</code>" if code.strip() else _escape(ticks + code + ticks)


def _link(match: re.Match[str], *, bold: bool) -> str:
    label, url = match.group("label"), match.group("url")
    if not label.strip() or not _URL.match(url):
        return _escape(match.group())
    return f'<a href="{_escape(url)}">{_inline(label, bold=bold)}</a>'


def _delimiter(text: str, match: re.Match[str], place: int) -> _Delimiter:
    before = text[match.start() - 1] if match.start() else " "
    after = text[match.end()] if match.end() < len(text) else " "
    opens = not after.isspace()
    closes = not before.isspace()
    if match.group()[0] == "_":
        # Names such as snake_case are no emphasis.
        opens = opens and not before.isalnum()
        closes = closes and not after.isalnum()
    return _Delimiter(match.group(), place, opens=opens, closes=closes)


def _pair(delimiters: list[_Delimiter], done: list[str], *, bold: bool) -> None:
    """Turn matching runs into tags, in place. What opens inside a pair and is not closed there stays as written."""
    waiting: list[_Delimiter] = []
    tags = _TAGS_IN_BOLD if bold else _TAGS
    count = dict.fromkeys(tags, 0)
    for delimiter in delimiters:
        kind = delimiter.kind
        if kind not in tags:
            continue
        if delimiter.closes and count[kind]:
            opener = _take(waiting, count, kind)
            done[opener.place], done[delimiter.place] = tags[kind]
        elif delimiter.opens:
            waiting.append(delimiter)
            count[kind] += 1


def _take(waiting: list[_Delimiter], count: dict[str, int], kind: str) -> _Delimiter:
    """Remove the last opener of a kind and all that opened after it."""
    while True:
        opener = waiting.pop()
        count[opener.kind] -= 1
        if opener.kind == kind:
            return opener
