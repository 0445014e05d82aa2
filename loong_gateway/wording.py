"""How numbers and times are said to people: the same words in every text. Plain: the status path imports it."""

from __future__ import annotations

__all__ = ["ago", "nearest", "one_line", "plural", "span"]

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(duration_ms: float) -> str:
    """A duration in at most two neighbouring units: `40 s`, `18 min`, `2 d 1 h`. Below a second `0.4 s`."""
    if 0 < duration_ms < 1_000:
        return f"{max(1, int(duration_ms / 100)) / 10:g} s"
    left = max(0, int(duration_ms / 1000))
    for index, (unit, size) in enumerate(_UNITS):
        if left >= size:
            count, rest = divmod(left, size)
            if unit in ("min", "s"):
                return f"{count} {unit}"
            next_unit, next_size = _UNITS[index + 1]
            second = rest // next_size
            return f"{count} {unit} {second} {next_unit}" if second else f"{count} {unit}"
    return "0 s"


def ago(at_ms: object, now_ms: int) -> str:
    """How long ago `at_ms` was, `never` when it is None or 0. A moment that the clock has not reached is now."""
    if not isinstance(at_ms, (int, float)) or at_ms <= 0:
        return "never"
    return f"{span(int(max(0, now_ms - at_ms) // 1000) * 1000)} ago"


def plural(count: int, one: str, many: str = "") -> str:
    """`1 reply`, `3 replies`: the number with the right word."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def one_line(text: object, limit: int = 300) -> str:
    """`text` as one printable line of at most `limit` characters."""
    line = "".join(c if c.isprintable() else " " for c in str(text))
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


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
