"""How numbers and times are said to people: the same words in every text. Plain: the status path imports it."""

from __future__ import annotations

__all__ = ["ago", "duration", "harmless", "nearest", "one_line", "plural", "printable", "visible"]

NEVER = "never"
# What steers a terminal: every control character but the end of a line and the tab.
_STEERING = {code: f"\\x{code:02x}" for code in (*range(9), *range(0x0B, 0x20), *range(0x7F, 0xA0))}


def duration(seconds: float) -> str:
    """A length of time in at most two units: `0.3 s`, `40 s`, `18 min`, `6 h`, `2 d 1 h`."""
    seconds = max(0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds % 1 else f"{seconds:.0f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86400:
        return f"{whole // 3600} h"
    hours = whole % 86400 // 3600
    return f"{whole // 86400} d {hours} h" if hours else f"{whole // 86400} d"


def ago(then_ms: int | None, now_ms: int) -> str:
    """How long ago a moment was, `never` for one that has not come to pass: `40 s ago`, `2 d 1 h ago`."""
    if not then_ms:
        return NEVER
    return f"{duration(max(0, now_ms - then_ms) // 1000)} ago"


def plural(count: int, one: str, many: str = "") -> str:
    """A number with its noun: `1 chat`, `0 chats`, `2 replies`."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def printable(text: object) -> str:
    """`text` with a space for each character that is not printable: nothing is cut, nothing steers a terminal."""
    shown = str(text)
    return shown if shown.isprintable() else "".join(c if c.isprintable() else " " for c in shown)


def one_line(text: object, limit: int = 300) -> str:
    """`text` as one printable line of at most `limit` characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def visible(text: str) -> str:
    """`text` on one line with each character that is not printable written as an escape, such as `\\n` or `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def harmless(text: str) -> str:
    """A text of several lines with each control character but newline and tab written as an escape, such as `\\x1b`.

    Everything else is left as it is, also what only joins or turns the letters of a script.
    """
    return text.replace("\r\n", "\n").translate(_STEERING)


def nearest(given: str, names: list[str]) -> str | None:
    """The one name that `given` most likely means: it begins with it, or differs by at most two edits."""
    if not given:
        return None
    begins = [name for name in names if name.startswith(given) and name != given]
    if len(begins) == 1 and len(given) > 1:
        return begins[0]
    limit = 1 if len(given) <= 3 else 2
    scored = sorted((_distance(given, name), name) for name in names)
    if not scored or scored[0][0] > limit or (len(scored) > 1 and scored[1][0] == scored[0][0]):
        return None
    return scored[0][1]


def _distance(a: str, b: str) -> int:
    """Edits between two words; two neighbours that changed places count as one."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(rows[-1][j] + 1, row[j - 1] + 1, rows[-1][j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, rows[-2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]
