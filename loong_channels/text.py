"""Measuring and cutting text in a platform's own unit. Pure functions, linear in the length of the text.

Units are "utf16" (code units: an emoji outside the Basic Multilingual Plane counts 2), "utf8" (bytes) and
"codepoint". What counts as one visible character follows Unicode Annex 29 closely enough that emoji sequences,
flags, accents and Hangul stay whole: https://www.unicode.org/reports/tr29/
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["CodeBlock", "clean", "code_blocks", "first_piece", "measure", "one_line", "split"]

_CODECS = {"utf16": ("utf-16-le", 2), "utf8": ("utf-8", 1)}
# The largest code point takes 4 bytes of UTF-8; below that no progress is certain.
_SMALLEST_LIMIT = 4
# A cluster longer than this is decoration, not a character; it may be cut.
_LONGEST_CLUSTER = 64
# How many characters the punctuation and white space at a good place for a cut usually take.
_LONGEST_ENDING = 8

_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})([^\n]*)(?:\n|\Z)", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n(?:[ \t\r]*\n)+")
_SENTENCE_END = re.compile(r"[.!?…]['\")\]’”»*_]*\s|[。！？；]['\"’”」』）]*")
# White space at which a line may break: not the no-break spaces.
_BREAKING_SPACE = re.compile(r"[^\S\u00a0\u2007\u202f]")
_NOT_SPACE = re.compile(r"\S")


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block of Markdown, as offsets into the text.

    The opening line is `start:body`, the code `body:body_end`, the closing line `body_end:end`; both lines include
    their line end. `indent`, `fence` and `info` are the parts of the opening line. A block that is never closed
    has `body_end == end == len(text)`.
    """

    start: int
    body: int
    body_end: int
    end: int
    indent: str
    fence: str
    info: str

    @property
    def opener(self) -> str:
        """The line that opens the block again in a later piece."""
        return f"{self.indent}{self.fence}{self.info}\n"

    @property
    def closer(self) -> str:
        """The line, without line end, that closes the block early."""
        return self.indent + self.fence


