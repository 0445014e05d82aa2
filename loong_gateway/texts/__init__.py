"""Every sentence that a command prints about a problem, in one table, keyed by code.

A row is (message, where, fix, exit code); `where` and `fix` may be None. The parts are format strings; the keywords
of the raiser fill them in. `fix` is a command that can be pasted, or a short instruction ending in one.
One module per area. Plain on purpose: the status path imports this package, so areas beyond its own are loaded when
one of their codes is looked up.
"""

from __future__ import annotations

from loong_gateway.texts import owner, usage

__all__ = ["AREAS", "all_rows", "find", "render"]

AREAS = (
    "acp",
    "owner",
    "usage",
    "channels",
    "config",
    "logs",
    "port",
    "provider",
    "restart",
    "rpc",
    "run",
    "sessions",
    "store",
    "talk",
    "work",
)

_AT_HAND: dict[str, tuple[str, str | None, str | None, int]] = {**owner.TEXTS, **usage.TEXTS}


def all_rows() -> dict[str, tuple[str, str | None, str | None, int]]:
    """Every row of every area."""
    for name in AREAS:
        _AT_HAND.update(__import__(f"{__name__}.{name}", fromlist=["TEXTS"]).TEXTS)
    return _AT_HAND


def find(code: str) -> tuple[str, str | None, str | None, int] | None:
    """The row of `code`, None when there is none."""
    return _AT_HAND.get(code) or all_rows().get(code)


def render(code: str, values: dict[str, object]) -> tuple[str, str | None, str | None, int]:
    """Fill in the row of `code`; returns (message, where, fix, exit code). Raises KeyError for an unknown code."""
    row = find(code)
    if row is None:
        raise KeyError(code)
    message, where, fix, exit_code = row
    return (
        message.format_map(values),
        None if where is None else where.format_map(values),
        None if fix is None else fix.format_map(values),
        exit_code,
    )
