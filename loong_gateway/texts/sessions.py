"""Texts about conversations that are remembered."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "sessions.unknown": ('there is no session "{given}"{suggestion}', None, "{fix}", 2),
    "sessions.ambiguous": (
        '"{given}" begins several sessions: {choices}',
        None,
        "write more of it: {fix}",
        2,
    ),
    "sessions.not_sure": (
        "everything that was said in {name} would be forgotten, {count}; nothing was done",
        None,
        "if that is meant: {fix}",
        2,
    ),
    "sessions.file_exists": (
        "{path} is there already",
        None,
        "name another file, or replace it with --force",
        2,
    ),
    "sessions.file_failed": (
        "{path} cannot be written: {reason}",
        None,
        "name a file in a directory of yours with --output",
        2,
    ),
}
