"""Every sentence that a command prints about a problem, in one table, keyed by code.

A row is (message, where, fix, exit code); `where` and `fix` may be None. The parts are format strings; the keywords
of the raiser fill them in. `fix` is a command that can be pasted, or a short instruction ending in one.
One module per area. Plain on purpose: the status path imports this package.
"""

from __future__ import annotations

from loong_gateway.texts import config, owner, provider, usage

__all__ = ["TEXTS", "render"]

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {}
for _area in (owner, usage, config, provider):
    TEXTS.update(_area.TEXTS)


def render(code: str, values: dict[str, object]) -> tuple[str, str | None, str | None, int]:
    """Fill in the row of `code`; returns (message, where, fix, exit code). Raises KeyError for an unknown code."""
    message, where, fix, exit_code = TEXTS[code]
    return (
        message.format_map(values),
        None if where is None else where.format_map(values),
        None if fix is None else fix.format_map(values),
        exit_code,
    )
