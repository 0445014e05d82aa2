"""The text of what a web server sent: its encoding, and of HTML what a reader would see. Pure.

Not by html.parser: on unfinished markup some of its versions take a time that grows with the square of the length.
Here nothing is read twice.
"""

from __future__ import annotations

import codecs
import re

__all__ = ["decoded", "is_text", "text_of_html"]

_TEXT_TYPES = frozenset({"application/json", "application/xml", "application/javascript", "application/yaml"})
# Only these: among the codecs there are some that decode slowly or to anything but text.
_ENCODINGS = frozenset(
    [
        "ascii",
        "utf-8",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "iso8859-1",
        "iso8859-2",
        "iso8859-5",
        "iso8859-9",
        "iso8859-15",
        "cp1250",
        "cp1251",
        "cp1252",
        "cp1253",
        "cp1254",
        "cp1256",
        "koi8-r",
        "koi8-u",
        "gb2312",
        "gbk",
        "gb18030",
        "big5",
        "big5hkscs",
        "shift_jis",
        "cp932",
        "euc_jp",
        "iso2022_jp",
        "euc_kr",
        "cp949",
        "tis-620",
        "cp874",
    ]
)
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_CHARSET = re.compile(r"charset\s{0,9}=\s{0,9}[\"']?([A-Za-z0-9._:-]{1,40})")
_META_BYTES = 2048

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]{0,20})")
_IN_TAG = re.compile(r">|=\s*[\"']")
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "br",
        "caption",
        "dd",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "nav",
        "ol",
        "option",
        "p",
        "pre",
        "section",
        "table",
        "td",
        "th",
        "title",
        "tr",
        "ul",
    ]
)
_SKIPPED = {
    name: re.compile(rf"</{name}(?![A-Za-z0-9])", re.IGNORECASE)
    for name in ("iframe", "noscript", "script", "style", "svg", "template", "title")
}
# Those that are common; the whole table of the standard library would cost an idle gateway 400 KB.
_ENTITY = re.compile(r"&(?:#([0-9]{1,7})|#[xX]([0-9a-fA-F]{1,6})|([A-Za-z]{2,8}));")
_ENTITIES = dict(
    pair.split("=", 1)
    for pair in [
        "amp=&",
        "lt=<",
        "gt=>",
        'quot="',
        "apos='",
        "hellip=…",
        "mdash=—",
        "ndash=–",
        "lsquo=‘",
        "rsquo=’",
        "sbquo=‚",
        "ldquo=“",
        "rdquo=”",
        "bdquo=„",
        "laquo=«",
        "raquo=»",
        "copy=©",
        "reg=®",
        "trade=™",
        "euro=€",
        "pound=£",
        "yen=¥",
        "cent=¢",
        "sect=§",
        "middot=·",
        "bull=•",
        "times=×",
        "deg=°",
        "plusmn=±",
        "rarr=→",
        "larr=←",
        "auml=ä",
        "ouml=ö",
        "uuml=ü",
        "Auml=Ä",
        "Ouml=Ö",
        "Uuml=Ü",
        "szlig=ß",
        "eacute=é",
        "egrave=è",
        "ecirc=ê",
        "agrave=à",
        "acirc=â",
        "ccedil=ç",
        "ntilde=ñ",
        "oacute=ó",
        "iacute=í",
        "aacute=á",
        "uacute=ú",
        "ocirc=ô",
        "icirc=î",
        "aring=å",
        "oslash=ø",
    ]
)
_ENTITIES.update(nbsp=" ", ensp=" ", emsp=" ", thinsp=" ", shy="")
_BLANKS = re.compile(r"[^\S\n]+")
_GAPS = re.compile(r"\s*\n\s*")


def is_text(content_type: str) -> bool:
    """Whether a media type is one that can be read as text."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml"))


def decoded(body: bytes, content_type: str) -> str:
    """The text of a body: by its mark, else as its type or its own head says, else UTF-8. Never raises."""
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(encoding, "replace")
    head = body[:_META_BYTES].decode("latin-1") if "html" in content_type.lower() else ""
    for place in (content_type, head):
        found = _CHARSET.search(place.lower())
        if found is not None and (encoding := _known(found[1])):
            return body.decode(encoding, "replace")
    return body.decode("utf-8", "replace")


def text_of_html(page: str) -> tuple[str, str]:
    """Return (title, text) without markup, scripts and styles. Takes a time in proportion to the length."""
    title, pieces, at = "", [], 0
    while True:
        start = page.find("<", at)
        if start < 0:
            pieces.append(page[at:])
            break
        pieces.append(page[at:start])
        if page.startswith("<!--", start):
            at = _behind(page, "-->", start + 4)
            continue
        tag = _TAG.match(page, start)
        if tag is None:
            if page[start + 1 : start + 2] in ("!", "?", "/"):
                at = _behind(page, ">", start)
            else:
                pieces.append("<")
                at = start + 1
            continue
        at = _tag_end(page, tag.end())
        name = tag[2].lower()
        if name in _BLOCKS:
            pieces.append("\n")
        if name in _SKIPPED and not tag[1]:
            end = _SKIPPED[name].search(page, at)
            inside = page[at : end.start() if end else len(page)]
            if name == "title" and not title:
                title = " ".join(_unescaped(inside[:500]).split())
            at = end.start() if end else len(page)
    text = _BLANKS.sub(" ", _unescaped("".join(pieces)))
    return title, _GAPS.sub("\n", text).strip()


def _unescaped(text: str) -> str:
    return _ENTITY.sub(_entity, text)


def _entity(found: re.Match[str]) -> str:
    decimal, hexadecimal, name = found.groups()
    if name:
        return _ENTITIES.get(name, found[0])
    number = int(decimal) if decimal else int(hexadecimal, 16)
    # Neither a half of a pair nor a control character is text.
    return chr(number) if 0x20 <= number <= 0x10FFFF and not 0xD800 <= number < 0xE000 else " "


def _known(name: str) -> str:
    try:
        encoding = codecs.lookup(name).name
    except LookupError:
        return ""
    return encoding if encoding in _ENCODINGS else ""


def _behind(page: str, mark: str, at: int) -> int:
    end = page.find(mark, at)
    return len(page) if end < 0 else end + len(mark)


def _tag_end(page: str, at: int) -> int:
    """Where a tag ends: behind the first > that is in no quoted value."""
    while True:
        found = _IN_TAG.search(page, at)
        if found is None:
            return len(page)
        if found[0] == ">":
            return found.end()
        at = _behind(page, found[0][-1], found.end())
