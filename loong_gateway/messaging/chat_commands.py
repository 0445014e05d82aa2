"""The few commands that a conversation may give the gateway. Any other word with a slash is for the model."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "DECISIONS",
    "HELP_TEXT",
    "NEW_SESSION_TEXT",
    "NOTHING_WAITS_TEXT",
    "STOPPED_TEXT",
    "ChatCommand",
    "parse_command",
]

SPELLINGS = {
    "/new": "new",
    ":new": "new",
    "/reset": "new",
    ":reset": "new",
    "/status": "status",
    "/help": "help",
    "/stop": "stop",
}
# Commands about a call of a tool that waits, and what is said to who has decided.
DECISIONS = {"approve": "Approved.", "deny": "Refused."}
NOTHING_WAITS_TEXT = "Nothing waits for you under this name."
LONGEST_ID = 32
# True also when there was nothing to stop.
STOPPED_TEXT = "No answer is being written now."
NEW_SESSION_TEXT = "Started a new session for this conversation. Session ID: {session}"
HELP_TEXT = (
    "/new (or /reset) starts a new session, /status shows what I am doing, /stop ends the answer being written, "
    "/approve ID and /deny ID decide about a call of a tool, /help shows this. Everything else goes to the model."
)


@dataclass(frozen=True)
class ChatCommand:
    """`name` is "new", "status", "help", "stop", "approve" or "deny"; the last two have an `argument`."""

    name: str
    argument: str = ""


def parse_command(text: str) -> ChatCommand | None:
    """The command that a message consists of, or None; `/new@botname` is accepted, arguments make it ordinary text.

    But for /approve and /deny, which have exactly one.
    """
    word = text.strip().lower()
    if not word or word[0] not in "/:":
        return None
    if any(c.isspace() for c in word):
        return _decision(word)
    name = SPELLINGS.get(word.partition("@")[0])
    return None if name is None else ChatCommand(name)


def _decision(text: str) -> ChatCommand | None:
    words = text.split()
    name = words[0].partition("@")[0][1:]
    if len(words) != 2 or text[0] != "/" or name not in DECISIONS or len(words[1]) > LONGEST_ID:
        return None
    return ChatCommand(name, words[1])
