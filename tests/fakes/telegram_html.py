"""Parses the HTML style of message texts and refuses what the Bot API server refuses, in its words.

https://core.telegram.org/bots/api#html-style - stricter in one point: nesting inside code and pre is refused here,
where the server quietly drops it.
"""

from __future__ import annotations

import re

SIMPLE = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "code": "code",
    "pre": "pre",
    "a": "text_link",
    "blockquote": "blockquote",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "tg-emoji": "custom_emoji",
}
NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
REFERENCE = re.compile(r"&(?:#(\d{1,8})|#x([0-9a-fA-F]{1,6})|(lt|gt|amp|quot));?")
SPACES = " \t\r\n\v\f"


class CannotParse(Exception):
    """The text is refused; `str()` is what follows "can't parse entities: "."""


def utf16_length(text: str) -> int:
    """UTF-16 code units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def unescape(text: str) -> str:
    """Resolve the references the server knows; everything else stays as it is."""

    def one(match: re.Match[str]) -> str:
        decimal, hexadecimal, name = match.groups()
        if name:
            return NAMED[name]
        code = int(decimal) if decimal else int(hexadecimal, 16)
        return chr(code) if 0 < code <= 0x10FFFF and not 0xD800 <= code < 0xE000 else match.group(0)

    return REFERENCE.sub(one, text)


class _Reader:
    """Walks over the source text; offsets in messages are bytes of UTF-8."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0

    def peek(self) -> str:
        return self.source[self.at] if self.at < len(self.source) else ""

    def until(self, stops: str) -> str:
        start = self.at
        while self.peek() and self.peek() not in stops:
            self.at += 1
        return self.source[start : self.at]

    def skip_spaces(self) -> None:
        while self.peek() and self.peek() in SPACES:
            self.at += 1

    def byte_offset(self, position: int) -> int:
        return len(self.source[:position].encode("utf-8", "surrogatepass"))


def _attributes(reader: _Reader, tag: str, begin: int) -> dict[str, str]:
    found: dict[str, str] = {}
    offset = reader.byte_offset(begin)
    while True:
        reader.skip_spaces()
        if reader.peek() == ">":
            return found
        if not reader.peek():
            raise CannotParse(f'Unclosed start tag "{tag}" at byte offset {offset}')
        name = reader.until(SPACES + "=>").lower()
        if not name:
            raise CannotParse(f'Empty attribute name in the tag "{tag}" at byte offset {offset}')
        reader.skip_spaces()
        if reader.peek() != "=":
            if tag == "blockquote" and name == "expandable":
                found[name] = "1"
                continue
            raise CannotParse(
                f'Expected equal sign in declaration of an attribute of the tag "{tag}" at byte offset {offset}'
            )
        reader.at += 1
        reader.skip_spaces()
        quote = reader.peek()
        if quote and quote in "\"'":
            reader.at += 1
            found[name] = unescape(reader.until(quote))
            if not reader.peek():
                raise CannotParse(f'Unclosed start tag "{tag}" at byte offset {offset}')
            reader.at += 1
            continue
        token_begin = reader.at
        value = reader.until(SPACES + ">")
        if not re.fullmatch(r"[A-Za-z0-9.\-]*", value):
            raise CannotParse(
                f"Unexpected end of name token at byte offset {reader.byte_offset(token_begin)}"
            )
        found[name] = value.lower()


def _open_tag(reader: _Reader, begin: int) -> tuple[str, dict[str, str]]:
    offset = reader.byte_offset(begin)
    tag = reader.until(SPACES + ">").lower()
    if not reader.peek():
        raise CannotParse(f"Unclosed start tag at byte offset {offset}")
    if tag not in SIMPLE:
        raise CannotParse(f'Unsupported start tag "{tag}" at byte offset {offset}')
    attributes = _attributes(reader, tag, begin)
    reader.at += 1
    if tag == "span" and attributes.get("class") != "tg-spoiler":
        raise CannotParse(f'Tag "span" must have class "tg-spoiler" at byte offset {offset}')
    return tag, attributes


def _close_tag(reader: _Reader, begin: int, expected: str) -> None:
    offset = reader.byte_offset(begin)
    reader.at += 1
    name = reader.until(SPACES + ">")
    reader.skip_spaces()
    if reader.peek() != ">":
        raise CannotParse(f"Unclosed end tag at byte offset {offset}")
    reader.at += 1
    if name and name.lower() != expected:
        raise CannotParse(
            f'Unmatched end tag at byte offset {offset}, expected "</{expected}>", found "</{name}>"'
        )


def _entity(tag: str, attributes: dict[str, str], offset: int, length: int) -> dict[str, object]:
    entity: dict[str, object] = {"type": SIMPLE[tag], "offset": offset, "length": length}
    if tag == "a":
        entity["url"] = attributes.get("href", "")
    elif tag == "code" and attributes.get("class", "").startswith("language-"):
        entity["language"] = attributes["class"][len("language-") :]
    elif tag == "tg-emoji":
        entity["custom_emoji_id"] = attributes.get("emoji-id", "")
    elif tag == "blockquote" and "expandable" in attributes:
        entity["type"] = "expandable_blockquote"
    return entity


def parse_html(source: str) -> tuple[str, list[dict[str, object]]]:
    """The visible text and its entities, offsets in UTF-16 units. Raises CannotParse."""
    if "<" not in source:
        return unescape(source), []
    reader = _Reader(source)
    text: list[str] = []
    length = 0
    nested: list[tuple[str, dict[str, str], int]] = []
    entities: list[dict[str, object]] = []
    while reader.peek():
        plain = unescape(reader.until("<"))
        text.append(plain)
        length += utf16_length(plain)
        if not reader.peek():
            break
        begin = reader.at
        reader.at += 1
        if reader.peek() == "/":
            if not nested:
                raise CannotParse(f"Unexpected end tag at byte offset {reader.byte_offset(begin)}")
            tag, attributes, start = nested.pop()
            _close_tag(reader, begin, tag)
            if length > start:
                entity = _entity(tag, attributes, start, length - start)
                inner = entities[-1] if entities else {}
                same = (inner.get("offset"), inner.get("length")) == (start, length - start)
                if tag == "pre" and inner.get("type") == "code" and same:
                    # A code block with a language is one entity on the wire.
                    entity = {**entities.pop(), "type": "pre"}
                entities.append(entity)
            continue
        outer = nested[-1][0] if nested else ""
        tag, attributes = _open_tag(reader, begin)
        if outer == "code" or (outer == "pre" and tag != "code"):
            raise CannotParse(f'Tag "{tag}" inside of "{outer}" at byte offset {reader.byte_offset(begin)}')
        nested.append((tag, attributes, length))
    if nested:
        raise CannotParse(f'Can\'t find end tag corresponding to start tag "{nested[-1][0]}"')
    entities.sort(key=lambda entity: (entity["offset"], -int(str(entity["length"]))))
    return "".join(text), entities
