"""Who a message calls, and its text with the calls spelled out. Pure.

A text holds placeholders such as `@_user_1` and `@_all`; the list beside it says whom they stand for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from loong_channels.text import one_line

from .identity import BotIdentity

__all__ = ["Mentions"]

EVERYBODY = "@_all"
_MAX_MENTIONS = 1000
_MAX_NAME = 120
# `@_user_1` must not be found within `@_user_10`.
_PLACEHOLDER = re.compile(r"@_user_[0-9]+|@_all(?!\w)")


class Mentions:
    """The mentions of one message. `found` says that the bot itself is called; a call to everybody does not count."""

    def __init__(self, entries: object, bot: BotIdentity) -> None:
        self.found = False
        self._open_id = bot.open_id
        self._names: dict[str, str] = {EVERYBODY: "@all"}
        listed = entries if isinstance(entries, Sequence) and not isinstance(entries, str) else ()
        for entry in listed[:_MAX_MENTIONS]:
            if isinstance(entry, Mapping):
                self._add(entry)

    def _add(self, entry: Mapping[str, object]) -> None:
        key, whom = entry.get("key"), entry.get("id")
        open_id = whom.get("open_id") if isinstance(whom, Mapping) else whom
        everybody = key == EVERYBODY or (isinstance(whom, Mapping) and whom.get("user_id") == "all")
        ours = not everybody and self._is_bot(open_id, entry.get("mentioned_type"))
        self.found = self.found or ours
        if isinstance(key, str) and key and not everybody:
            self._names[key] = "" if ours else f"@{one_line(entry.get('name') or '', _MAX_NAME)}"
        elif isinstance(key, str) and everybody:
            self._names[key] = "@all"

    def _is_bot(self, open_id: object, kind: object) -> bool:
        if self._open_id:
            return open_id == self._open_id
        # Without knowing who we are, a bot that is called is rather us than another one.
        return kind == "bot"

    def spelled_out(self, text: str) -> str:
        """The text with names for placeholders and without calls to the bot; blanks at its ends are taken off."""
        first = _PLACEHOLDER.match(text.lstrip())
        spelled = _PLACEHOLDER.sub(lambda match: self._names.get(match.group(), match.group()), text).strip()
        if first is not None and self._names.get(first.group()) == "":
            # "@bot, do this" is left with a comma.
            spelled = spelled.lstrip(",:，：\u3000 ")
        return spelled

    def of_node(self, user: object, name: object) -> str:
        """What stands for a mention within a post; `user` is a placeholder or an id. "" for the bot itself."""
        if user in ("all", EVERYBODY):
            return "@all"
        if isinstance(user, str):
            if user in self._names:
                return self._names[user]
            if self._open_id and user == self._open_id:
                self.found = True
                return ""
        return f"@{one_line(name or '', _MAX_NAME)}"
