"""Texts about showing the log."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "logs.bad_lines": ("--lines {given} is not from 0 to {most}", None, "loong logs --lines 100", 2),
    "logs.unknown_channel": (
        '--channel "{given}" names no channel{suggestion}',
        None,
        "see what is known: loong channels list --all",
        2,
    ),
    "logs.unknown_account": (
        '{channel} has no account "{given}" (configured: {known}){suggestion}',
        None,
        "see what is configured: loong channels",
        2,
    ),
    "logs.unreadable": (
        "the log cannot be read: {detail}",
        "{path}",
        "read it as the user that runs the gateway: loong logs",
        2,
    ),
}
