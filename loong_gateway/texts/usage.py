"""Texts about how a command was called."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "usage.unknown_command": ('unknown command "{given}"{suggestion}', None, "{fix}", 2),
    "usage.bad_arguments": ("{detail}", None, "loong {verb} --help", 2),
    "usage.internal": ("internal error: {detail}", "{report}", "loong doctor", 70),
}
