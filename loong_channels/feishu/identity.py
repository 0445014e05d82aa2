"""Who the bot is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BotIdentity"]


@dataclass(frozen=True)
class BotIdentity:
    """The bot of an app; `open_id` is "" where the platform did not tell."""

    open_id: str
    name: str = ""

    @property
    def public_name(self) -> str:
        """How the bot is shown to people."""
        return self.name or self.open_id or "a bot without a name"
