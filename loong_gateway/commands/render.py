"""How values become text for people: tables, ages, sizes, colour. Plain: the status path may import this module."""

from __future__ import annotations

import os

from loong_gateway.base.wording import duration, visible

__all__ = [
    "Style",
    "cell_width",
    "cut_middle",
    "latency",
    "size",
    "style_of",
    "table",
]

MIN_WIDTH = 60
MAX_WIDTH = 120
DEFAULT_WIDTH = 80
COLOURS = {"good": "32", "warn": "33", "bad": "31", "dim": "2"}
ELLIPSIS = "..."
MISSING = "-"

# First and last code point of what takes two cells on a terminal; of what takes none.
# Unicode Standard Annex 11 (East Asian Width W and F) and the general categories Mn, Me, Cf, in coarse blocks.
WIDE = (
    (0x1100, 0x115F),
    (0x231A, 0x231B),
    (0x2329, 0x232A),
    (0x23E9, 0x23EC),
    (0x2614, 0x2615),
    (0x26AA, 0x26AB),
    (0x2705, 0x2705),
    (0x274C, 0x274C),
    (0x2795, 0x2797),
    (0x2E80, 0x303E),
    (0x3041, 0x33FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0xA4CF),
    (0xA960, 0xA97F),
    (0xAC00, 0xD7A3),
    (0xF900, 0xFAFF),
    (0xFE10, 0xFE19),
    (0xFE30, 0xFE6F),
    (0xFF00, 0xFF60),
    (0xFFE0, 0xFFE6),
    (0x1F300, 0x1F64F),
    (0x1F680, 0x1F6FF),
    (0x1F900, 0x1FAFF),
    (0x20000, 0x3FFFD),
)
NARROW = (
    (0x0300, 0x036F),
    (0x0483, 0x0489),
    (0x0591, 0x05BD),
    (0x0610, 0x061A),
    (0x064B, 0x065F),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x2069),
    (0x20D0, 0x20F0),
    (0x302A, 0x302D),
    (0x3099, 0x309A),
    (0xFE00, 0xFE0F),
    (0xFE20, 0xFE2F),
    (0xE0100, 0xE01EF),
)


class Style:
    """What one stream can show. `width` is None when nothing may be cut or wrapped. Immutable by convention."""

    __slots__ = ("colour", "width")

    def __init__(self, *, colour: bool = False, width: int | None = None) -> None:
        self.colour = colour
        self.width = width

    def paint(self, text: str, meaning: str | None) -> str:
        """`text` in the colour of "good", "warn", "bad" or "dim"; unchanged where colour is not wanted."""
        if not self.colour or meaning is None or not text:
            return text
        return f"\x1b[{COLOURS[meaning]}m{text}\x1b[0m"


def style_of(stream: object, environ: dict[str, str], *, no_color: bool = False) -> Style:
    """The style of a text stream: colour and cutting only on a terminal, as NO_COLOR and TERM allow."""
    try:
        if not stream.isatty():  # type: ignore[attr-defined]
            return Style()
        # A terminal that does not know its size says 0.
        columns = os.get_terminal_size(stream.fileno()).columns or DEFAULT_WIDTH  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        # No descriptor behind it (a buffer, a closed stream): not a terminal.
        return Style()
    colour = not no_color and not environ.get("NO_COLOR") and environ.get("TERM", "") not in ("", "dumb")
    return Style(colour=colour, width=max(MIN_WIDTH, min(MAX_WIDTH, columns)))


def cell_width(text: str) -> int:
    """How many terminal cells `text` takes; East Asian wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(_char_width(ord(char)) for char in text)


def _char_width(point: int) -> int:
    if point < 0x300:
        return 1
    if any(first <= point <= last for first, last in NARROW):
        return 0
    return 2 if any(first <= point <= last for first, last in WIDE) else 1


def cut_middle(text: str, width: int) -> str:
    """`text` in at most `width` cells: the middle of an identifier is what a reader misses least."""
    if cell_width(text) <= width:
        return text
    room = max(0, width - len(ELLIPSIS))
    head = _take(text, (room + 1) // 2)
    tail = _take(text[::-1], room // 2)[::-1]
    return (head + ELLIPSIS + tail)[: max(width, 0)] if width < len(ELLIPSIS) else head + ELLIPSIS + tail


def _take(text: str, width: int) -> str:
    taken = 0
    for index, char in enumerate(text):
        taken += _char_width(ord(char))
        if taken > width:
            return text[:index]
    return text


def table(
    rows: list[list[str]],
    style: Style,
    *,
    right: tuple[int, ...] = (),
    identifiers: tuple[int, ...] = (),
    meanings: dict[tuple[int, int], str] | None = None,
) -> list[str]:
    """Lines of a table whose first row is the header; columns stand two spaces apart.

    `right` are columns of numbers. On a terminal that is too narrow the columns `identifiers` are cut in the middle.
    `meanings` maps (row, column) to a colour name.
    """
    cells = [[visible(cell) for cell in row] for row in rows]
    widths = [max(cell_width(row[column]) for row in cells) for column in range(len(cells[0]))]
    if style.width is not None:
        _shrink(widths, identifiers, style.width)
    lines = []
    for number, row in enumerate(cells):
        parts = []
        for column, cell in enumerate(row):
            shown = cut_middle(cell, widths[column]) if column in identifiers else cell
            gap = " " * max(0, widths[column] - cell_width(shown))
            painted = style.paint(shown, (meanings or {}).get((number, column)))
            parts.append(gap + painted if column in right else painted + gap)
        lines.append("  ".join(parts).rstrip())
    return lines


def _shrink(widths: list[int], identifiers: tuple[int, ...], room: int) -> None:
    excess = sum(widths) + 2 * (len(widths) - 1) - room
    for column in sorted(identifiers, key=lambda index: -widths[index]):
        cut = min(max(0, excess), max(0, widths[column] - 12))
        widths[column] -= cut
        excess -= cut


def latency(seconds: float) -> str:
    """A short time with a fitting unit: `84 ms`, `1.4 s`, `12 s`."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))} ms"
    return duration(round(seconds, 1))


def size(count_bytes: int | None) -> str:
    """A number of bytes with its unit: `0 B`, `12 kB`, `1.4 GB`; `-` when it is not known."""
    if count_bytes is None:
        return MISSING
    if count_bytes < 1000:
        return f"{count_bytes} B"
    value, units = count_bytes / 1000, ["TB", "GB", "MB", "kB"]
    unit = units.pop()
    while value >= 999.5 and units:
        value, unit = value / 1000, units.pop()
    return f"{value:.0f} {unit}" if value >= 9.95 else f"{value:.1f} {unit}"
