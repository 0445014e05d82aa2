"""The few commands that a conversation may give the gateway. Any other word with a slash is for the model."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HELP_TEXT", "NEW_SESSION_TEXT", "STOPPED_TEXT", "ChatCommand", "parse_command"]

SPELLINGS = {
    "/new": "new",
    ":new": "new",
    "/reset": "new",
    ":reset": "new",
    "/status": "status",
    "/help": "help",
    "/stop": "stop",
}
# True also when there was nothing to stop.
STOPPED_TEXT = "No answer is being written now."
NEW_SESSION_TEXT = "Started a new session for this conversation. Session ID: {session}"
HELP_TEXT = (
    "/new (or /reset) starts a new session, /status shows what I am doing, /stop ends the answer being written, "
    "/help shows this. Everything else goes to the model."
)


@dataclass(frozen=True)
class ChatCommand:
    """`name` is "new", "status", "help" or "stop"."""

    name: str


def parse_command(text: str) -> ChatCommand | None:
    """The command that a message consists of, or None; `/new@botname` is accepted, arguments make it ordinary text."""
    word = text.strip().lower()
    if not word or word[0] not in "/:" or any(c.isspace() for c in word):
        return None
    name = SPELLINGS.get(word.partition("@")[0])
    return None if name is None else ChatCommand(name)
