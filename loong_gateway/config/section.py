"""What a table of the config is made of, and short forms for its rows."""

from __future__ import annotations

from dataclasses import dataclass

from loong_channels.settings import Setting

__all__ = ["Section", "number", "seconds"]


@dataclass(frozen=True)
class Section:
    """One table of the config. `tables` are its known sub-tables, `later` names accepted and not read."""

    path: str
    settings: tuple[Setting, ...]
    tables: tuple[str, ...] = ()
    later: tuple[str, ...] = ()


def number(
    name: str, default: float, low: float, high: float, text: str, reload: str = "hot", kind: str = "int"
) -> Setting:
    """The row of a number between two bounds."""
    return Setting(name, kind, default, text, minimum=low, maximum=high, reload=reload)


def seconds(name: str, default: float, low: float, high: float, text: str) -> Setting:
    """The row of a duration that is read at the start."""
    return number(name, default, low, high, text, "restart", "float")
