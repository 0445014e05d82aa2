"""Texts about how a command was called."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "usage.unknown_command": ('unknown command "{given}"{suggestion}', None, "{fix}", 2),
    "usage.incomplete": ('"loong {given}" needs one more word: {choices}', None, "{fix}", 2),
    "usage.bad_arguments": ("{detail}", None, "{fix}", 2),
    "usage.bad_profile": (
        'the profile "{given}" cannot be used: letters, digits, dot, dash and underscore only, at most 64',
        None,
        "loong --profile default gateway status",
        2,
    ),
    "usage.not_elsewhere": (
        "env LOONG_GATEWAY_URL names a gateway elsewhere, and {verb} acts on the one of this host; nothing was done",
        None,
        "unset LOONG_GATEWAY_URL, then: {command}",
        2,
    ),
    "usage.home": (
        "the home of loong is not a directory",
        "{path}",
        "move that file away, or name a directory in LOONG_HOME; then: loong gateway status",
        2,
    ),
    "usage.output": ("the result cannot be written: {detail}", "standard output", None, 2),
    "usage.internal": ("internal error: {detail}", "{report}", "loong doctor", 70),
}
