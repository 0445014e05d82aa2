"""What the double of Telegram knows: bots, chats, messages, and the record of what was asked of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from .telegram_queue import UpdateQueue


class Refusal(Exception):
    """A call the server answers with an error."""

    def __init__(self, code: int, description: str, parameters: Mapping[str, object] | None = None) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = dict(parameters or {})


class BadRequest(Refusal):
    """400; the prefix is added here."""

    def __init__(self, description: str, parameters: Mapping[str, object] | None = None) -> None:
        super().__init__(400, f"Bad Request: {description}", parameters)


@dataclass
class Request:
    """One call of the Bot API. Times are of time.monotonic(); `status` 0 until it was answered."""

    at: float
    method: str
    params: dict[str, object]
    token: str
    status: int = 0
    description: str = ""
    fault: str = ""
    ended: float = 0.0


@dataclass(frozen=True)
class Upload:
    """A file as it came in a form."""

    name: str
    data: bytes = field(repr=False)


@dataclass
class Sent:
    """A message that the server accepted from a bot, as a reader of the chat sees it."""

    at: float
    chat_id: int
    message_id: int
    text: str
    source: str
    parse_mode: str
    entities: list[dict[str, object]]
    reply_to: int | None
    thread_id: int | None
    bot_id: int
    edits: list[tuple[float, str]] = field(default_factory=list)
    deleted: bool = False
    kind: str = "text"
    file: Upload | None = None


@dataclass
class Injected:
    """An update that was put into the queue for a bot; `update_id` None when the bot did not ask for its type."""

    at: float
    update_id: int | None
    kind: str
    chat_id: int
    message_id: int
    text: str


@dataclass
class Chat:
    """`forbidden` is the description of the 403 that every send gets; `topics` are the open threads of a forum."""

    id: int
    type: str
    title: str = ""
    is_forum: bool = False
    topics: set[int] = field(default_factory=set)
    forbidden: str = ""
    migrated_to: int | None = None
    flood_until: float = 0.0
    next_message_id: int = 1
    messages: dict[int, dict[str, object]] = field(default_factory=dict)
    sent: dict[int, Sent] = field(default_factory=dict)

    def card(self) -> dict[str, object]:
        """The Chat object of the Bot API."""
        card: dict[str, object] = {"id": self.id, "type": self.type}
        if self.type == "private":
            card["first_name"] = self.title or "User"
        else:
            card["title"] = self.title or "Group"
        if self.is_forum:
            card["is_forum"] = True
        return card


class Poll:
    """A getUpdates call that waits; `verdict` is set to end it with a conflict."""

    def __init__(self, lock: threading.RLock) -> None:
        self.ready = threading.Condition(lock)
        self.verdict = ""

    def end(self, verdict: str) -> None:
        """Answer it with 409."""
        self.verdict = verdict
        self.ready.notify_all()


@dataclass
class Bot:
    """One bot of the server, with its own queue."""

    token: str
    username: str
    queue: UpdateQueue
    revoked: bool = False
    webhook: str = ""
    reads_all: bool = True
    has_topics: bool = False
    commands: list[dict[str, object]] = field(default_factory=list)
    waiting: Poll | None = None
    polls_in_flight: int = 0
    max_polls_in_flight: int = 0
    last_offset: int | None = None
    last_poll_at: float = -1e9
    next_conflict_at: float = -1e9

    @property
    def id(self) -> int:
        """The number before the colon of the token."""
        return int(self.token.partition(":")[0])

    def card(self) -> dict[str, object]:
        """The User object of the Bot API."""
        return {"id": self.id, "is_bot": True, "first_name": "Test bot", "username": self.username}