def clean(text: str) -> str:
    """Join surrogate pairs that were decoded apart and replace lone surrogates by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode("utf-16-le")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def one_line(value: object, limit: int) -> str:
    """What somebody outside chose, a name say: on one printable line of at most `limit` characters."""
    shown = "".join(char if char.isprintable() else " " for char in clean(str(value))[: 2 * limit])
    return " ".join(shown.split())[:limit]


def measure(text: str, unit: str) -> int:
    """The length of `text` in `unit`; a lone surrogate counts like the U+FFFD that replaces it."""
    if unit == "codepoint" or text.isascii():
        return len(text)
    codec, width = _CODECS[unit]
    return len(text.encode(codec, "surrogatepass")) // width


def code_blocks(text: str) -> list[CodeBlock]:
    """The fenced code blocks of `text`, in order. Fences may be indented by any amount, as models do in lists."""
    if "```" not in text and "~~~" not in text:
        return []
    blocks = []
    opening: re.Match[str] | None = None
    for line in _FENCE.finditer(text):
        fence, rest = line.group(2), line.group(3)
        if opening is None:
            # A backtick behind the fence makes it a code span within a line.
            if fence[0] == "~" or "`" not in rest:
                opening = line
        elif fence.startswith(opening.group(2)) and not rest.strip():
            blocks.append(_block(opening, line.start(), line.end()))
            opening = None
    if opening is not None:
        blocks.append(_block(opening, len(text), len(text)))
    return blocks


def _block(opening: re.Match[str], body_end: int, end: int) -> CodeBlock:
    indent, fence, info = opening.groups()
    return CodeBlock(opening.start(), opening.end(), body_end, end, indent, fence, info.rstrip())


def split(text: str, limit: int, unit: str) -> list[str]:
    """Cut `text` into pieces of at most `limit` units, at the kindest places.

    Preferred are, in this order and within the second half of a piece: a blank line, a line end (both rather
    outside of code), a sentence end, a space; else any of them, else between two visible characters. A fenced
    code block that is cut is closed at the end of the piece and opened again, info string included, in the next;
    apart from these added lines the joined pieces equal the (cleaned) text. No piece is only white space, except
    inside a run of white space longer than the limit. A text of only white space gives [].

    Raises ValueError when `limit` is below 4.
    """
    if limit < _SMALLEST_LIMIT:
        raise ValueError(f"limit {limit} is below {_SMALLEST_LIMIT}")
    text = clean(text)
    if not text or text.isspace():
        return []
    if measure(text, unit) <= limit:
        return [text]
    return _Splitter(text, limit, unit).pieces()


def first_piece(text: str, limit: int, unit: str) -> str:
    """The first piece of a text that is still growing, as far as it is known; without white space around it."""
    if len(text) <= limit // 4:
        return clean(text).strip()
    pieces = split(text[: 2 * limit], limit, unit)
    return pieces[0].strip() if pieces else ""


class _Splitter:
    """One run of `split`. `_blocks` are those whose fences are cheap enough to be repeated."""

    def __init__(self, text: str, limit: int, unit: str) -> None:
        self._text = text
        self._limit = limit
        self._unit = unit
        self._content_end = len(text.rstrip())
        self._blocks = [
            block
            for block in code_blocks(text)
            if measure(block.opener, unit) <= limit // 4 and measure(block.closer, unit) < limit // 4
        ]
        self._starts = [block.start for block in self._blocks]

    def pieces(self) -> list[str]:
        done = []
        position = 0
        prefix = ""
        while position < len(self._text):
            budget = self._limit - measure(prefix, self._unit)
            end = self._reach(position, budget)
            if end == len(self._text):
                done.append(prefix + self._text[position:])
                break
            cut = self._cut(position, end, budget)
            block = self._block_at(cut)
            body = self._text[position:cut]
            if block is None:
                done.append(prefix + body)
                prefix = ""
            else:
                done.append(prefix + body + ("" if body.endswith("\n") else "\n") + block.closer)
                prefix = block.opener
            position = cut
        return done

    def _reach(self, position: int, budget: int) -> int:
        """The farthest end of a slice from `position` that measures at most `budget`; never within a code point."""
        window = self._text[position : position + budget]
        if self._unit == "codepoint" or window.isascii():
            return position + len(window)
        codec, width = _CODECS[self._unit]
        # "ignore" drops what is left of a code point that the cut went through.
        return position + len(window.encode(codec)[: budget * width].decode(codec, "ignore"))

    def _block_at(self, cut: int) -> CodeBlock | None:
        """The code block that a cut at this place would tear in two."""
        index = bisect_right(self._starts, cut) - 1
        if index >= 0 and self._blocks[index].start < cut < self._blocks[index].end:
            return self._blocks[index]
        return None

    def _closing_cost(self, position: int, end: int) -> int:
        """What closing any block that overlaps the window may cost, line end included."""
        cost = 0
        index = max(0, bisect_right(self._starts, position) - 1)
        while index < len(self._blocks) and self._blocks[index].start < end:
            if self._blocks[index].end > position:
                cost = max(cost, 1 + measure(self._blocks[index].closer, self._unit))
            index += 1
        return cost

    def _cut(self, position: int, end: int, budget: int) -> int:
        """Where to end the piece that starts at `position` and may reach `end`; always beyond `position`."""
        closing = self._closing_cost(position, end)
        high = self._reach(position, budget - closing) if closing else end
        # What is left must hold more than white space, or the platform refuses it.
        if high >= self._content_end > position + 1:
            high = self._content_end - 1
        first = _NOT_SPACE.search(self._text, position, high)
        low = first.end() if first else position + 1
        cut = high
        # Each round leaves an opening or a closing line behind, so two are enough unless limits are tiny.
        for _ in range(3):
            cut = self._kindest(position, low, high)
            block = self._block_at(cut)
            if block is None or block.body < cut < block.body_end:
                return cut
            if cut <= block.body:
                if block.start >= low:
                    return block.start
                low = block.body + 1
            elif block.end < self._content_end and self._fits(position, block.end, budget):
                return block.end
            else:
                high = block.body_end - 1
            if low > high:
                break
        return cut

    def _fits(self, position: int, end: int, budget: int) -> bool:
        return measure(self._text[position:end], self._unit) <= budget

    def _kindest(self, position: int, low: int, high: int) -> int:
        """The best place for a cut in `low..high`."""
        cut = 0
        for least in (max(low, (position + high) // 2), low):
            cut = self._line_cut(least, high)
            cut = cut or self._last(_SENTENCE_END, least, high) or self._last(_BREAKING_SPACE, least, high)
            if cut:
                break
        return self._whole_cluster(cut or high, low, position)

    def _line_cut(self, low: int, high: int) -> int:
        """The last line end in the range, rather outside of code, rather a blank line; 0 when there is none."""
        blanks = [m.end() for m in self._matches(_BLANK_LINE, low, high)]
        for cut in reversed(blanks):
            if self._block_at(cut) is None:
                return cut
        line = self._text.rfind("\n", low - 1, high) + 1
        block = self._block_at(line)
        if block is not None and block.start > low:
            return block.start
        return blanks[-1] if blanks and block is not None else line

    def _last(self, pattern: re.Pattern[str], low: int, high: int) -> int:
        """The end, within `low..high`, of the last match; 0 when there is none."""
        cut = 0
        for match in self._matches(pattern, low, high):
            cut = match.end()
        return cut

    def _matches(self, pattern: re.Pattern[str], low: int, high: int) -> Iterator[re.Match[str]]:
        """The matches that end within `low..high`; they may begin a few characters earlier."""
        found = pattern.finditer(self._text, max(0, low - _LONGEST_ENDING), high)
        return (match for match in found if match.end() >= low)

    def _whole_cluster(self, cut: int, low: int, floor: int) -> int:
        """Move a cut out of a visible character, backwards, unless that character is absurdly long."""
        lowest = max(low, cut - _LONGEST_CLUSTER)
        for moved in range(cut, lowest - 1, -1):
            if not _joined(self._text, moved, floor):
                return moved
        return cut


def _joined(text: str, at: int, floor: int) -> bool:
    """Whether the code points around `at` belong to one visible character; `floor` is known to start one."""
    if not floor < at < len(text):
        return False
    before, after = text[at - 1], text[at]
    if before in {"\r", "\n"}:
        return before == "\r" and after == "\n"
    if after < "\u0300":
        return before == "\u200d" and not after.isspace()
    if before == "\u200d" or _extends(after):
        return True
    return _is_regional(after) and _odd_regionals(text, at, floor)


def _extends(char: str) -> bool:
    """Whether a code point attaches to what stands before it."""
    return (
        char == "\u200d"
        or unicodedata.category(char)[0] == "M"
        or "\U0001f3fb" <= char <= "\U0001f3ff"
        or "\U000e0020" <= char <= "\U000e007f"
        or "\u1160" <= char <= "\u11ff"
        or "\ud7b0" <= char <= "\ud7ff"
        or char in "\u200c\u0e33\u0eb3\uff9e\uff9f"
    )


def _is_regional(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _odd_regionals(text: str, at: int, floor: int) -> bool:
    """Whether an odd number of regional indicators ends at `at`, so that the next one completes a flag."""
    start = at
    while start > floor and _is_regional(text[start - 1]):
        start -= 1
    return (at - start) % 2 == 1
