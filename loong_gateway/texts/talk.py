"""Texts about asking the model from a terminal."""

from __future__ import annotations

TEXTS: dict[str, tuple[str, str | None, str | None, int]] = {
    "talk.empty_message": ("ask message must not be empty", None, "loong ask --help", 2),
    "talk.no_latest": ("there is no session yet that `latest` could mean", None, "loong ask --message hi", 2),
    "talk.no_profile": ('there is no provider profile "{given}"', None, "one of: {choices}", 2),
    "talk.no_answer": ("{detail}", "{where}", "{fix}", 2),
}
